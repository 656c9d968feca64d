"""Kinds of data: the common base, the embedded set, folders for denoising, and plug-in data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from dhl.config.base import Count, Frozen, UserPath
from dhl.config.plugins import load_plugin
from dhl.errors import ConfigError

# Words in place of a folder: the set in the catalogue, and the shortest side of its images (px).
DOWNLOADABLE_FOLDERS = {
    "kodak": ("kodak", 512),
    "bsds500": ("bsds500", 321),
    "cbsd68": ("cbsd68", 321),
    "mcmaster": ("mcmaster", 500),
    **{f"imagenet-samples-{half}": ("imagenet-samples", 256) for half in ("even", "odd")},
}
_WORDS = ", ".join(f"`{word}`" for word in DOWNLOADABLE_FOLDERS)


class PartData(Frozen):
    """The images of a part. The seeds of the test noise depend on the `name`."""

    kind: str
    if TYPE_CHECKING:  # a key of some kinds, a property of others

        @property
        def name(self) -> str:
            """The name for the seeds of the test noise and for the report."""

    @property
    def downloads(self) -> tuple[str, ...]:
        """Catalogue names of the data sets to download."""
        return ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Entries of `report/sources.yaml` that credit the images."""
        return (self.kind,)

    @property
    def code(self) -> tuple[str, ...]:
        """References to the plug-ins that make the images."""
        return ()

    @property
    def smallest_side(self) -> int | None:
        """The shortest side of the training images in pixels; None if unknown."""
        return None

    def classes_of(self, part: str) -> int | None:
        """Return the number of classes of a part, None for denoising."""
        return None


def _one_group(pattern: str) -> str:
    """Refuse what is not a regular expression with one group."""
    try:
        count = re.compile(pattern).groups
        mistake = f"{count} pairs"
    except re.error as error:
        count, mistake = 0, str(error)
    if count != 1:
        raise ConfigError(
            "`groups` must be a regular expression with one pair of parentheses.",
            came=f"`{pattern[:80]}`: {mistake}",
            do=r"write one such as `^(.*)_crop\d+$`; `(?:...)` and `\(` do not count.",
        )
    return pattern


class OwnImages(PartData):
    """Images of the user, some of which may be alike."""

    groups: Annotated[str, AfterValidator(_one_group)] | None = Field(
        default=None,
        description="regular expression with one group, searched in image names: images with the "
        "same match are alike, such as crops of one photograph; intervals are over them; null: all "
        "independent",
    )


class PhotoDigits(PartData):
    """The embedded data set: handwritten digits on photographs."""

    kind: Literal["photo-digits"] = Field(description="the embedded data set")
    train: Count = Field(description="training images")
    validation: Count = Field(description="images for choosing settings, never reported")
    test: Count = Field(description="test images")
    size: Annotated[int, Field(ge=24, le=10_000)] = Field(
        description="side of the images in pixels"
    )
    contrast: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="contrast of the digits against the photograph"
    )

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.kind

    @property
    def smallest_side(self) -> int:
        """The side of all images."""
        return self.size

    def classes_of(self, part: str) -> int | None:
        """Return the ten digits, plus the background for segmentation."""
        return {"classification": 10, "segmentation": 11}.get(part)


class Folder(OwnImages):
    """Folders of images for denoising; write `./kodak` for a folder of that name."""

    kind: Literal["folder"] = Field(description="folders of images")
    name: str = Field(description="name of the data set: in the noise seeds and in the report")
    train: UserPath | None = Field(
        default=None, description=f"training folder, or a download: {_WORDS}"
    )
    test: UserPath = Field(description=f"test folder, or a download: {_WORDS}")

    @model_validator(mode="after")
    def _tested_on_other_images(self) -> Folder:
        # BSDS500 has different images for training and for tests; a reserved word is not a path.
        folders = {folder for folder in (self.train, self.test) if folder is not None}
        own = self.train is not None and not folders & set(DOWNLOADABLE_FOLDERS)
        one = len(folders) == 1 and self.train is not None and self.train != "bsds500"
        if one or (own and len({Path(folder).resolve() for folder in folders}) == 1):
            raise not_apart(self, "one folder")
        return self

    @property
    def downloads(self) -> tuple[str, ...]:
        """The downloadable sets among the two folders."""
        words = [word for word in DOWNLOADABLE_FOLDERS if word in (self.train, self.test)]
        return tuple(dict.fromkeys(DOWNLOADABLE_FOLDERS[word][0] for word in words))

    @property
    def sources(self) -> tuple[str, ...]:
        """The downloadable sets, and an entry for the user's folders."""
        named = {folder for folder in (self.train, self.test) if folder is not None}
        own = named - set(DOWNLOADABLE_FOLDERS)
        return (*self.downloads, self.kind) if own else self.downloads

    @property
    def smallest_side(self) -> int | None:
        """The shortest side of a downloadable set; None for the user's folders."""
        return DOWNLOADABLE_FOLDERS.get(self.train or "", (None, None))[1]


def not_apart(data: Any, how: str) -> ConfigError:
    """Return the error that training and test images share a folder."""
    return ConfigError(
        "Training and test images are in the same folder.",
        came=f"`train: {data.train}` and `test: {data.test}`, {how}",
        do="put the test images into a separate folder.",
    )


class PluginData(PartData):
    """Images that a plug-in function makes or reads, and that the run stores."""

    model_config = ConfigDict(json_schema_extra={"required": ["kind"]})

    kind: str = Field(
        description="a plug-in as path/to/file.py:function",
        json_schema_extra={"pattern": r"\.py:"},
    )
    name: str = Field(description="name of the data set; by default that of the function")
    classes: Annotated[int, Field(ge=2)] | None = Field(
        default=None,
        description="number of classes of a task, including the background; label maps hold 0 to "
        "`classes` - 1, and 255 for ignored pixels",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="further arguments of the function"
    )

    @model_validator(mode="before")
    @classmethod
    def _named_as_its_function(cls, content: Any) -> Any:
        if isinstance(content, dict) and "name" not in content:
            return content | {"name": content["kind"].rpartition(":")[2]}
        return content

    @model_validator(mode="after")
    def _callable(self) -> PluginData:
        load_plugin(self.kind).check_call("part", keywords=("seed",), options=self.options)
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """An entry which states that the licence is unknown."""
        return ("plugin",)

    @property
    def code(self) -> tuple[str, ...]:
        """The plug-in function."""
        return (self.kind,)

    def classes_of(self, part: str) -> int | None:
        """Return the configured number."""
        return self.classes
