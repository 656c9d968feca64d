"""A picture file that is changed band by band, with its metadata."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from dhl.data.folder import open_rgb
from dhl.errors import UserError
from dhl.files import atomic_path

logger = logging.getLogger("dhl")

# Formats that keep the denoised pixels, and the options for that; lossy ones are near to lossless.
_OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("PNG", "TIFF", "BMP", "PPM", "JPEG2000")},
    "JPEG": {"quality": 98, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 98, "subsampling": "4:4:4"},
}
_ORIENTATION = 0x0112  # the tag of EXIF
# Tags of TIFF that describe how its pixels are stored: size, compression, strips and tiles. XMP
# (700) repeats the orientation, and the colour profile (34675) is kept apart.
_STORAGE = {
    *range(254, 260), 262, 266, 273, *range(277, 280), 284, *range(317, 326), 330,
    *range(332, 348), *range(512, 533), 700, 34675,
}  # fmt: skip
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
LARGEST_MARGIN = 256  # rows above the next tiles that are kept as they were
BYTES_PER_PIXEL = 10  # of an image in Pillow, and of one that it converts or turns


class Picture:
    """The pixels of a picture; rows are replaced from the top, and stay readable as they were.

    Pixels are 4 bytes, so that a picture of 100 megapixels takes 0.4 GB.
    """

    def __init__(self, image: Image.Image, metadata: dict[str, Any]):
        self.image, self.metadata = image, metadata
        self.width, self.height = image.size
        self.replaced = 0  # rows
        self.above = np.empty((0, self.width, 3), np.uint8)  # what the last of them were

    @classmethod
    def read(cls, path: Path, *, bytes_per_pixel: int = BYTES_PER_PIXEL) -> Picture:
        """Read an 8-bit colour picture of any size; turn it as its EXIF orientation says.

        A `MemoryError` if the memory does not suffice for so many bytes per pixel.
        """
        with _of_any_size():
            image = open_rgb(path, most_pixels=psutil.virtual_memory().available // bytes_per_pixel)
            turn, metadata = _metadata(image, path)
        return cls(image if turn is None else image.transpose(turn), metadata)

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """Return rows as they were, float32 (rows, W, 3) on [0, 1]."""
        begin = max(top, self.replaced)
        rows = np.asarray(self.image.crop((0, begin, self.width, max(begin, bottom))))
        if top < begin:
            before = self.above[len(self.above) - (self.replaced - top) :]
            rows = np.concatenate([before[: bottom - top], rows])
        return rows.astype(np.float32) / 255

    def replace(self, first: int, rows: np.ndarray) -> None:
        """Replace the next rows by denoised ones, float (rows, W, 3), clipped to [0, 1]."""
        if first != self.replaced:
            raise ValueError(f"row {first} comes before row {self.replaced}")
        before = np.asarray(self.image.crop((0, first, self.width, first + len(rows))))
        self.above = np.concatenate([self.above, before])[-LARGEST_MARGIN:]
        levels = np.rint(np.clip(rows, 0, 1) * 255).astype(np.uint8)
        self.image.paste(Image.fromarray(levels), (0, first))
        self.replaced += len(rows)

    def write(self, path: Path) -> None:
        """Write the picture with its metadata, in the format of the extension."""
        kind = _format(path)
        with atomic_path(path) as temporary:
            try:
                self.image.save(temporary, format=kind, **_OPTIONS[kind], **self.metadata)
            except (ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise UserError(
                    f"The picture cannot be written as {kind}.",
                    came=f"{self.width} x {self.height} px: {error}",
                    do="use .png, or .tif for a very large picture.",
                ) from None


def check_format(path: Path) -> None:
    """Raise a `UserError` if the extension of a picture names no format that keeps its pixels."""
    if _format(path) not in _OPTIONS or _format(path) not in Image.SAVE:
        raise UserError(
            f"The extension `{path.suffix}` does not name a format that keeps the pixels.",
            came=f"{path}",
            do="use .png, which loses nothing.",
        )


def _format(path: Path) -> str:
    """Return Pillow's name of the format of an extension; empty for an unknown one."""
    return Image.registered_extensions().get(path.suffix.lower(), "")


def _metadata(image: Image.Image, path: Path) -> tuple[Image.Transpose | None, dict[str, Any]]:
    """Return how to turn the pixels, and resolution, colour profile and EXIF data for `save`."""
    found: dict[str, Any] = {}
    turn = None
    if profile := image.info.get("icc_profile"):
        found["icc_profile"] = profile
    try:
        exif = image.getexif()
        resolution = tuple(float(value) for value in image.info.get("dpi", ()))
        if len(resolution) == 2 and all(1 <= value <= 10**5 for value in resolution):
            found["dpi"] = resolution
        turn = _TURNS.get(exif.get(_ORIENTATION, 1))
        for tag in (_ORIENTATION, *filter(_STORAGE.__contains__, list(exif))):
            exif.pop(tag, None)
        if len(exif):
            found["exif"] = exif.tobytes()
    except Exception as error:  # damaged metadata, of which decoders raise anything
        logger.warning("%s: metadata that cannot be read are left out: %s", path, error)
    return turn, found


@contextmanager
def _of_any_size() -> Iterator[None]:
    """Let Pillow read pictures of more than 89 megapixels, and not warn of damaged metadata."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
