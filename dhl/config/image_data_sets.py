"""Kinds of data whose pictures stay in their files: sets for recognition."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhl.config.base import Count, Place
from dhl.config.data_sets import DataSet, not_apart, real_place
from dhl.errors import ConfigError, UserError

CLASSES_OF_IMAGENET = 1000
CLASSES_OF_VOC = 21
MOST_LABELS = 255  # a label map's 255 is ignored


class Pictures(DataSet):
    """Files that are read when they are needed.

    Attributes
    ----------
    damaged : {"stop", "skip"}
        What an image that cannot be decoded does: it stops the run, or is left out and listed in
        `data/<part>.skipped.csv`.
    train_images, test_images : int or None
        Take so many images, evenly spaced and as many of each class; None takes all.
    """

    damaged: Literal["stop", "skip"] = "stop"
    train_images: Count | None = None
    test_images: Count | None = None


class ClassifiedPictures(Pictures):
    """Images with one class each; the defaults are those of the published ImageNet networks.

    Attributes
    ----------
    resize : int
        The short side in pixels, for training and test.
    crop : int
        The side of the centre crop that is tested; the recipe's `patch` crops training images.
    """

    resize: Annotated[int, Field(ge=8)] = 256
    crop: Annotated[int, Field(ge=8)] = 224

    @model_validator(mode="after")
    def _crop_fits(self) -> ClassifiedPictures:
        if self.crop > self.resize:
            raise ConfigError(
                "the centre crop fits into the image.",
                came=f"`crop: {self.crop}` and `resize: {self.resize}`",
                do=f"write `resize: {self.crop}` or more, or a smaller `crop`.",
            )
        return self

    @property
    def smallest_side(self) -> int:
        """The short side that all images are resized to."""
        return self.resize

    def classes_of(self, part: str) -> int | None:
        """Return ImageNet's thousand, which the targets are indices of."""
        return CLASSES_OF_IMAGENET


class Imagenette(ClassifiedPictures):
    """Ten classes of ImageNet, downloadable without an account; targets are ImageNet's indices.

    `size` is the short side of the files: `full`, or shrunk to 320 or 160 px.
    """

    kind: Literal["imagenette"]
    size: Literal["full", 320, 160] = "full"

    @property
    def name(self) -> str:
        """The data set's name, which is the catalogue's as well."""
        return "imagenette" if self.size == "full" else f"imagenette-{self.size}"

    @property
    def downloads(self) -> tuple[str, ...]:
        """The files of the chosen size."""
        return (self.name,)


class Ilsvrc2012(ClassifiedPictures):
    """ImageNet's challenge of 2012, which the user has an account for.

    Attributes
    ----------
    path : str
        A folder with `train/<synset>/` and `val/`, which holds a folder per synset as well, or all
        images beside the development kit; or the official archives, which are extracted into
        `data.root`.
    complete : bool
        Whether every image of the official set must be there; without it, one of each synset is
        enough.
    """

    kind: Literal["ilsvrc2012"]
    path: Place
    complete: bool = True

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.kind

    @property
    def downloads(self) -> tuple[str, ...]:
        """The set's own name if `path` holds archives, which are extracted as downloads are."""
        folder = Path(self.path)
        archives = not (folder / "val").is_dir() and any(folder.glob("ILSVRC2012_img_*.tar"))
        return (self.kind,) if archives else ()


class ImageFolder(ClassifiedPictures):
    """The user's own images, a folder per class.

    Attributes
    ----------
    name : str
    train, test : str or None, str
        The folders that hold the classes' folders.
    classes : {"folders", "imagenet"}
        `folders` numbers the folders in the order of their names; `imagenet` takes folders that are
        named by synset, such as `n01440764`, and gives each its index among the thousand.
    """

    kind: Literal["image_folder"]
    name: str
    train: Place | None = None
    test: Place
    classes: Literal["folders", "imagenet"] = "folders"

    @model_validator(mode="after")
    def _tested_on_other_images(self) -> ImageFolder:
        if self.train is not None:
            train, test = real_place(self.train), real_place(self.test)
            if train.is_relative_to(test) or test.is_relative_to(train):
                how = "one folder" if train == test else "one inside the other"
                raise not_apart(self, how)
        return self

    def classes_of(self, part: str) -> int | None:
        """Count the classes' folders.

        Raises
        ------
        UserError
            If the folder is missing, or has no folder in it.
        """
        if self.classes == "imagenet":
            return CLASSES_OF_IMAGENET
        return len(class_folders(Path(self.train or self.test)))


class Voc2012(Pictures):
    """PASCAL VOC 2012: trained on `train`, tested on `val`; `extra: sbd` makes it `train_aug`."""

    kind: Literal["voc2012"]
    extra: Literal["sbd"] | None = None

    @property
    def name(self) -> str:
        """The data set's name; the test images are the same with and without more to train on."""
        return self.kind

    @property
    def downloads(self) -> tuple[str, ...]:
        """VOC 2012, and the Semantic Boundaries Dataset where it is trained on."""
        return ("voc2012", "sbd") if self.extra == "sbd" else ("voc2012",)

    @property
    def sources(self) -> tuple[str, ...]:
        """The same."""
        return self.downloads

    def classes_of(self, part: str) -> int | None:
        """Return VOC's twenty classes and the background."""
        return CLASSES_OF_VOC


class Voc(Pictures):
    """The user's own images and label maps, laid out as VOC's.

    Attributes
    ----------
    name : str
    path : str
        The folder with `JPEGImages`, `SegmentationClass` and `ImageSets/Segmentation`.
    train, test : str or None, str
        Names of lists in `ImageSets/Segmentation`, without `.txt`.
    classes : int
        Classes with the background; label maps hold 0 to `classes` - 1, and 255 where ignored.
    """

    kind: Literal["voc"]
    name: str
    path: Place
    train: str | None = None
    test: str
    classes: Annotated[int, Field(ge=2, le=MOST_LABELS)] = CLASSES_OF_VOC

    def classes_of(self, part: str) -> int | None:
        """Return the configured number."""
        return self.classes


def class_folders(folder: Path) -> list[str]:
    """List the names of the folders inside a folder, sorted.

    Raises
    ------
    UserError
        If it is missing, or has none.
    """
    rule = "a folder of classified images exists, and holds one folder per class."
    if not folder.is_dir():
        raise UserError(rule, came=f"no folder {folder}", do="mend the path in `data`.")
    names = sorted(
        place.name
        for place in folder.iterdir()
        if place.is_dir() and not place.name.startswith(".")
    )
    if not names:
        raise UserError(
            rule,
            came=f"{folder} has no folder in it",
            do="sort the images into one folder per class, or mend the path in `data`.",
        )
    return names
