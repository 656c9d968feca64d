"""Images and label maps, read from their files on demand."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from dhl.data.class_names import IGNORED_LABEL
from dhl.errors import UserError

SMALLEST_SIDE = 8

Damaged = Literal["stop", "skip"]


@dataclass(frozen=True)
class DamagedImage:
    """A file that cannot be decoded, and the reason."""

    path: Path
    reason: str

    def error(self) -> UserError:
        """Return the error for a run that does not skip damaged images."""
        return UserError(
            f"The image {self.path.name} cannot be decoded.",
            came=f"{self.path}: {self.reason}",
            do="copy the file again, or set `damaged: skip` in `data` to skip damaged images.",
        )


@dataclass(frozen=True)
class Preparation:
    """Resizing and cropping of an image, as with torchvision's `Resize` and `CenterCrop`.

    Attributes
    ----------
    resize : int or None
        The new short side in pixels; antialiased bilinear, as in the evaluation of the published
        networks.
    crop : int or None
        The side of the central square in pixels.
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
        """Return height and width of an image after resizing and cropping."""
        return self.resized(height, width) if self.crop is None else (self.crop, self.crop)

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Return the pixels of an RGB image, uint8 (H, W, 3), resized and cropped."""
        height, width = self.resized(image.height, image.width)
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if self.crop is not None:
            # `round` goes to the even number, as in torchvision's `CenterCrop`.
            top, left = (round((side - self.crop) / 2) for side in (height, width))
            image = image.crop((left, top, left + self.crop, top + self.crop))
        return np.array(image)


class Files(Sequence[np.ndarray]):
    """Arrays in files below a folder; each one is read on demand.

    The relative paths are stored as one array of bytes, so that a million of them pickle fast.
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
        """Return an item or its damage; indexing raises a damage as a `UserError`."""
        raise NotImplementedError


class ImageFiles(Files):
    """Images of one split as uint8 arrays (H, W, 3), decoded on demand and converted to RGB.

    `sizes`, int (N, 2), are height and width of the prepared images. If `read` returns a
    `DamagedImage`, training uses the next image with `damaged="skip"`, and stops otherwise.
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
        """Return a prepared image or its damage."""
        return read_prepared(self.path(index), self.preparation)


class LabelFiles(Files):
    """Label maps of one split as uint8 arrays (H, W), read on demand.

    The files are PNG files with one channel, in grey or with a palette, or the `.mat` files of SBD.
    Pixels are the stored numbers, whatever their number of bits: 0 to `classes` - 1, or 255
    (ignored), which replaces the files' label `void`.
    """

    def __init__(
        self,
        folder: Path,
        paths: Sequence[str] | np.ndarray,
        classes: int,
        *,
        void: int = IGNORED_LABEL,
    ):
        super().__init__(folder, paths)
        self.classes, self.void = classes, void

    def take(self, indices: Sequence[int] | np.ndarray) -> LabelFiles:
        """Return some of the label maps."""
        return LabelFiles(self.folder, self.names[indices], self.classes, void=self.void)

    def read(self, index: int) -> np.ndarray | DamagedImage:
        """Return a label map or its damage; a `UserError` for pixels of other classes."""
        path = self.path(index)
        labels = _read_labels(path)
        if isinstance(labels, DamagedImage):
            return labels
        labels = np.where(labels == self.void, IGNORED_LABEL, labels)
        _check_labels(labels, path, self.classes)
        return labels.astype(np.uint8)


def read_prepared(path: Path, preparation: Preparation) -> np.ndarray | DamagedImage:
    """Decode and prepare an image, or return the damage that the decoder notices."""
    try:
        with Image.open(path) as image:
            return preparation(image.convert("RGB"))
    except Exception as error:
        return _damage(path, error)


def read_size(path: Path, preparation: Preparation) -> tuple[int, int] | DamagedImage:
    """Return height and width of the prepared image; reads only the header of its file."""
    try:
        with Image.open(path) as image:
            height, width, deep = image.height, image.width, is_deep(image)
    except Exception as error:
        return _damage(path, error)
    if deep:
        return DamagedImage(path, "more than 8 bits a channel")
    if min(height, width) < SMALLEST_SIDE:
        return DamagedImage(path, f"{width} x {height} px, below {SMALLEST_SIDE} px a side")
    return preparation.size(height, width)


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Return whether Pillow would reduce the pixels to 8 bits a channel; call it before loading."""
    if image.mode.startswith(("I", "F")):
        return True
    codings = [args if isinstance(args, tuple) else (args,) for *_, args in image.tile]
    if image.format == "PPM":  # the second argument is the highest level
        return any(len(coding) > 1 and coding[1] > 255 for coding in codings)
    return any(";16" in str(coding[0]) for coding in codings)


