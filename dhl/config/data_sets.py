"""Kinds of data: what all have in common, and those that are no sets of pictures to recognise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dhl.config.base import Count, Frozen, Place
from dhl.config.plugins import read
from dhl.errors import ConfigError

# Words that stand for a downloadable set where a folder of pictures is named, and the shortest side
# of its images in pixels.
DOWNLOADABLE_FOLDERS = {"kodak": 512, "bsds500": 321}


class DataSet(Frozen):
    """What a run is planned with, whatever the kind of data; each kind also has a `name`.

    The name goes into the seeds of the evaluation noise and into the report.
    """

    kind: str

    @property
    def downloads(self) -> tuple[str, ...]:
        """Names, in the catalogue of downloads, of the sets that must be there first."""
        return ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Entries of `report/sources.yaml` that credit the images."""
        return (self.kind,)

    @property
    def code(self) -> tuple[str, ...]:
        """References to the user's own code that makes the images."""
        return ()

    @property
    def smallest_side(self) -> int | None:
        """The shortest side of the training images in pixels, None where it is not known."""
        return None

    def classes_of(self, part: str) -> int | None:
        """Return the number of classes of a part, None for denoising."""
        return None


class PhotoDigits(DataSet):
    """The embedded data set; counts are images per split, `size` their side in pixels."""

    kind: Literal["photo-digits"]
    train: Count
    validation: Count
    test: Count
    size: Annotated[int, Field(ge=24)]
    contrast: Annotated[float, Field(gt=0, le=1)] = 0.5

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.kind

    @property
    def smallest_side(self) -> int:
        """The side of all images."""
        return self.size

    def classes_of(self, part: str) -> int | None:
        """Return ten digits, and the background for label maps."""
        return {"classification": 10, "segmentation": 11}.get(part)


class Folder(DataSet):
    """Images for denoising: one folder to train on, one to test on.

    `kodak` and `bsds500` are the downloadable sets; a folder of that name is `./kodak`.
    """

    kind: Literal["folder"]
    name: str
    train: Place | None = None
    test: Place

    @model_validator(mode="after")
    def _tested_on_other_images(self) -> Folder:
        # Of BSDS500 other parts are tested on; a reserved word is no path.
        folders = {self.train, self.test}
        own = self.train is not None and not folders & set(DOWNLOADABLE_FOLDERS)
        if folders == {"kodak"} or (own and len(set(map(real_place, folders))) == 1):
            raise not_apart(self, "one folder")
        return self

    @property
    def downloads(self) -> tuple[str, ...]:
        """The reserved words among the two folders."""
        return tuple(word for word in DOWNLOADABLE_FOLDERS if word in (self.train, self.test))

    @property
    def sources(self) -> tuple[str, ...]:
        """The downloadable sets, and the user's own folders."""
        named = {folder for folder in (self.train, self.test) if folder is not None}
        own = named - set(DOWNLOADABLE_FOLDERS)
        return (*self.downloads, self.kind) if own else self.downloads

    @property
    def smallest_side(self) -> int | None:
        """Known of the downloadable sets."""
        return DOWNLOADABLE_FOLDERS.get(self.train)


def real_place(place: str) -> Path:
    """Return where a path leads, links followed."""
    return Path(os.path.realpath(place))


def not_apart(data: DataSet, how: str) -> ConfigError:
    """Say that folders to train on and to test on are not two."""
    return ConfigError(
        "no image is trained on and tested on.",
        came=f"`train: {data.train}` and `test: {data.test}`, {how}",
        do="give the test images a folder of their own.",
    )


class OwnData(DataSet):
    """Images that the user's own function makes or reads, and that a run keeps.

    Attributes
    ----------
    kind : str
        The function, as `path/to/file.py:function`.
    name : str
        By default the function's.
    classes : int or None
        Of a task, with the background of label maps, which hold 0 to `classes` - 1, and 255 where
        ignored.
    options : dict
        Further arguments of the function.
    """

    kind: str
    name: str
    classes: Annotated[int, Field(ge=2)] | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _named_as_its_function(cls, content: Any) -> Any:
        if isinstance(content, dict) and "name" not in content:
            return content | {"name": content["kind"].rpartition(":")[2]}
        return content

    @model_validator(mode="after")
    def _callable(self) -> OwnData:
        read(self.kind).check_call("part", keywords=("seed",), options=self.options)
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """What is said of images that this program knows nothing of."""
        return ("own",)

    @property
    def code(self) -> tuple[str, ...]:
        """The function."""
        return (self.kind,)

    def classes_of(self, part: str) -> int | None:
        """Return the configured number."""
        return self.classes
