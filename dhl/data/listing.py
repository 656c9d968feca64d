"""Every file is opened once before a run: what is damaged stops it, or is left out and listed."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dhl.config.image_data_sets import ClassifiedPictures, Pictures
from dhl.data.image_files import (
    DamagedImage,
    ImageFiles,
    LabelFiles,
    Preparation,
    content_digest,
    read_prepared,
    read_size,
)
from dhl.data.image_set import ImageSet
from dhl.errors import UserError
from dhl.progress import Progress

logger = logging.getLogger("dhl")
NAMED = 5  # how many of many files a message names
HEAD = 65_536  # bytes of a training image that are digested: all of a small file


@dataclass(frozen=True)
class Listing:
    """The files of a split, before any is opened.

    Attributes
    ----------
    folder : Path
    ids : sequence of str
        Unique names.
    paths : sequence of str
        Below the folder.
    targets : ndarray of int, shape (N,), or LabelFiles
    classes : int
    """

    folder: Path
    ids: Sequence[str]
    paths: Sequence[str]
    targets: np.ndarray | LabelFiles
    classes: int

    def __post_init__(self) -> None:
        if twice := [name for name, count in Counter(self.ids).items() if count > 1]:
            raise UserError(
                "the images of a split have different names.",
                came=f"{named(twice)} more than once in {self.folder}",
                do="rename one of each, or take it out of the list.",
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def take(self, places: Sequence[int] | np.ndarray) -> Listing:
        """Return the listing of some of the images."""
        targets = self.targets
        if isinstance(targets, LabelFiles):
            targets = LabelFiles(targets.folder, targets.names[places], targets.classes)
        else:
            targets = targets[places]
        ids, paths = ([names[place] for place in places] for names in (self.ids, self.paths))
        return Listing(self.folder, ids, paths, targets, self.classes)

    def evenly(self, count: int | None) -> Listing:
        """Return `count` images, evenly spaced, and as many of each class as there are.

        Raises
        ------
        UserError
            If there are fewer.
        """
        if count is None:
            return self
        if count > len(self):
            raise UserError(
                "`train_images` and `test_images` are at most as many as there are.",
                came=f"{count} of the {len(self)} images in {self.folder}",
                do="lower the number, or leave it out to take all.",
            )
        classes = None if isinstance(self.targets, LabelFiles) else self.targets
        return self.take(evenly_spaced(len(self), count, classes=classes))


def evenly_spaced(total: int, count: int, *, classes: np.ndarray | None = None) -> np.ndarray:
    """Choose `count` of `total` items, without a draw.

    Parameters
    ----------
    total, count : int
    classes : ndarray of int, shape (total,), or None
        Of each class the same number is chosen, as far as it goes round.

    Returns
    -------
    ndarray of int, shape (count,)
        Sorted places.
    """
    classes = np.zeros(total, int) if classes is None else classes
    order = np.argsort(classes, kind="stable")
    _, starts, sizes = np.unique(classes[order], return_index=True, return_counts=True)
    ranks = np.arange(total) - np.repeat(starts, sizes)
    group = np.repeat(np.arange(len(sizes)), sizes)
    # First of each class one, then of each another: how many of each that makes.
    shares = np.bincount(group[np.argsort(ranks, kind="stable")[:count]], minlength=len(sizes))
    chosen = [
        order[start + np.arange(share) * size // share]
        for start, size, share in zip(starts, sizes, shares)
        if share
    ]
    return np.sort(np.concatenate(chosen))


@dataclass(frozen=True)
class Skipped:
    """A damaged image that was left out; a row of `data/<part>.skipped.csv`."""

    split: str
    image_id: str
    path: str
    reason: str


def inspect(
    listing: Listing, split: str, spec: Pictures, *, threads: int
) -> tuple[ImageSet, list[Skipped]]:
    """Open every file of a split: the head of a training image, all of a test image or label map.

    What is read is digested, with the files' sizes.

    Parameters
    ----------
    listing : Listing
    split : {"train", "test"}
    spec : Pictures
        How images are prepared, and what a damaged one does.
    threads : int
        Files that are opened at a time.

    Returns
    -------
    ImageSet, list of Skipped
        What can be read, and what was left out.

    Raises
    ------
    UserError
        If an image is damaged and `spec.damaged` is `stop`, none is left, or a label map does not
        fit.
    """
    preparation = preparation_of(spec, split)
    look = functools.partial(_look, listing, preparation, split)
    found: list[_Seen | DamagedImage] = []
    title = f"{spec.name}, {split}: opening files"
    with ThreadPool(threads) as pool, Progress(title, len(listing)) as progress:
        for one in pool.imap(look, range(len(listing)), chunksize=16):
            found.append(one)
            progress.advance()
    whole = [place for place, one in enumerate(found) if not isinstance(one, DamagedImage)]
    skipped = [
        Skipped(split, image_id, str(one.path), one.reason)
        for image_id, one in zip(listing.ids, found, strict=True)
        if isinstance(one, DamagedImage)
    ]
    if skipped and (spec.damaged == "stop" or not whole):
        raise _all_named(skipped, len(listing))
    if skipped:
        counts = (len(skipped), len(listing))
        logger.warning("%s, %s: %d of %d images are damaged, left out and listed.",
                       spec.name, split, *counts)  # fmt: skip
    listing = listing.take(whole)
    seen = [one for one in found if not isinstance(one, DamagedImage)]
    sizes = np.array([one.size for one in seen], np.int32)
    content = hashlib.sha256(b"".join(one.digest for one in seen)).hexdigest()
    files = ImageFiles(
        listing.folder, listing.paths, sizes, preparation=preparation, damaged=spec.damaged
    )
    images = ImageSet(listing.ids, files, listing.targets, classes=listing.classes, content=content)
    return images, skipped


def preparation_of(spec: Pictures, split: str) -> Preparation:
    """Return what is done to the images of a split: training images are cropped when drawn."""
    if not isinstance(spec, ClassifiedPictures):
        return Preparation()
    return Preparation(spec.resize, spec.crop if split == "test" else None)


class _Seen(NamedTuple):
    """Height and width of an image when prepared, and the digest of its file and label map."""

    size: tuple[int, int]
    digest: bytes


def _look(
    listing: Listing, preparation: Preparation, split: str, place: int
) -> _Seen | DamagedImage:
    """Open the files of one image."""
    path = listing.folder / listing.paths[place]
    size = read_size(path, preparation)
    if isinstance(size, DamagedImage):
        return size
    if split == "test":
        image = read_prepared(path, preparation)
        if isinstance(image, DamagedImage):
            return image
    digest = content_digest(path, most=-1 if split == "test" else HEAD)
    if isinstance(listing.targets, LabelFiles):
        labels = listing.targets.read(place)
        if isinstance(labels, DamagedImage):
            return labels
        if labels.shape != size:
            raise UserError(
                "an image and its label map have one size.",
                came=f"{path} has {size[1]} x {size[0]} px, "
                f"{listing.targets.path(place)} has {labels.shape[1]} x {labels.shape[0]} px",
                do="mend one of the two, or take the image out of its list.",
            )
        digest += content_digest(listing.targets.path(place))
    return _Seen(size, digest)


def _all_named(damaged: list[Skipped], total: int) -> UserError:
    """Name damaged images."""
    shown = named([f"{image.path} ({image.reason})" for image in damaged], separator="\n    ")
    return UserError(
        "every image can be decoded.",
        came=f"{len(damaged)} of {total} cannot:\n    {shown}",
        do="fetch the files again; or set `damaged: skip` in `data`, which leaves such images out "
        "and lists them in `data/<part>.skipped.csv`, as long as others are left.",
    )


def named(names: Sequence[str], *, separator: str = ", ") -> str:
    """Write the first few of many names, and how many more there are."""
    more = f"{separator}and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return separator.join(names[:NAMED]) + more
