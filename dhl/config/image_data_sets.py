"""Kinds of data for classification and segmentation, whose images stay in their files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhl.config.base import Count, UserPath
from dhl.config.data_sets import OwnImages, PartData, not_apart
from dhl.config.folders import find_classes
from dhl.errors import ConfigError

CLASSES_OF_IMAGENET = 1000
CLASSES_OF_VOC = 21
CLASSES_OF_CAMVID = 11
MOST_LABELS = 255  # 255 marks the ignored pixels of a label map


class Pictures(PartData):
    """Image files that are read when needed."""

    damaged: Literal["stop", "skip"] = Field(
        default="stop",
        description="`skip` leaves out images that cannot be decoded, and lists them in "
        "`data/<part>.skipped.csv`",
    )
    train_images: Count | None = Field(
        default=None, description="number of training images, evenly over classes; null: all"
    )
    test_without: Count | None = Field(
        default=None,
        description="leave out the test images that `test_images` of this number would choose, so "
        "that two runs share none",
    )
    test_images: Count | None = Field(
        default=None, description="number of test images, evenly over classes; null: all"
    )


class ClassifiedPictures(Pictures):
    """Images with one class each; the defaults are those of the published ImageNet networks."""

    resize: Annotated[int, Field(ge=8)] = Field(
        default=256, description="short side of the resized images in pixels"
    )
    crop: Annotated[int, Field(ge=8)] = Field(
        default=224, description="side of the centre crop for tests, in pixels"
    )

    @model_validator(mode="after")
    def _crop_fits(self) -> ClassifiedPictures:
        if self.crop > self.resize:
            raise ConfigError(
                f"The centre crop of {self.crop} px does not fit into images of {self.resize} px.",
                came=f"`crop: {self.crop}` and `resize: {self.resize}`",
                do=f"write `resize: {self.crop}` or more, or a smaller `crop`.",
            )
        return self

    @property
    def smallest_side(self) -> int:
        """The short side that all images are resized to."""
        return self.resize

    def classes_of(self, part: str) -> int | None:
        """Return ImageNet's 1,000: the targets are its class indices."""
        return CLASSES_OF_IMAGENET


class Imagenette(ClassifiedPictures):
    """Ten classes of ImageNet, downloadable without an account; targets are ImageNet's indices."""

    kind: Literal["imagenette"] = Field(description="ten classes of ImageNet")
    size: Literal["full", 320, 160] = Field(
        default="full", description="short side of the downloaded files in pixels"
    )

    @property
    def name(self) -> str:
        """The data set's name, also in the catalogue."""
        return "imagenette" if self.size == "full" else f"imagenette-{self.size}"

    @property
    def downloads(self) -> tuple[str, ...]:
        """The files of the chosen size."""
        return (self.name,)


class ImagenetSamples(ClassifiedPictures):
    """One photograph of each class of ImageNet, downloadable without an account.

    The classes of one half are for testing, without those on which settings were chosen. Of each
    five classes of the other half, four are for training and one is for choosing settings.
    """

    kind: Literal["imagenet-samples"] = Field(description="one photograph of each ImageNet class")
    test: Literal["odd", "even"] = Field(
        default="odd",
        description="the classes to test on: the 500 with odd indices, or 400 with even ones",
    )

    @property
    def name(self) -> str:
        """The data set's name, also in the catalogue."""
        return self.kind

    @property
    def downloads(self) -> tuple[str, ...]:
        """The set."""
        return (self.kind,)


class Ilsvrc2012(ClassifiedPictures):
    """The ImageNet challenge of 2012; the download needs an account."""

    kind: Literal["ilsvrc2012"] = Field(description="the ImageNet challenge of 2012")
    path: UserPath = Field(
        description="folder with `train/<synset>/` and `val/` (by synset, or flat beside the "
        "development kit), or with the official archives",
    )
    complete: bool = Field(default=True, description="whether every official image must be present")

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.kind

    @property
    def downloads(self) -> tuple[str, ...]:
        """The set itself if `path` holds its archives, which are extracted like downloads."""
        folder = Path(self.path)
        archives = not (folder / "val").is_dir() and any(folder.glob("ILSVRC2012_img_*.tar"))
        return (self.kind,) if archives else ()


