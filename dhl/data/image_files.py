"""Images and label maps that stay in their files until they are asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np
from PIL import Image

from dhl.data.class_names import IGNORED_LABEL
from dhl.errors import UserError

SMALLEST_SIDE = 8

Damaged = Literal["stop", "skip"]


@dataclass(frozen=True)
class DamagedImage:
    """A file that is no image, and why."""

    path: Path
    reason: str

    def error(self) -> UserError:
        """Return the error that stops a run because of it."""
        return UserError(
            "an image can be decoded.",
            came=f"{self.path}: {self.reason}",
            do="fetch the file again, or leave such images out with `damaged: skip` in `data`.",
        )


@dataclass(frozen=True)
class Preparation:
    """What is done to an image before anything else sees it, as torchvision's `Resize` does.

    Attributes
    ----------
    resize : int or None
        The short side in pixels; antialiased bilinear, which the published networks were measured
        with.
    crop : int or None
        The side of the square that is cut out of the middle.
    """

    resize: int | None = None
    crop: int | None = None

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width after resizing; the long side is rounded down."""
        short, long = sorted((height, width))
        if self.resize is None or short == self.resize:
            return height, width
        long = self.resize * long // short
        return (self.resize, long) if height <= width else (long, self.resize)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of an image when all is done."""
        return self.resized(height, width) if self.crop is None else (self.crop, self.crop)

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Return the pixels of an RGB image, uint8 (H, W, 3), resized and cropped."""
        height, width = self.resized(image.height, image.width)
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if self.crop is not None:
            # To the even number, as torchvision's `CenterCrop` rounds.
            top, left = (round((side - self.crop) / 2) for side in (height, width))
            image = image.crop((left, top, left + self.crop, top + self.crop))
        return np.array(image)


class Files(Sequence[np.ndarray]):
    """Arrays that stay in files below a folder; each is read when it is asked for.

    Parameters
    ----------
    folder : Path
    paths : sequence of str
        Below the folder. They are kept as one array of bytes, so that a million of them are cheap
        to hand to the processes that read.
    """

    def __init__(self, folder: Path, paths: Sequence[str] | np.ndarray):
        self.folder = Path(folder)
        self.names = paths if isinstance(paths, np.ndarray) else encoded(paths)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        found = self.read(index)
        if isinstance(found, DamagedImage):
            raise found.error()
        return found

    def path(self, index: int) -> Path:
        """Return the file of an item."""
        return self.folder / os.fsdecode(self.names[index])

    def read(self, index: int) -> np.ndarray | DamagedImage:
        """Return an item, or what is wrong with its file; an index raises that as a UserError."""
        raise NotImplementedError


class ImageFiles(Files):
    """Images of one split as uint8 arrays (H, W, 3), decoded when they are asked for.

    Grey, CMYK and palette images become RGB, as everyone reads the public sets. Whoever draws
    images to train on calls `read`, and where it returns a `DamagedImage` does what `damaged` says.

    Parameters
    ----------
    folder : Path
    paths : sequence of str
        Below the folder.
    sizes : ndarray of int, shape (N, 2)
        Height and width of each image as it is returned, known without decoding it.
    preparation : Preparation
    damaged : {"stop", "skip"}
        Raise its `error()`, or take another image.
    """

    def __init__(
        self,
        folder: Path,
        paths: Sequence[str] | np.ndarray,
        sizes: np.ndarray,
        *,
        preparation: Preparation,
        damaged: Damaged = "stop",
    ):
        super().__init__(folder, paths)
        self.sizes, self.preparation, self.damaged = sizes, preparation, damaged

    def read(self, index: int) -> np.ndarray | DamagedImage:
        """Return an image, or what is wrong with its file."""
        return read_prepared(self.path(index), self.preparation)


