"""Images for denoising, from a user's folder or a downloaded set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from dhl.config.data_sets import DOWNLOADABLE_FOLDERS, Folder
from dhl.config.folders import SUFFIXES, Found, find_images
from dhl.data.headers import TRANSPARENT, conversion, read_header, warn_of_turned
from dhl.data.image_files import SMALLEST_SIDE, is_deep
from dhl.data.image_set import ImageSet
from dhl.data.imagenet_samples import read_half
from dhl.data.listing import heads_of, refuse_copies
from dhl.data.locations import downloaded
from dhl.errors import UserError
from dhl.words import named

SMALLEST_MEASURED_SIDE = 17  # SSIM's window of 11 px, and a border of 3 px on each side


def read_image(path: Path) -> np.ndarray:
    """Read an 8-bit colour image, uint8 (H, W, 3); errors are those of `open_rgb`."""
    return np.asarray(open_rgb(path))


def open_rgb(path: Path, *, most_pixels: int | None = None) -> Image.Image:
    """Read an 8-bit colour image with its `info`.

    Raises
    ------
    UserError
        If the file is missing or damaged, or the image is grey, has alpha, has more than 8 bits a
        channel, is smaller than 8 px a side, or has more than `most_pixels`.
    """
    try:
        with Image.open(path) as image:
            if most_pixels is not None and image.width * image.height > most_pixels:
                raise MemoryError(f"{path} has {image.width} x {image.height} px")
            deep = is_deep(image)
            image.load()
            mode, bits = image.mode, image.getbands()
            picture = image.convert("RGB") if mode == "P" else image
            transparent = "transparency" in image.info
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything for a damaged file
        raise _refused(path, f"cannot be read: {error}", "copy it again from its source.") from None
    if mode not in ("RGB", "P") or transparent or deep:
        reason = {"L": "is grey", "1": "is black and white", "CMYK": "has CMYK colours"}.get(
            mode, f"has the channels {''.join(bits)}"
        )
        if deep:
            reason = "has more than 8 bits a channel"
        elif transparent:
            reason = TRANSPARENT
        raise _refused(path, reason, f"convert it, for example: {conversion(path)}.")
    if min(picture.size) < SMALLEST_SIDE:
        reason = f"has {picture.width} x {picture.height} px"
        raise _refused(path, reason, "leave it out or enlarge it.")
    return picture


# Image folders of each downloadable set. As in Chen et al. (2014), the 200 training and 200
# test images of BSDS500 are the training images; its `val` images are the test images here.
_FOLDERS: dict[str, dict[str, tuple[str, ...]]] = {
    **{name: {"train": (".",), "test": (".",)} for name in ("kodak", "cbsd68", "mcmaster")},
    "bsds500": {
        "train": ("BSR/BSDS500/data/images/train", "BSR/BSDS500/data/images/test"),
        "test": ("BSR/BSDS500/data/images/val",),
    },
}


def read_denoising(
    spec: Folder, root: Path, *, wanted: Sequence[str] = ("train", "test")
) -> tuple[dict[str, ImageSet], list[str]]:
    """Read the `wanted` images from folders, or from sets downloaded to `root`.

    A copy of a training image among the test images is an error, whether both are wanted or not.

    Returns
    -------
    dict of str to ImageSet
        The splits.
    list of str
        What is left out in the folders of the user.
    """
    splits: dict[str, ImageSet] = {}
    files: dict[str, list[Path]] = {}
    left_out: list[str] = []
    for split, source in (("train", spec.train), ("test", spec.test)):
        if source is None:
            continue
        if source in DOWNLOADABLE_FOLDERS and source not in _FOLDERS:
            splits |= read_half(source, split, root) if split in wanted else {}
            continue
        folders = [Path(source)]
        if source in _FOLDERS:
            folders = [downloaded(root, source) / name for name in _FOLDERS[source][split]]
        elif split in wanted:
            left_out += [f"{source}/{name}" for name in _found(Path(source)).left_out]
        listed = [picture_files(folder) for folder in folders]
        files[split] = [path for paths in listed for path in paths]
        if split not in wanted:
            continue
        _check_headers(files[split], own=source not in _FOLDERS)
        read = [read_pictures(paths) for paths in listed]
        ids = [name for images in read for name in images.ids]
        splits[split] = ImageSet(ids, [image for images in read for image in images.images])
    if {spec.train, spec.test} - set(_FOLDERS):
        refuse_copies(*(heads_of(files.get(split, ())) for split in ("train", "test")))
    return splits, left_out


def _check_headers(paths: Sequence[Path], *, own: bool) -> None:
    """Raise a `UserError` if images do not fit into memory; warn of turned images of the user."""
    headers = {path: header for path in paths if (header := read_header(path, alpha=False))}
    needed = sum(header.bytes for header in headers.values())
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"The images in {paths[0].parent} do not fit into memory.",
            came=f"{len(paths)} images take {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are "
            "free",
            do="leave out images or crop them, or use a machine with more memory; each training "
            "on them needs as much.",
        )
    if own:
        turned = [path for path, header in headers.items() if header.is_turned]
        warn_of_turned(turned, total=len(paths))


def read_pictures(paths: Sequence[Path]) -> ImageSet:
    """Read the images of one folder; an image has the name of its file, without the ending."""
    ids = [path.stem for path in paths]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise UserError(
            f"Two images in {paths[0].parent} have the name `{twice}`.",
            came=f"`{twice}` with two endings",
            do="rename one of them.",
        )
    images = [read_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if min(image.shape[:2]) < SMALLEST_MEASURED_SIDE:
            raise UserError(
                f"The image {path.name} is below {SMALLEST_MEASURED_SIDE} px a side, too small for "
                "SSIM.",
                came=f"{path} has {image.shape[1]} x {image.shape[0]} px",
                do="leave it out or enlarge it.",
            )
    return ImageSet(ids, images)


def picture_files(folder: Path) -> list[Path]:
    """List the images directly inside a folder, sorted by name; a `UserError` if it has none."""
    return [folder / name for name in _found(folder).names]


def _found(folder: Path) -> Found:
    """Sort the names inside a folder; a `UserError` if no image is among them."""
    exists = folder.is_dir()
    found = find_images(folder) if exists else Found([], [])
    if found.names:
        return found
    other = f", but {named(found.left_out)}" if found.left_out else ""
    raise UserError(
        f"The data folder {folder} {'has no image directly in it' if exists else 'is missing'}.",
        came=f"{folder} has no {', '.join(SUFFIXES)}{other}" if exists else f"no folder {folder}",
        do="put the images there, or correct the path in `data`.",
    )


def _refused(path: Path, reason: str, do: str) -> UserError:
    """Return the error for an image that cannot be used."""
    return UserError(
        f"The image {path.name} is not a readable 8-bit RGB image of at least {SMALLEST_SIDE} px.",
        came=f"{path} {reason}",
        do=do,
    )
