"""Groups of images that are alike, such as crops of one photograph or frames of one video."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dhl.config.methods import PARTS
from dhl.errors import UserError
from dhl.run.free_text import readable
from dhl.words import named

GROUPS = "groups"  # their name among the units of test images and the origins of images


def group_names(ids: Sequence[str], pattern: str) -> list[str]:
    """Return the group of each image: what its name has in the parentheses of the pattern.

    An image whose name does not match is named after itself.
    """
    return _named(ids, _matches(ids, pattern))


def _matches(ids: Sequence[str], pattern: str) -> list[str]:
    """Return what each name has in the parentheses of the pattern; empty without a match."""
    matches = [re.search(pattern, readable(name)) for name in ids]
    return [(match[1] or "") if match else "" for match in matches]


def _named(ids: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Name the groups of images without one after the images."""
    return [group or readable(name) for group, name in zip(groups, ids, strict=True)]


def check_groups(
    part: str,
    names: Mapping[str, Sequence[str]],
    *,
    pattern: str | None,
    recorded: Mapping[str, Sequence[str]] | None = None,
) -> int:
    """Check the groups of a part's images, by the pattern or as a plug-in returned them.

    Parameters
    ----------
    part : str
    names : mapping of str to sequence of str
        Names of the images, by split.
    pattern : str, optional
        A regular expression with one pair of parentheses.
    recorded : mapping of str to sequence of str, optional
        The groups of the images, by split, that are used without a pattern; may be empty.

    Returns
    -------
    int
        The number of groups of the test images; 0 if there are no groups.

    Raises
    ------
    UserError
        If a group has both training and test images, all test images are one group, or, for a part
        of the paper, no test image matches the pattern.
    """
    found: Mapping[str, Sequence[str]] = recorded or {}
    if pattern:
        found = {split: _matches(ids, pattern) for split, ids in names.items()}
        if part in PARTS and not any(found["test"]):
            raise UserError(
                f"No test image of {part} matches `groups: {pattern}`.",
                came=named(list(map(readable, names["test"]))),
                do="correct the regular expression; it is searched in these names.",
            )
    groups = {split: _named(names[split], of) for split, of in found.items() if of}
    test = groups.get("test", [])
    if len(test) > 1 and len(set(test)) == 1:
        raise UserError(
            f"All test images of {part} are one group, so nothing can be tested on them.",
            came=f"{len(test)} images in the group `{test[0]}`",
            do="correct the groups, or add test images of other groups.",
        )
    # Two images without a group may have the same name.
    matched = {group for of in found.values() for group in of}
    if shared := sorted(matched & set(groups.get("train", ())) & set(test)):
        raise UserError(
            f"Training and test images of {part} are of the same groups.",
            came=f"{len(shared)} in both splits: {named(shared)}",
            do="put all images of a group into one of the two splits, or correct the groups.",
        )
    return len(set(test))
