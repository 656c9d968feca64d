"""Where the images of each part come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from dhl.config.base import Count, Frozen, Place
from dhl.data.catalogue import CATALOGUE
from dhl.errors import ConfigError, UserError
from dhl.own import OwnCodeError, is_reference, read

# Words that stand for a downloadable set where a folder of pictures is named, and the shortest side
# of its images in pixels.
DOWNLOADABLE_FOLDERS = {"kodak": 512, "bsds500": 321}
CLASSES_OF_IMAGENET = 1000
CLASSES_OF_VOC = 21
MOST_LABELS = 255  # a label map's 255 is ignored


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
        own = self.train is not None and not {self.train, self.test} & set(DOWNLOADABLE_FOLDERS)
        if self.train == self.test == "kodak" or (own and _real(self.train) == _real(self.test)):
            raise _not_apart(self, "one folder")
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


def _real(place: str) -> Path:
    """Return where a path leads, links followed."""
    return Path(os.path.realpath(place))


def _not_apart(data: Folder | ImageFolder, how: str) -> ConfigError:
    """Say that folders to train on and to test on are not two."""
    return ConfigError(
        "no image is trained on and tested on.",
        came=f"`train: {data.train}` and `test: {data.test}`, {how}",
        do="give the test images a folder of their own.",
    )


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
            train, test = _real(self.train), _real(self.test)
            if train.is_relative_to(test) or test.is_relative_to(train):
                how = "one folder" if train == test else "one inside the other"
                raise _not_apart(self, how)
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
