"""Groups of images that are alike, such as crops of one photograph or frames of one video."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dhl.data.image_set import ImageSet
from dhl.data.listing import named
from dhl.errors import UserError
from dhl.run.free_text import readable

GROUPS = "groups"  # their name among the origins of images


def grouped(splits: Mapping[str, ImageSet], pattern: str) -> dict[str, ImageSet]:
    """Record the group of each image as its origin.

    Parameters
    ----------
    splits : mapping of str to ImageSet
    pattern : str
        Regular expression with one group, which is searched in the names of images. What the group
        matches is the name of the group. An image without a match is alone in its group.

    Raises
    ------
    UserError
        If no test image matches.
    """
    found = {
        split: [re.search(pattern, name) for name in images.ids] for split, images in splits.items()
    }
    if not any(found["test"]):
        raise UserError(
            f"No test image matches `groups: {pattern}`.",
            came=named(list(splits["test"].ids)),
            do="correct the regular expression; it is searched in these names.",
        )
    return {
        split: replace(images, origins={GROUPS: _names(images, found[split])})
        for split, images in splits.items()
    }


def _names(images: ImageSet, found: list[re.Match | None]) -> np.ndarray:
    """Return the name of each image's group."""
    pairs = zip(images.ids, found, strict=True)
    return np.array([readable(match[1] if match else name) for name, match in pairs])


def refuse_shared_groups(splits: Mapping[str, ImageSet]) -> None:
    """Raise a `UserError` if training and test images are of one group."""
    train, test = (
        set(splits[split].origins.get(GROUPS, ())) if split in splits else set()
        for split in ("train", "test")
    )
    if shared := sorted(map(str, train & test)):
        raise UserError(
            "Training and test images are of the same groups.",
            came=f"{len(shared)} groups in both splits: {named(shared)}",
            do="put all images of a group into one of the two splits, or correct the groups.",
        )
