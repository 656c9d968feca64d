"""Count the images that a configuration trains and tests on, and their sizes, without reading them.

The counts of public sets are known; the images in a user's own folders are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dhl.config.data_sets import PluginData
from dhl.config.schema import Config
from dhl.data.image_set import ImageSet
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


KODAK = ImageCount(24, 512, 768)
BSDS500 = ImageCount(400, 321, 481)  # `train` and `test` of the set, on which denoisers are trained
IMAGENETTE = (12_894, 500)  # ImageNet's training and validation images among the set's
ILSVRC2012 = (1_281_167, 50_000)
VOC_TRAIN, VOC_TRAIN_AUG, VOC_VAL = 1_464, 10_582, 1_449
VOC_SIDES = (375, 500)  # the usual photograph, either way up


def count_all_images(config: Config) -> dict[str, PartCounts]:
    """Count the images of every part; a user's function that makes images is called.

    Raises
    ------
    UserError
        If a user's own folder or list cannot be counted.
    """
    counts = {}
    for part in config.parts:
        data = config.parts[part].data
        if isinstance(data, PluginData):
            splits = make_plugin_part(config, part)
            counts[part] = PartCounts(*(_in_memory(splits[name]) for name in ("train", "test")))
        else:
            counts[part] = count_images(data)
    return counts


def count_images(data: Any) -> PartCounts:
    """Count the images of one entry of `data` that is not a user's function."""
    return _COUNTERS[data.kind](data)


def _in_memory(images: ImageSet) -> ImageCount:
    """Count images and average their sides."""
    height, width = (round(side) for side in images.sizes.mean(axis=0).tolist())
    return ImageCount(len(images), height, width)


def _photo_digits(data: Any) -> PartCounts:
    """Return the configured counts."""
    return PartCounts(
        ImageCount(data.train, data.size, data.size), ImageCount(data.test, data.size, data.size)
    )


def _folder(data: Any) -> PartCounts:
    """Look up a known set, or count the pictures in a folder."""
    known = {"kodak": KODAK, "bsds500": BSDS500}
    train, test = (
        known[folder] if folder in known else folder and _measured(Path(folder).glob("*.*"), folder)
        for folder in (data.train, data.test)
    )
    return PartCounts(train, test)


def _classified(train: int, test: int) -> Callable[[Any], PartCounts]:
    """Return a counter of a public set of classified images."""
    return lambda data: _chosen(data, train, test, (data.crop, data.crop))


def _image_folder(data: Any) -> PartCounts:
    """Count the files in the folders of all classes."""
    train, test = (
        sum(1 for _ in Path(folder).glob("*/*.*")) if folder else 0
        for folder in (data.train, data.test)
    )
    if not test:
        raise _no_images(data.test)
    return _chosen(data, train, test, (data.crop, data.crop))


def _voc2012(data: Any) -> PartCounts:
    """Return the published counts of `train`, `train_aug` and `val`."""
    return _chosen(data, VOC_TRAIN_AUG if data.extra else VOC_TRAIN, VOC_VAL, VOC_SIDES)


def _voc(data: Any) -> PartCounts:
    """List the images as a run does, and measure the test images."""
    listings = list_voc(data, Path(data.path))
    train, test = listings.get("train", ()), listings["test"]
    measured = _measured((test.folder / path for path in test.paths), data.path)
    return _chosen(data, len(train), len(test), (measured.height, measured.width))


_COUNTERS = {
    "photo-digits": _photo_digits,
    "folder": _folder,
    "imagenette": _classified(*IMAGENETTE),
    "ilsvrc2012": _classified(*ILSVRC2012),
    "image_folder": _image_folder,
    "voc2012": _voc2012,
    "voc": _voc,
}


def _chosen(data: Any, train: int, test: int, sides: tuple[int, int]) -> PartCounts:
    """Limit the counts to what the configuration uses."""
    train, test = (
        min(count, chosen or count)
        for count, chosen in ((train, data.train_images), (test, data.test_images))
    )
    return PartCounts(ImageCount(train, *sides) if train else None, ImageCount(test, *sides))


def _measured(paths: Iterable[Path], folder: str | Path) -> ImageCount:
    """Count images and average their sides, from the headers of the files."""
    from PIL import Image

    sizes = []
    for path in paths:
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except OSError:
            continue  # not a picture, or a damaged one, which the data job reports
    if not sizes:
        raise _no_images(folder)
    width, height = (round(sum(sides) / len(sizes)) for sides in zip(*sizes, strict=True))
    return ImageCount(len(sizes), height, width)


def _no_images(folder: str | Path) -> UserError:
    """Say that a folder has no images."""
    return UserError(
        f"No image is in {folder}.",
        came="an empty or missing folder in `data`",
        do="correct the path, or plan on the machine that has the images.",
    )
