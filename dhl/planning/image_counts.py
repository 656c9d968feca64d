"""Count the training and test images of a configuration, and find their sizes, without decoding.

The counts of public sets are known; the images in a user's folders are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dhl.config.data_sets import PluginData
from dhl.config.schema import Config
from dhl.data.classification import list_image_folder
from dhl.data.folder import picture_files
from dhl.data.plugin_data import make_plugin_part
from dhl.data.segmentation import list_voc
from dhl.errors import UserError


@dataclass(frozen=True)
class ImageCount:
    """The images of a split; `height` and `width` are averages, in pixels."""

    count: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Pixels of all images."""
        return self.count * self.height * self.width


@dataclass(frozen=True)
class PartCounts:
    """The images of a part; `train` is None if the part has no training images."""

    train: ImageCount | None
    test: ImageCount


SAMPLES_TESTED = {"odd": 500, "even": 400}
# Training and test images; the training images of BSDS500 are its folders `train` and `test`.
KNOWN_FOLDERS = {
    "kodak": (ImageCount(24, 512, 768), ImageCount(24, 512, 768)),
    "cbsd68": 2 * (ImageCount(68, 321, 481),),
    "mcmaster": 2 * (ImageCount(18, 500, 500),),
    "bsds500": (ImageCount(400, 321, 481), ImageCount(100, 321, 481)),
    **{
        f"imagenet-samples-{half}": (ImageCount(400, 256, 340), ImageCount(tested, 256, 340))
        for half, tested in SAMPLES_TESTED.items()
    },
}
IMAGENETTE = (12_894, 500)  # training and validation images of ImageNet
ILSVRC2012 = (1_281_167, 50_000)
VOC_TRAIN, VOC_VAL = (1_464, 10_582), 1_449  # without and with SBD's label maps
CAMVID, CAMVID_SIDES = (367, 233), (360, 480)
VOC_SIDES = (375, 500)  # the usual photograph, in either orientation


def count_all_images(config: Config) -> dict[str, PartCounts]:
    """Count the images of every part; a plug-in that makes images is called.

    Raises
    ------
    UserError
        If a user's folder or list cannot be counted.
    """
    counts = {}
    for part in config.parts:
        data = config.parts[part].data
        if isinstance(data, PluginData):
            splits = make_plugin_part(config, part)
            sizes = (splits[name].sizes for name in ("train", "test"))
            counts[part] = PartCounts(*map(_average, sizes))
        else:
            counts[part] = count_images(data)
    return counts


def count_images(data: Any) -> PartCounts:
    """Count the images of one entry of `data` that is not a plug-in."""
    return _COUNTERS[data.kind](data)


def _folder(data: Any) -> PartCounts:
    """Look up a known set, or count the pictures in a folder."""
    train, test = (
        KNOWN_FOLDERS[folder][split]
        if folder in KNOWN_FOLDERS
        else folder and _read_sizes(picture_files(Path(folder)), folder)
        for split, folder in enumerate((data.train, data.test))
    )
    return PartCounts(train, test)


def _image_folder(data: Any) -> PartCounts:
    """List the images as a run does."""
    listings = list_image_folder(data, Path(data.test))
    train, test = (len(listings.get(split, ())) for split in ("train", "test"))
    return _used(data, train, test, data.crop, data.crop)


def _voc(data: Any) -> PartCounts:
    """List the images as a run does, and read the sizes of the test images."""
    listings = list_voc(data, Path(data.path))
    test = listings["test"]
    sizes = _read_sizes((test.folder / path for path in test.paths), data.path)
    return _used(data, len(listings.get("train", ())), len(test), sizes.height, sizes.width)


def _used(data: Any, train: int, test: int, height: int, width: int) -> PartCounts:
    """Limit the counts to `train_images` and `test_images`, after `test_without`."""
    train = min(train, getattr(data, "train_images", None) or train)
    test = max(0, test - (getattr(data, "test_without", None) or 0))
    test = min(test, getattr(data, "test_images", None) or test)
    return PartCounts(
        ImageCount(train, height, width) if train else None, ImageCount(test, height, width)
    )


_COUNTERS: dict[str, Callable[[Any], PartCounts]] = {
    "photo-digits": lambda data: _used(data, data.train, data.test, data.size, data.size),
    "folder": _folder,
    "imagenette": lambda data: _used(data, *IMAGENETTE, data.crop, data.crop),
    "imagenet-samples": lambda data: _used(
        data, 400, SAMPLES_TESTED[data.test], data.crop, data.crop
    ),
    "ilsvrc2012": lambda data: _used(data, *ILSVRC2012, data.crop, data.crop),
    "image_folder": _image_folder,
    "voc2012": lambda data: _used(data, VOC_TRAIN[data.extra is not None], VOC_VAL, *VOC_SIDES),
    "camvid": lambda data: _used(data, *CAMVID, *CAMVID_SIDES),
    "voc": _voc,
}


def _read_sizes(paths: Iterable[Path], folder: str | Path) -> ImageCount:
    """Count images and average their sides, from the headers of the files."""
    sizes = []
    for path in paths:
        try:
            with Image.open(path) as image:
                sizes.append(image.size[::-1])
        except (OSError, Image.DecompressionBombError):
            continue  # no picture, damaged, or above Pillow's limit, which the data job reports
    if not sizes:
        raise _no_images(folder)
    return _average(np.array(sizes))


def _average(sizes: np.ndarray) -> ImageCount:
    """Count images and average their heights and widths (N, 2)."""
    return ImageCount(len(sizes), *(round(side) for side in sizes.mean(axis=0).tolist()))


def _no_images(folder: str | Path) -> UserError:
    """Return the error for a folder without images."""
    return UserError(
        f"The data folder {folder} has no images.",
        came="an empty or missing folder in `data`",
        do="correct the path, or plan on the machine that has the images.",
    )