class LabelFiles(Files):
    """Label maps of one split as uint8 arrays (H, W), read when they are asked for.

    Parameters
    ----------
    folder : Path
    paths : sequence of str
        Below the folder: PNGs whose pixels are the classes, or the `.mat` files of SBD.
    classes : int
        Pixels hold 0 to `classes` - 1, and 255 where they are ignored.
    """

    def __init__(self, folder: Path, paths: Sequence[str] | np.ndarray, classes: int):
        super().__init__(folder, paths)
        self.classes = classes

    def read(self, index: int) -> np.ndarray | DamagedImage:
        """Return a label map, or what is wrong with its file.

        Raises
        ------
        UserError
            If it can be read, and is no map of these classes.
        """
        path = self.path(index)
        labels = _read_labels(path)
        if isinstance(labels, np.ndarray):
            _check_labels(labels, path, self.classes)
        return labels


def read_prepared(path: Path, preparation: Preparation) -> np.ndarray | DamagedImage:
    """Decode an image and prepare it, or say what is wrong with its file.

    What the decoder passes over, such as zeros inside the data of a JPEG, goes unnoticed here too.
    """
    try:
        with Image.open(path) as image:
            return preparation(image.convert("RGB"))
    except Exception as error:
        return _damage(path, error)


def read_size(path: Path, preparation: Preparation) -> tuple[int, int] | DamagedImage:
    """Read an image's header and return the height and width that it will have when prepared."""
    try:
        with Image.open(path) as image:
            height, width, mode = image.height, image.width, image.mode
    except Exception as error:
        return _damage(path, error)
    if mode.startswith(("I", "F")):  # Pillow would cut the values off at 255
        return DamagedImage(path, "it has more than 8 bits a pixel in one channel")
    if min(height, width) < SMALLEST_SIDE:
        return DamagedImage(path, f"{width} x {height} px, below {SMALLEST_SIDE} px a side")
    return preparation.size(height, width)


def _damage(path: Path, error: Exception) -> DamagedImage:
    """Say why the content of a file cannot be decoded: decoders raise whatever their parts do.

    Raises
    ------
    UserError
        If the system cannot open the file, which says nothing about its content.
    """
    if isinstance(error, OSError) and error.errno is not None:
        raise _unreadable(path, error) from None
    if isinstance(error, MemoryError):
        raise error
    reason = str(error).replace(repr(str(path)), "").strip() or type(error).__name__
    unknown = "cannot identify" in reason
    return DamagedImage(path, "it is of no known image format" if unknown else reason)


def _unreadable(path: Path, error: OSError) -> UserError:
    """Say that the system cannot read a file."""
    return UserError(
        "the files of a data set are there and can be opened.",
        came=f"{path}: {error.strerror}",
        do="check the disk, the path in `data` and the permissions, and run again.",
    )


def content_digest(path: Path, *, most: int = -1) -> bytes:
    """Digest a file's size and its bytes, the first `most` of them if that is not negative."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return hashlib.sha256(f"{size} ".encode() + file.read(most)).digest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _read_labels(path: Path) -> np.ndarray | DamagedImage:
    """Read the classes of a label map's pixels."""
    try:
        if path.suffix == ".mat":
            return _read_sbd(path)
        with Image.open(path) as image:
            if image.mode in ("P", "L"):  # a palette's indices are the classes
                return np.array(image)
            mode = image.mode
    except Exception as error:
        return _damage(path, error)
    raise UserError(
        "a label map has one channel, whose values are the classes.",
        came=f"{path} has {mode}",
        do="save it with a palette or in grey, 8 bits a pixel.",
    )


def _read_sbd(path: Path) -> np.ndarray:
    """Read the label map in a file of the Semantic Boundaries Dataset (Hariharan et al., 2011)."""
    from scipy.io import loadmat

    content = loadmat(path, squeeze_me=True, struct_as_record=False)
    return np.array(content["GTcls"].Segmentation, dtype=np.uint8)


def _check_labels(labels: np.ndarray, path: Path, classes: int) -> None:
    """Refuse a label map with other classes."""
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    wrong = [int(value) for value in present if classes <= value < IGNORED_LABEL]
    if wrong:
        raise UserError(
            f"the pixels of a label map are classes 0 to {classes - 1}, or {IGNORED_LABEL} "
            "(ignored).",
            came=f"{path} has {', '.join(map(str, wrong))}",
            do="mend the label map, or set the number of classes in `data`.",
        )


def encoded(names: Sequence[str]) -> np.ndarray:
    """Return names as an array of their bytes: a million of them stay small, and pickle fast."""
    return np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
