"""The kinds of data that each part accepts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from dhl.config.data_sets import Folder, PartData, PhotoDigits, PluginData
from dhl.config.image_data_sets import (
    MOST_LABELS,
    Camvid,
    Ilsvrc2012,
    ImageFolder,
    ImagenetSamples,
    Imagenette,
    Voc,
    Voc2012,
)
from dhl.config.plugins import PluginError, is_reference

# The tags of pydantic's unions, which appear in its key paths.
PLUGIN, SHIPPED = "plug-in data", "shipped data"
KINDS: dict[str, type[PartData]] = {
    PLUGIN: PluginData,
    SHIPPED: PartData,
    "photo-digits": PhotoDigits,
    "folder": Folder,
    "imagenette": Imagenette,
    "imagenet-samples": ImagenetSamples,
    "ilsvrc2012": Ilsvrc2012,
    "image_folder": ImageFolder,
    "voc2012": Voc2012,
    "camvid": Camvid,
    "voc": Voc,
}
_ByKind = Field(discriminator="kind")
_PluginData = Annotated[PluginData, Tag(PLUGIN)]


def _plugin_or_shipped(data: Any) -> str:
    """Tell from the kind whether a part's data is a plug-in or shipped."""
    kind = data.get("kind") if isinstance(data, dict) else getattr(data, "kind", None)
    return PLUGIN if isinstance(kind, str) and is_reference(kind) else SHIPPED


_ByOrigin = Discriminator(_plugin_or_shipped)
_Denoising = Annotated[Annotated[PhotoDigits | Folder, _ByKind], Tag(SHIPPED)]
_Classification = Annotated[
    Annotated[PhotoDigits | Imagenette | ImagenetSamples | Ilsvrc2012 | ImageFolder, _ByKind],
    Tag(SHIPPED),
]
_Segmentation = Annotated[Annotated[PhotoDigits | Voc2012 | Camvid | Voc, _ByKind], Tag(SHIPPED)]
DenoisingData = Annotated[_Denoising | _PluginData, _ByOrigin]
ClassificationData = Annotated[_Classification | _PluginData, _ByOrigin]
SegmentationData = Annotated[_Segmentation | _PluginData, _ByOrigin]


def check_classes(data: PartData, part: str) -> None:
    """Check that plug-in data has a number of classes for a task, and none for denoising."""
    if not isinstance(data, PluginData):
        return
    classes = data.classes
    if part == "denoising" and classes is not None:
        raise PluginError(
            "Data for denoising has no classes.",
            came=f"`parts.{part}.data.classes: {classes}`",
            do="remove it.",
        )
    most = MOST_LABELS if part == "segmentation" else None
    if part != "denoising" and (classes is None or (most and classes > most)):
        raise PluginError(
            f"Plug-in data for {part} needs `classes`, from 2{f' to {most}' if most else ''}.",
            came=f"`parts.{part}.data.classes: {'null' if classes is None else classes}`",
            do="write the number of classes.",
        )