class ImageFolder(OwnImages, ClassifiedPictures):
    """Your own images, in one folder per class."""

    kind: Literal["image_folder"] = Field(description="your own images")
    name: str = Field(description="name of the data set: in the noise seeds and in the report")
    train: UserPath | None = Field(
        default=None, description="folder with one folder of training images per class"
    )
    test: UserPath = Field(description="folder with one folder of test images per class")
    classes: Literal["folders", "imagenet"] = Field(
        default="folders",
        description="`folders` numbers the folders by name; `imagenet` expects synset names such "
        "as `n01440764`",
    )

    @model_validator(mode="after")
    def _tested_on_other_images(self) -> ImageFolder:
        if self.train is not None:
            train, test = Path(self.train).resolve(), Path(self.test).resolve()
            if train.is_relative_to(test) or test.is_relative_to(train):
                how = "one folder" if train == test else "one inside the other"
                raise not_apart(self, how)
        return self

    def classes_of(self, part: str) -> int | None:
        """Return ImageNet's 1,000, or count the class folders."""
        if self.classes == "imagenet":
            return CLASSES_OF_IMAGENET
        return len(find_classes(Path(self.train or self.test)).names)


class Voc2012(Pictures):
    """PASCAL VOC 2012: training on `train`, with `extra: sbd` on `train_aug`; tests on `val`."""

    kind: Literal["voc2012"] = Field(description="PASCAL VOC 2012")
    extra: Literal["sbd"] | None = Field(
        default=None, description="`sbd` adds the training images of SBD (`train_aug`)"
    )

    @property
    def name(self) -> str:
        """The data set's name; the test images are the same with and without `extra`."""
        return self.kind

    @property
    def downloads(self) -> tuple[str, ...]:
        """VOC 2012, and the Semantic Boundaries Dataset with `extra: sbd`."""
        return ("voc2012", "sbd") if self.extra == "sbd" else ("voc2012",)

    @property
    def sources(self) -> tuple[str, ...]:
        """The downloaded sets."""
        return self.downloads

    def classes_of(self, part: str) -> int | None:
        """Return VOC's twenty classes and the background."""
        return CLASSES_OF_VOC


class Camvid(Pictures):
    """CamVid as SegNet's authors scaled and split it."""

    kind: Literal["camvid"] = Field(description="CamVid: frames of drives through a town")

    @property
    def name(self) -> str:
        """The data set's name, also in the catalogue."""
        return self.kind

    @property
    def downloads(self) -> tuple[str, ...]:
        """The set."""
        return (self.kind,)

    def classes_of(self, part: str) -> int | None:
        """Return SegNet's eleven classes."""
        return CLASSES_OF_CAMVID


class Voc(OwnImages, Pictures):
    """Your own images and label maps, in the layout of VOC."""

    kind: Literal["voc"] = Field(description="your own images and label maps")
    name: str = Field(description="name of the data set: in the noise seeds and in the report")
    path: UserPath = Field(
        description="folder with `JPEGImages`, `SegmentationClass`, `ImageSets/Segmentation`"
    )
    train: str | None = Field(
        default=None, description="training list in `ImageSets/Segmentation`, without .txt"
    )
    test: str = Field(description="test list in `ImageSets/Segmentation`, without .txt")
    classes: Annotated[int, Field(ge=2, le=MOST_LABELS)] = Field(
        default=CLASSES_OF_VOC,
        description="number of classes, including the background; label maps hold 0 to "
        "`classes` - 1, and 255 for ignored pixels",
    )
    void: Annotated[int, Field(ge=0, le=MOST_LABELS)] = Field(
        default=MOST_LABELS, description="another label that is ignored, beside 255"
    )
    class_names: list[str] | None = Field(
        default=None, description="names of the classes for figures, from class 0 on; null: numbers"
    )

    @model_validator(mode="after")
    def _every_class_named(self) -> Voc:
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise ConfigError(
                "`class_names` does not have a name for each class.",
                came=f"{len(self.class_names)} names, and `classes: {self.classes}`",
                do="write one name for each class, also for the background.",
            )
        return self

    def classes_of(self, part: str) -> int | None:
        """Return the configured number."""
        return self.classes
