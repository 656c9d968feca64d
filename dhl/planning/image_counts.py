"""How many images a configuration trains and tests on, and how large they are, without reading one.

Public sets are known; a user's own are counted where they lie. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dhl.data.segmentation import list_voc
from dhl.errors import UserError


@dataclass(frozen=True)
class Images:
    """Images of a split; `height` and `width` are those of the average one, in pixels."""

    count: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Pixels of all images."""
        return self.count * self.height * self.width


@dataclass(frozen=True)
class Extent:
    """The images of a part; `train` is None where it has nothing to train on."""

    train: Images | None
    test: Images


KODAK = Images(24, 512, 768)
BSDS500 = Images(400, 321, 481)  # `train` and `test` of the set, on which denoisers are trained
IMAGENETTE = (12_894, 500)  # ImageNet's training and validation images among the set's
ILSVRC2012 = (1_281_167, 50_000)
VOC_TRAIN, VOC_TRAIN_AUG, VOC_VAL = 1_464, 10_582, 1_449
VOC_SIDES = (375, 500)  # the usual photograph, either way up


def extent(data: Any) -> Extent:
    """Return the images of one part of a configuration.

    Parameters
    ----------
    data : model of `dhl.config.data_sets` or `dhl.config.image_data_sets`

    Raises
    ------
    UserError
        If a user's own folder or list cannot be counted.
    """
    return _EXTENTS[data.kind](data)


def _photo_digits(data: Any) -> Extent:
    """Return the configured counts."""
    return Extent(Images(data.train, data.size, data.size), Images(data.test, data.size, data.size))


def _folder(data: Any) -> Extent:
    """Return known sets, and count a user's own pictures."""
    known = {"kodak": KODAK, "bsds500": BSDS500}
    train, test = (
        known[place] if place in known else place and _measured(Path(place).glob("*.*"), place)
        for place in (data.train, data.test)
    )
    return Extent(train, test)


def _classified(train: int, test: int) -> Callable[[Any], Extent]:
    """Build the extent of a public set of classified images."""
    return lambda data: _chosen(data, train, test, (data.crop, data.crop))


def _image_folder(data: Any) -> Extent:
    """Count the files in the folders of the classes."""
    train, test = (
        sum(1 for _ in Path(place).glob("*/*.*")) if place else 0
        for place in (data.train, data.test)
    )
    if not test:
        raise _uncounted(data.test)
    return _chosen(data, train, test, (data.crop, data.crop))


def _voc2012(data: Any) -> Extent:
    """Return the published counts of `train`, `train_aug` and `val`."""
    return _chosen(data, VOC_TRAIN_AUG if data.extra else VOC_TRAIN, VOC_VAL, VOC_SIDES)


def _voc(data: Any) -> Extent:
    """List the images as a run does, and measure those that are tested."""
    listings = list_voc(data, Path(data.path))
    train, test = listings.get("train", ()), listings["test"]
    measured = _measured((test.folder / path for path in test.paths), data.path)
    return _chosen(data, len(train), len(test), (measured.height, measured.width))


_EXTENTS = {
    "photo-digits": _photo_digits,
    "folder": _folder,
    "imagenette": _classified(*IMAGENETTE),
    "ilsvrc2012": _classified(*ILSVRC2012),
    "image_folder": _image_folder,
    "voc2012": _voc2012,
    "voc": _voc,
}


def _chosen(data: Any, train: int, test: int, sides: tuple[int, int]) -> Extent:
    """Return as many images as the configuration takes."""
    train, test = (
        min(count, chosen or count)
        for count, chosen in ((train, data.train_images), (test, data.test_images))
    )
    return Extent(Images(train, *sides) if train else None, Images(test, *sides))


def _measured(paths: Iterable[Path], place: str | Path) -> Images:
    """Count images and average their sides, from the heads of the files."""
    from PIL import Image

    sizes = []
    for path in paths:
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except OSError:
            continue  # not a picture, or one that the data step will name
    if not sizes:
        raise _uncounted(place)
    width, height = (round(sum(sides) / len(sizes)) for sides in zip(*sizes, strict=True))
    return Images(len(sizes), height, width)


def _uncounted(place: str | Path) -> UserError:
    """Say that a user's own images are not there."""
    return UserError(
        "the images of a user's own set are counted where they lie.",
        came=f"no image in {place}",
        do="mend the path in `data`, or plan where the images are.",
    )
