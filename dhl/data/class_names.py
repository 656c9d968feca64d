"""Class names of the data sets, and the ignored label."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from dhl.run.free_text import readable
from dhl.run.results import open_arrays

if TYPE_CHECKING:
    from dhl.config.schema import Config
    from dhl.run.folder import RunFolder

IGNORED_LABEL = 255  # losses and metrics ignore pixels with this label
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa",
    "train", "tv monitor",
)  # fmt: skip
CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "vehicle", "pedestrian",
    "bicyclist",
)  # fmt: skip


def class_namer(config: Config, folder: RunFolder, part: str) -> Callable[[int], str]:
    """Return a function from a class index to its name, or to its number if it has no name.

    The classes of an `image_folder` have the names of their folders, which the run's data stores.
    """
    data = config.parts[part].data
    if data.kind == "photo-digits":
        names = ["background", *map(str, range(10))]
        return str if part == "classification" else names.__getitem__
    if data.kind == "voc2012":
        return VOC_CLASSES.__getitem__
    if data.kind == "camvid":
        return CAMVID_CLASSES.__getitem__
    if getattr(data, "class_names", None):
        return data.class_names.__getitem__
    of_imagenet = data.kind in ("imagenette", "imagenet-samples", "ilsvrc2012")
    if of_imagenet or getattr(data, "classes", None) == "imagenet":
        from torchvision.models import VGG16_Weights

        return VGG16_Weights.IMAGENET1K_V1.meta["categories"].__getitem__
    if data.kind == "image_folder" and folder.data(part).exists():
        with open_arrays(folder.data(part)) as arrays:
            names = [readable(os.fsdecode(name)) for name in arrays.get("class_names", ())]
        return names.__getitem__ if names else str
    return str
