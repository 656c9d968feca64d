"""Where the images of each part come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from dhl.config.base import Count, Frozen
from dhl.data.catalogue import CATALOGUE


class PhotoDigits(Frozen):
    """The embedded data set; counts are images per split, `size` their side in pixels."""

    kind: Literal["photo-digits"]
    train: Count
    validation: Count
    test: Count
    size: Annotated[int, Field(ge=24)]
    contrast: Annotated[float, Field(gt=0, le=1)] = 0.5

    @property
    def name(self) -> str:
        """The data set's name, which the evaluation noise is derived from."""
        return self.kind


class Folder(Frozen):
    """The user's own images for denoising: one folder to train on, one to test on."""

    kind: Literal["folder"]
    name: str
    train: str | None = None
    test: str


DataPart = Annotated[PhotoDigits | Folder, Field(discriminator="kind")]


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
    denoising: DataPart
    classification: PhotoDigits | None = None
    segmentation: PhotoDigits | None = None

    @field_validator("mirrors")
    @classmethod
    def _of_known_sets(cls, mirrors: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in mirrors:
            if name not in CATALOGUE:
                legal = ", ".join(CATALOGUE)
                raise ValueError(f"`data.mirrors` has no set `{name}`; there are {legal}")
        return mirrors
