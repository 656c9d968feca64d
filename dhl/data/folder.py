"""Images in a folder, of the user or downloaded: read whole, or refused with the reason."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from dhl.config.data_sets import Folder
from dhl.data.image_files import SMALLEST_SIDE
from dhl.data.image_set import ImageSet
from dhl.data.layouts import SUFFIXES
from dhl.data.locations import downloaded
from dhl.errors import UserError

SMALLEST_MEASURED_SIDE = 17


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
        what = {"L": "is grey", "1": "is black and white", "CMYK": "has CMYK colours"}.get(
            mode, f"has the channels {''.join(bits)}"
        )
        if deep or mode.startswith(("I", "F")):
            what = "has more than 8 bits a channel"
        elif transparent:
            what = "has transparency"
        raise _refused(path, what, f"convert it, for example: `magick {path.name} -depth 8 "
                       f"-alpha off -type TrueColor PNG24:{path.stem}-rgb.png`.")  # fmt: skip
    if min(pixels.shape[:2]) < SMALLEST_SIDE:
        size = f"{pixels.shape[1]} x {pixels.shape[0]} px"
        raise _refused(path, f"has {size}", "leave it out or enlarge it.")
    return pixels


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Tell, before pixels are read, whether Pillow would reduce them to 8 bits a channel."""
    codings = [args if isinstance(args, tuple) else (args,) for *_, args in image.tile]
    if image.format == "PPM":  # the second argument is the highest level
        return any(len(coding) > 1 and coding[1] > 255 for coding in codings)
    return any(";16" in str(coding[0]) for coding in codings)


# Where the images of a downloadable set lie in it. BSDS500 is trained on as Chen et al. (2014) did,
# with its 200 training and 200 test images; what they left, `val`, is what can be tested on.
_PLACES: dict[str, dict[str, tuple[str, ...]]] = {
    "kodak": {"train": (".",), "test": (".",)},
    "bsds500": {
        "train": ("BSR/BSDS500/data/images/train", "BSR/BSDS500/data/images/test"),
        "test": ("BSR/BSDS500/data/images/val",),
    },
}


def read_denoising(spec: Folder, root: Path) -> dict[str, ImageSet]:
    """Read the images to train on and to test on, from folders or downloaded sets.

    Parameters
    ----------
    spec : Folder
    root : Path
        The folder of downloaded sets.

    Returns
    -------
    dict of str to ImageSet
        Keyed by split.
    """
    splits: dict[str, ImageSet] = {}
    files: dict[str, list[Path]] = {}
    for split, source in (("train", spec.train), ("test", spec.test)):
        if source is None:
            continue
        folders = [Path(source)]
        if source in _PLACES:
            folders = [downloaded(root, source) / place for place in _PLACES[source][split]]
        listed = [picture_files(folder) for folder in folders]
        files[split] = [path for paths in listed for path in paths]
        if split == "test":
            refuse_shared(files.get("train", ()), files["test"])
        read = [read_pictures(paths) for paths in listed]
        ids = [name for images in read for name in images.ids]
        splits[split] = ImageSet(ids, [image for images in read for image in images.images])
    return splits


def read_pictures(paths: Sequence[Path]) -> ImageSet:
    """Read the images of a folder, as `picture_files` lists them; the stem is the image's name.

    Raises
    ------
    UserError
        If two images share a stem, or one is refused.
    """
    ids = [path.stem for path in paths]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise UserError(
            "the names of images differ before their endings.",
            came=f"`{twice}` stands twice in {paths[0].parent}",
            do="rename one of them.",
        )
    images = [read_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if min(image.shape[:2]) < SMALLEST_MEASURED_SIDE:
            raise UserError(
                f"a measured image has at least {SMALLEST_MEASURED_SIDE} px a side: SSIM's window "
                "inside a border of 3 px.",
                came=f"{path} has {image.shape[1]} x {image.shape[0]} px",
                do="leave it out or enlarge it.",
            )
    return ImageSet(ids, images)


def picture_files(folder: Path) -> list[Path]:
    """List the images directly inside a folder, sorted by name.

    Raises
    ------
    UserError
        If the folder is missing or has no image.
    """
    rule = "a data folder exists and has images directly in it."
    if not folder.is_dir():
        raise UserError(rule, came=f"no folder {folder}", do="mend the path in `data`.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        found = f"{folder} has no {', '.join(SUFFIXES)}"
        raise UserError(rule, came=found, do="put the images there, or mend the path in `data`.")
    return paths


def refuse_shared(train: Iterable[Path], test: Iterable[Path]) -> None:
    """Refuse files that are in both splits, be it by a link.

    Raises
    ------
    UserError
        If there is one; names it.
    """
    trained = {os.path.realpath(path) for path in train}
    if both := [path for path in test if os.path.realpath(path) in trained]:
        raise UserError(
            "no image is trained on and tested on.",
            came=f"{both[0]} in both" + (f", and {len(both) - 1} more" if len(both) > 1 else ""),
            do="take them out of one of the folders in `data`.",
        )


def _refused(path: Path, came: str, do: str) -> UserError:
    """Refuse an image."""
    return UserError(
        "an image is whole, has 8-bit RGB and at least 8 px a side.", came=f"{path} {came}", do=do
    )
