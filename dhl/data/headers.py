"""What the header of a user's image says besides its size: that it is turned, or transparent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFile

logger = logging.getLogger("dhl")
ORIENTATION = 0x0112  # the tag of EXIF
TURNED = range(2, 9)  # its values for an image that is stored turned or mirrored
TRANSPARENT = "has transparency"


class Header(NamedTuple):
    """The bytes of the pixels as 8-bit RGB, and whether the image is turned, or transparent."""

    bytes: int
    is_turned: bool
    is_transparent: bool


def read_header(path: Path, *, alpha: bool) -> Header | None:
    """Read the header of an image; None for a file that cannot be read, which its decoder reports.

    With `alpha`, an image with an alpha channel is decoded: it can be opaque everywhere.
    """
    try:
        with Image.open(path) as image:
            size, turned = 3 * image.width * image.height, _is_turned(image)
            return Header(size, turned, alpha and _is_transparent(image))
    except MemoryError:
        raise
    except Exception:
        return None


def _is_turned(image: ImageFile.ImageFile) -> bool:
    """Tell whether an image has an orientation that Pillow, which turns TIFF, does not apply."""
    if image.format == "TIFF":
        return False
    # The method of PNG would decode the pixels, to find a tag behind them.
    return Image.Image.getexif(image).get(ORIENTATION) in TURNED


def _is_transparent(image: ImageFile.ImageFile) -> bool:
    """Tell whether any pixel is transparent."""
    if not image.has_transparency_data:
        return False
    return image.convert("RGBA").getchannel("A").getextrema() != (255, 255)


def warn_of_turned(paths: Sequence[Path], *, total: int) -> None:
    """Warn that the orientation of these images, of `total`, is not applied."""
    if paths:
        logger.warning(
            "The EXIF orientation is not applied: %d of %d images, such as %s, are used as they "
            "are stored, turned or mirrored. Write them upright, for example by "
            "`mogrify -auto-orient`.",
            len(paths), total, paths[0],
        )  # fmt: skip


def conversion(path: Path) -> str:
    """Return the command that makes an image readable: opaque, in colour, with 8 bits a channel."""
    return (
        f"`magick {path.name} -depth 8 -background white -alpha remove -type TrueColor "
        f"PNG24:{path.stem}-rgb.png`"
    )