def _damage(path: Path, error: Exception) -> DamagedImage:
    """Return the damage for an error of a decoder; a `UserError` if the file cannot be opened."""
    if isinstance(error, OSError) and error.errno is not None:
        raise _unreadable(path, error) from None
    if isinstance(error, MemoryError):
        raise error
    reason = str(error).replace(repr(str(path)), "").strip() or type(error).__name__
    unknown = "cannot identify" in reason
    return DamagedImage(path, "unknown image format" if unknown else reason)


def _unreadable(path: Path, error: OSError) -> UserError:
    """Return the error for a file that the system cannot read."""
    return UserError(
        f"The file {path.name} cannot be opened.",
        came=f"{path}: {error.strerror}",
        do="check the disk, the path in `data` and the permissions, and run again.",
    )


def content_digest(path: Path, *, most: int = -1) -> bytes:
    """Digest the size and the bytes of a file; only the first `most` bytes if `most` >= 0."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return hashlib.sha256(f"{size} ".encode() + file.read(most)).digest()
    except OSError as error:
        raise _unreadable(path, error) from None


# Pillow spreads the grey levels of 2 and 4 bits over 0 to 255: level 1 becomes 85 or 17.
_SPREAD = {"L;2": 85, "L;4": 17}


def _read_labels(path: Path) -> np.ndarray | DamagedImage:
    """Read the numbers that a label map stores, as integers or booleans (H, W)."""
    try:
        if path.suffix.lower() == ".mat":
            return _read_sbd(path)
        with Image.open(path, formats=("PNG",)) as image:  # others lose numbers, such as JPEG
            spread = _SPREAD.get(str(image.tile[0].args), 1)
            if image.mode in ("1", "L", "I", "I;16", "P"):  # a palette's indices are the classes
                return np.array(image) // np.uint8(spread)
            mode = image.mode
    except UnidentifiedImageError:
        return DamagedImage(path, "not a PNG file")
    except Exception as error:
        return _damage(path, error)
    raise UserError(
        f"The label map {path.name} has colour or alpha channels instead of class indices.",
        came=f"{path} has {mode}",
        do="save the index of the class of each pixel as a PNG file, with a palette or in grey.",
    )


def _read_sbd(path: Path) -> np.ndarray | DamagedImage:
    """Read the label map in a file of the Semantic Boundaries Dataset (Hariharan et al., 2011)."""
    from scipy.io import loadmat

    content = loadmat(path, squeeze_me=True, struct_as_record=False)
    labels = np.asarray(content["GTcls"].Segmentation)
    if labels.dtype.kind not in "biu":
        return DamagedImage(path, f"labels of type {labels.dtype}")
    return labels


def _check_labels(labels: np.ndarray, path: Path, classes: int) -> None:
    """Raise a `UserError` if a label map has other classes."""
    strange = (labels < 0) | ((labels >= classes) & (labels != IGNORED_LABEL))
    if strange.any():
        wrong = np.unique(labels[strange]).tolist()
        raise UserError(
            f"The label map {path.name} has labels outside 0 to {classes - 1} and {IGNORED_LABEL}.",
            came=f"{path} has {', '.join(map(str, wrong[:10]))}{', ...' if wrong[10:] else ''}",
            do="correct the label map, or set `classes` or `void` in `data`.",
        )


def encoded(names: Sequence[str]) -> np.ndarray:
    """Return names as an array of bytes, which is small and fast to pickle."""
    return np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
