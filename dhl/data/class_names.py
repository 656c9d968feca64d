"""Names of the classes of a data set, and the label of pixels that do not count."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dhl.config.schema import Config

IGNORED_LABEL = 255  # marks the pixels of a label map that do not count
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa",
    "train", "tv monitor",
)  # fmt: skip


def class_namer(config: Config, part: str) -> Callable[[int], str]:
    """Return the function from a class of a task to its name; its number where none is known.

    Parameters
    ----------
    config : Config
    part : {"classification", "segmentation"}
    """
    data = config.parts[part].data
    if data.kind == "photo-digits":
        return str if part == "classification" else _digit
    if data.kind == "voc2012":
        return VOC_CLASSES.__getitem__
    of_imagenet = data.kind in ("imagenette", "ilsvrc2012")
    if of_imagenet or getattr(data, "classes", None) == "imagenet":
        return _imagenet_names().__getitem__
    return str


def _digit(label: int) -> str:
    """Name a label map's class: the background comes before the ten digits."""
    return str(label - 1) if label else "background"


def _imagenet_names() -> list[str]:
    """Return the names of ImageNet's thousand classes, as torchvision has them."""
    from torchvision.models import VGG16_Weights

    return VGG16_Weights.IMAGENET1K_V1.meta["categories"]
