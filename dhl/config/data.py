"""Where the images of each part come from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from dhl.config.base import Frozen
from dhl.config.catalogue import CATALOGUE
from dhl.config.data_sets import DataSet, Folder, OwnData, PhotoDigits
from dhl.config.image_data_sets import (
    MOST_LABELS,
    Ilsvrc2012,
    ImageFolder,
    Imagenette,
    Voc,
    Voc2012,
)
from dhl.config.plugins import OwnCodeError, is_reference
from dhl.errors import ConfigError

# How pydantic tells the user's own kinds of data from the shipped ones, in key paths too.
OWN, SHIPPED = "own data", "shipped data"
KINDS: dict[str, type[DataSet]] = {
    OWN: OwnData,
    SHIPPED: DataSet,
    "photo-digits": PhotoDigits,
    "folder": Folder,
    "imagenette": Imagenette,
    "ilsvrc2012": Ilsvrc2012,
    "image_folder": ImageFolder,
    "voc2012": Voc2012,
    "voc": Voc,
}
_ByKind = Field(discriminator="kind")
_OwnData = Annotated[OwnData, Tag(OWN)]


def _own_or_shipped(data: Any) -> str:
    """Tell by its kind which models may describe a part's data."""
    kind = data.get("kind") if isinstance(data, dict) else getattr(data, "kind", None)
    return OWN if isinstance(kind, str) and is_reference(kind) else SHIPPED


_ByOwner = Discriminator(_own_or_shipped)
_Denoising = Annotated[Annotated[PhotoDigits | Folder, _ByKind], Tag(SHIPPED)]
_Classification = Annotated[
    Annotated[PhotoDigits | Imagenette | Ilsvrc2012 | ImageFolder, _ByKind], Tag(SHIPPED)
]
_Segmentation = Annotated[Annotated[PhotoDigits | Voc2012 | Voc, _ByKind], Tag(SHIPPED)]


class Data(Frozen):
    """Where the images of each part come from; a part that is left out is not run.

    Attributes
    ----------
    root : str or None
        The folder of downloaded sets; `$DHL_DATA` unless given, and `datasets` without either.
    mirrors : dict of str to list of str
        Per set, where its files are looked for before their official place: the address or the
        folder that holds them, or a file itself.
    """

    root: str | None = None
    mirrors: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    denoising: Annotated[_Denoising | _OwnData, _ByOwner]
    classification: Annotated[_Classification | _OwnData, _ByOwner] | None = None
    segmentation: Annotated[_Segmentation | _OwnData, _ByOwner] | None = None

    @field_validator("mirrors")
    @classmethod
    def _of_known_sets(cls, mirrors: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in mirrors:
            if name not in CATALOGUE:
                raise ConfigError(
                    f"mirrors are of sets that are downloaded: {', '.join(CATALOGUE)}.",
                    came=f"`data.mirrors.{name}`",
                    do="name one of these sets.",
                )
        return mirrors

    @model_validator(mode="after")
    def _own_data_of_a_task_has_classes(self) -> Data:
        for part in ("denoising", "classification", "segmentation"):
            data = getattr(self, part)
            if isinstance(data, OwnData):
                _check_classes(data, part)
        return self


def _check_classes(data: OwnData, part: str) -> None:
    """Check that the user's own data of a task, and only of one, says how many classes it has."""
    classes = data.classes
    legal = classes is None if part == "denoising" else classes is not None
    if not legal or (part == "segmentation" and classes > MOST_LABELS):
        number = "from 2 to 255" if part == "segmentation" else "from 2"
        raise OwnCodeError(
            f"`data.{part}` with your own code has "
            + ("no classes." if part == "denoising" else f"`classes`, {number}."),
            came=f"`classes: {'null' if classes is None else classes}`",
            do="take it out." if part == "denoising" else "write how many classes there are.",
        )
