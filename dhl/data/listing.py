"""List the files of a split, and open each once to find damaged images before a run."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dhl.config.data_sets import OwnImages
from dhl.config.image_data_sets import ClassifiedPictures, Pictures
from dhl.data.headers import TRANSPARENT, conversion, read_header, warn_of_turned
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
from dhl.words import named

logger = logging.getLogger("dhl")
DEEP = "more than 8 bits a channel"  # the reason of `read_size`
HEAD = 65_536  # first bytes of a training image, which its digest covers


@dataclass(frozen=True)
class Listing:
    """The files of a split: unique names, paths relative to the folder, classes or label maps.

    `origins` are sources of each image, as in `ImageSet`.
    """

    folder: Path
    ids: Sequence[str]
    paths: Sequence[str]
    targets: np.ndarray | LabelFiles
    classes: int
    origins: Mapping[str, np.ndarray] = field(default_factory=dict)
    left_out: Sequence[str] = ()  # other names in the folder, relative to it
    class_names: Sequence[str] = ()  # empty if the classes have only numbers

    def __post_init__(self) -> None:
        if twice := [name for name, count in Counter(self.ids).items() if count > 1]:
            raise UserError(
                f"Images of a split in {self.folder} have the same name.",
                came=f"{named(twice)} more than once",
                do="rename all but one, or remove them from the list.",
            )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int] | np.ndarray) -> Listing:
        """Return the listing of some of the images."""
        targets = self.targets
        targets = targets.take(indices) if isinstance(targets, LabelFiles) else targets[indices]
        ids, paths = ([names[index] for index in indices] for names in (self.ids, self.paths))
        origins = {kind: of[indices] for kind, of in self.origins.items()}
        return replace(self, ids=ids, paths=paths, targets=targets, origins=origins)

    def evenly(self, count: int | None) -> Listing:
        """Return `count` evenly spaced images, the same number of each class if possible."""
        if count is None:
            return self
        if count > len(self):
            raise UserError(
                f"`train_images` or `test_images` is {count}, but there are {len(self)} images.",
                came=f"{count} of the {len(self)} images in {self.folder}",
                do="lower the number, or remove the key to use all images.",
            )
        return self.take(self._evenly_spaced(count))

    def without(self, count: int | None) -> Listing:
        """Return the images that `evenly` leaves out with this count; null: all."""
        if count is None:
            return self
        if count >= len(self):
            raise UserError(
                f"`test_without` is {count}, but there are {len(self)} test images.",
                came=f"{count} of the {len(self)} images in {self.folder} to leave out",
                do="lower the number, or remove the key to use all images.",
            )
        return self.take(np.setdiff1d(np.arange(len(self)), self._evenly_spaced(count)))

    def _evenly_spaced(self, count: int) -> np.ndarray:
        """Return the indices of `count` evenly spaced images."""
        classes = None if isinstance(self.targets, LabelFiles) else self.targets
        return evenly_spaced(len(self), count, classes=classes)


def evenly_spaced(total: int, count: int, *, classes: np.ndarray | None = None) -> np.ndarray:
    """Choose `count` of `total` items without randomness.

    Parameters
    ----------
    total, count : int
    classes : ndarray of int, shape (total,), or None
        If given, the counts per class differ by at most 1, unless a class has too few items.

    Returns
    -------
    ndarray of int, shape (count,)
        Sorted indices.
    """
    classes = np.zeros(total, int) if classes is None else classes
    order = np.argsort(classes, kind="stable")
    _, starts, sizes = np.unique(classes[order], return_index=True, return_counts=True)
    ranks = np.arange(total) - np.repeat(starts, sizes)
    group = np.repeat(np.arange(len(sizes)), sizes)
    # Round-robin quota per class.
    shares = np.bincount(group[np.argsort(ranks, kind="stable")[:count]], minlength=len(sizes))
    chosen = [
        order[start + np.arange(share) * size // share]
        for start, size, share in zip(starts, sizes, shares)
        if share
    ]
    return np.sort(np.concatenate(chosen))


@dataclass(frozen=True)
class Skipped:
    """A damaged image that is skipped; a row of `data/<part>.skipped.csv`."""

    split: str
    image_id: str
    path: str
    reason: str


class Inspected(NamedTuple):
    """The readable images of a split, a digest of the head of each file, and the skipped images."""

    images: ImageSet
    heads: dict[Path, bytes]
    skipped: list[Skipped]


def inspect(
    listing: Listing, split: str, spec: Pictures, *, threads: int, decode: bool = False
) -> Inspected:
    """Open and digest every file of a split, in several threads.

    Only the first bytes of a training image are read, without `decode`; other images and label maps
    are decoded.

    Raises
    ------
    UserError
        If an image is damaged and `spec.damaged` is `stop`, all images are damaged, or a label map
        does not fit its image.
    """
    look = functools.partial(_look, listing, spec, split, decode or split != "train")
    found: list[_Seen | DamagedImage] = []
    title = f"{spec.name}, {split}: opening files"
    with ThreadPool(threads) as pool, Progress(title, len(listing)) as progress:
        for one in pool.imap(look, range(len(listing)), chunksize=16):
            found.append(one)
            progress.advance()
    readable = [index for index, one in enumerate(found) if not isinstance(one, DamagedImage)]
    skipped = [
        Skipped(split, image_id, str(one.path), one.reason)
        for image_id, one in zip(listing.ids, found, strict=True)
        if isinstance(one, DamagedImage)
    ]
    if skipped and (spec.damaged == "stop" or not readable):
        raise _damaged_error(skipped, len(listing))
    if skipped:
        message = "%s, %s: %d of %d images are damaged and skipped."
        logger.warning(message, spec.name, split, len(skipped), len(listing))
    listing = listing.take(readable)
    seen = [one for one in found if not isinstance(one, DamagedImage)]
    sizes = np.array([one.size for one in seen], np.int32)
    content = hashlib.sha256(b"".join(one.digest for one in seen)).hexdigest()
    files = ImageFiles(
        listing.folder, listing.paths, sizes,
        preparation=preparation_of(spec, split), damaged=spec.damaged,
    )  # fmt: skip
    images = ImageSet(
        listing.ids, files, listing.targets,
        origins=listing.origins, classes=listing.classes, content=content,
        class_names=listing.class_names,
    )  # fmt: skip
    paths = [listing.folder / path for path in listing.paths]
    turned = [path for path, one in zip(paths, seen, strict=True) if one.is_turned]
    warn_of_turned(turned, total=len(paths))
    return Inspected(images, dict(zip(paths, (one.head for one in seen), strict=True)), skipped)


def heads_of(paths: Sequence[Path], *, threads: int = 1) -> dict[Path, bytes]:
    """Digest the size and the first bytes of each file."""
    with ThreadPool(threads) as pool:
        heads = pool.map(functools.partial(content_digest, most=HEAD), paths)
    return dict(zip(paths, heads, strict=True))


def refuse_copies(train: Mapping[Path, bytes], test: Mapping[Path, bytes]) -> None:
    """Raise a `UserError` if a test image is a training image, a link to one, or a copy of one.

    Parameters
    ----------
    train, test : mapping of Path to bytes
        As from `heads_of`; files with one digest are compared completely.
    """
    heads: dict[bytes, list[Path]] = {}
    for path, head in train.items():
        heads.setdefault(head, []).append(path)
    copies = {
        path: original
        for path, head in test.items()
        for original in heads.get(head, ())
        if content_digest(path) == content_digest(original)
    }
    if copies:
        shown = [f"{path} has the bytes of {original}" for path, original in copies.items()]
        raise UserError(
            "The same images are trained on and tested on.",
            came=named(shown, separator="\n    "),
            do="remove them from one of the two folders or lists in `data`.",
        )


def preparation_of(spec: Pictures, split: str) -> Preparation:
    """Return the preparation of a split; training images are cropped later, at random."""
    if not isinstance(spec, ClassifiedPictures):
        return Preparation()
    return Preparation(spec.resize, None if split == "train" else spec.crop)


class _Seen(NamedTuple):
    """Height and width of a prepared image, and the digest of its file and label map."""

    size: tuple[int, int]
    digest: bytes
    head: bytes  # digest of the size and the first bytes of the image file
    is_turned: bool  # whether an image of the user has an orientation that is not applied


def _look(
    listing: Listing, spec: Pictures, split: str, decode: bool, index: int
) -> _Seen | DamagedImage:
    """Open the files of one image, and return its size and digest, or its damage."""
    path, preparation = listing.folder / listing.paths[index], preparation_of(spec, split)
    size = read_size(path, preparation)
    if isinstance(size, DamagedImage):
        return size
    # Public sets are read as torchvision reads them.
    header = read_header(path, alpha=True) if isinstance(spec, OwnImages) else None
    if header is not None and header.is_transparent:
        return DamagedImage(path, TRANSPARENT)
    if decode:
        image = read_prepared(path, preparation)
        if isinstance(image, DamagedImage):
            return image
    head = content_digest(path, most=HEAD)
    digest = head if split == "train" else content_digest(path)
    if isinstance(listing.targets, LabelFiles):
        labels = listing.targets.read(index)
        if isinstance(labels, DamagedImage):
            return labels
        if labels.shape != size:
            raise UserError(
                f"The image {path.name} and its label map have different sizes.",
                came=f"{path} has {size[1]} x {size[0]} px, "
                f"{listing.targets.path(index)} has {labels.shape[1]} x {labels.shape[0]} px",
                do="correct one of the two, or remove the image from its list.",
            )
        digest += content_digest(listing.targets.path(index))
    return _Seen(size, digest, head, header is not None and header.is_turned)


def _damaged_error(damaged: list[Skipped], total: int) -> UserError:
    """Return the error for damaged images."""
    shown = named([f"{image.path} ({image.reason})" for image in damaged], separator="\n    ")
    whole = [Path(image.path) for image in damaged if image.reason in (DEEP, TRANSPARENT)]
    advice = ["copy the files again"] if len(whole) < len(damaged) else []
    if whole:
        advice += [
            f"convert images that are transparent or have more than 8 bits, for "
            f"example: {conversion(whole[0])}"
        ]
    return UserError(
        f"{len(damaged)} of {total} images cannot be used.",
        came=shown,
        do=f"{' and '.join(advice)}; or set `damaged: skip` in `data`, which skips these images, "
        "if others remain, and lists them in `data/<part>.skipped.csv`.",
    )
