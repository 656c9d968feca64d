"""Images for denoising, from a user's folder or a downloaded set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from dhl.config.data_sets import Folder
from dhl.data.image_files import SMALLEST_SIDE
from dhl.data.image_set import ImageSet
from dhl.data.imagenet_samples import read_half
from dhl.data.layouts import SUFFIXES
from dhl.data.locations import downloaded
from dhl.errors import UserError

SMALLEST_MEASURED_SIDE = 17  # SSIM's window of 11 px, and a border of 3 px on each side


def read_image(path: Path) -> np.ndarray:
    """Read an 8-bit colour image.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)

    Raises
    ------
    UserError
        If the file is missing or damaged, or the image is grey, has alpha, has more than 8 bits a
        channel, or is smaller than 8 px a side.
    """
    try:
        with Image.open(path) as image:
            deep = _is_deep(image)
            image.load()
            mode, bits = image.mode, image.getbands()
            pixels = np.asarray(image.convert("RGB")) if mode in ("RGB", "P") else None
            transparent = "transparency" in image.info
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _refused(path, f"cannot be read: {error}", "copy it again from its source.") from None
    if pixels is None or transparent or deep:
        reason = {"L": "is grey", "1": "is black and white", "CMYK": "has CMYK colours"}.get(
            mode, f"has the channels {''.join(bits)}"
        )
        if deep or mode.startswith(("I", "F")):
            reason = "has more than 8 bits a channel"
        elif transparent:
            reason = "has transparency"
        command = (
            f"magick {path.name} -depth 8 -alpha off -type TrueColor PNG24:{path.stem}-rgb.png"
        )
        raise _refused(path, reason, f"convert it, for example: `{command}`.")
    if min(pixels.shape[:2]) < SMALLEST_SIDE:
        reason = f"has {pixels.shape[1]} x {pixels.shape[0]} px"
        raise _refused(path, reason, "leave it out or enlarge it.")
    return pixels


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Return whether Pillow would reduce the pixels to 8 bits a channel; call it before loading."""
    codings = [args if isinstance(args, tuple) else (args,) for *_, args in image.tile]
    if image.format == "PPM":  # the second argument is the highest level
        return any(len(coding) > 1 and coding[1] > 255 for coding in codings)
    return any(";16" in str(coding[0]) for coding in codings)


# Image folders of each downloadable set. As in Chen et al. (2014), the 200 training and 200
# test images of BSDS500 are the training images; its `val` images are the test images here.
_FOLDERS: dict[str, dict[str, tuple[str, ...]]] = {
    "kodak": {"train": (".",), "test": (".",)},
    "bsds500": {
        "train": ("BSR/BSDS500/data/images/train", "BSR/BSDS500/data/images/test"),
        "test": ("BSR/BSDS500/data/images/val",),
    },
}


def read_denoising(spec: Folder, root: Path) -> dict[str, ImageSet]:
    """Read the training and test images from folders, or from sets downloaded to `root`."""
    splits: dict[str, ImageSet] = {}
    files: dict[str, list[Path]] = {}
    for split, source in (("train", spec.train), ("test", spec.test)):
        if source is None:
            continue
        if source.startswith("imagenet-samples-"):
            splits |= read_half(source, split, root)
            continue
        folders = [Path(source)]
        if source in _FOLDERS:
            folders = [downloaded(root, source) / name for name in _FOLDERS[source][split]]
        listed = [picture_files(folder) for folder in folders]
        files[split] = [path for paths in listed for path in paths]
        if split == "test":
            refuse_shared(files.get("train", ()), files["test"])
        read = [read_pictures(paths) for paths in listed]
        ids = [name for images in read for name in images.ids]
        splits[split] = ImageSet(ids, [image for images in read for image in images.images])
    return splits


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
    exists = folder.is_dir()
    paths = sorted(folder.iterdir()) if exists else []
    if images := [path for path in paths if path.suffix.lower() in SUFFIXES]:
        return images
    raise UserError(
        f"The data folder {folder} {'has no image directly in it' if exists else 'is missing'}.",
        came=f"{folder} has no {', '.join(SUFFIXES)}" if exists else f"no folder {folder}",
        do="put the images there, or correct the path in `data`.",
    )


def refuse_shared(train: Iterable[Path], test: Iterable[Path]) -> None:
    """Raise a `UserError` if a file is in both splits, directly or by a link."""
    trained = {os.path.realpath(path) for path in train}
    if both := [path for path in test if os.path.realpath(path) in trained]:
        raise UserError(
            "The same images are in the training and the test split.",
            came=f"{both[0]} in both" + (f", and {len(both) - 1} more" if len(both) > 1 else ""),
            do="remove them from one of the folders in `data`.",
        )


def _refused(path: Path, reason: str, do: str) -> UserError:
    """Return the error for an image that cannot be used."""
    return UserError(
        f"The image {path.name} is not a readable 8-bit RGB image of at least {SMALLEST_SIDE} px.",
        came=f"{path} {reason}",
        do=do,
    )
