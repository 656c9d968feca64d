"""Images with one class each: Imagenette, ILSVRC2012, and a folder per class."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from dhl.config.image_data_sets import (
    CLASSES_OF_IMAGENET,
    Ilsvrc2012,
    ImageFolder,
    Imagenette,
    class_folders,
)
from dhl.data.folder import refuse_shared
from dhl.data.layouts import SUFFIXES
from dhl.data.listing import Listing, named
from dhl.data.locations import downloaded, set_folder
from dhl.errors import UserError

# The ten of Imagenette, and where they stand among ImageNet's thousand.
IMAGENETTE = {
    "n01440764": 0, "n02102040": 217, "n02979186": 482, "n03000684": 491, "n03028079": 497,
    "n03394916": 566, "n03417042": 569, "n03425413": 571, "n03445777": 574, "n03888257": 701,
}  # fmt: skip

VALIDATION = "ILSVRC2012_val_"  # how the names of ImageNet's validation images begin

# Of each synset, ILSVRC2012 has 732 to 1,300 images to train on and 50 to validate.
LEAST_OF_SYNSET = {"train": 732, "val": 50}
TOTAL = {"train": 1_281_167, "val": 50_000}
DEVELOPMENT_KIT = "ILSVRC2012_devkit_t12"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def imagenet_synsets() -> dict[str, int]:
    """Return ImageNet's synsets and their indices, which are the order of their names.

    It is the order of torchvision's, and so of the published networks' outputs.
    """
    names = (Path(__file__).parent / "imagenet_synsets.txt").read_text().split()
    return {name: index for index, name in enumerate(names)}


def list_imagenette(spec: Imagenette, root: Path) -> dict[str, Listing]:
    """List the files of Imagenette, split as ImageNet is, whatever folder they lie in.

    The archive's own `train` and `val` mix ImageNet's training and validation images. Networks with
    published weights have seen the training images, so that none of them may be tested on.

    Raises
    ------
    UserError
        If a class has no validation image, or no training image.
    """
    suffix = "" if spec.size == "full" else f"-{spec.size}"
    folder = downloaded(root, spec.name) / f"imagenette2{suffix}"
    samples = sorted(
        (image_id, f"{place}/{path}", target)
        for place in ("train", "val")
        for part in [list_classes(folder / place, IMAGENETTE, CLASSES_OF_IMAGENET, name=_stem)]
        for image_id, path, target in zip(part.ids, part.paths, part.targets, strict=True)
    )
    ids, paths, targets = zip(*samples)
    every = Listing(folder, ids, paths, np.array(targets, np.int64), CLASSES_OF_IMAGENET)
    unseen = np.array([image_id.startswith(VALIDATION) for image_id in ids])
    train, test = (every.take(np.flatnonzero(chosen)) for chosen in (~unseen, unseen))
    if absent := [name for name, index in IMAGENETTE.items() if index not in test.targets]:
        raise UserError(
            f"Imagenette's files have ImageNet's names; those called `{VALIDATION}*` are the test.",
            came=f"{len(absent)} classes without one in {folder}: {named(absent)}",
            do=f"delete {downloaded(root, spec.name)} and unpack the archive again: "
            f"`dhl data download {spec.name}`.",
        )
    check_counts(train, IMAGENETTE, 1)
    return {"train": train, "test": test}


def list_image_folder(spec: ImageFolder, root: Path) -> dict[str, Listing]:
    """List the user's images.

    Raises
    ------
    UserError
        If a folder is missing, empty, or is none of the classes; or an image is in both splits.
    """
    known = imagenet_synsets()
    if spec.classes == "folders":
        names = class_folders(Path(spec.train or spec.test))
        known = {name: index for index, name in enumerate(names)}
    listings = {}
    for split, given in (("train", spec.train), ("test", spec.test)):
        if given is None:
            continue
        folder = Path(given)
        present = class_folders(folder)
        if strange := [name for name in present if name not in known]:
            raise UserError(
                "the folders are those of the classes: of ImageNet's synsets with "
                "`classes: imagenet`, of the training folder otherwise.",
                came=f"{named(strange)} in {folder}",
                do="rename or remove them.",
            )
        indices = {name: known[name] for name in present}
        listings[split] = list_classes(folder, indices, len(known))
    files = {split: [one.folder / path for path in one.paths] for split, one in listings.items()}
    refuse_shared(files.get("train", ()), files["test"])
    return listings


def list_ilsvrc2012(spec: Ilsvrc2012, root: Path) -> dict[str, Listing]:
    """List ILSVRC2012 as the user has it, or as it was extracted from the official archives.

    Without a `train` folder there is only a test split: enough to measure published networks.

    Raises
    ------
    UserError
        If a folder or a synset is missing, or has too few images.
    """
    folder = Path(spec.path)
    if not (folder / "val").is_dir():
        folder = set_folder(root, spec.name)
    if not (folder / "val").is_dir():
        raise UserError(
            "`path` holds ILSVRC2012 with a folder `val`, or its archives, which are extracted.",
            came=f"no folder {Path(spec.path) / 'val'}, and nothing extracted in {folder}",
            do=f"mend `path`, or extract the archives with `dhl data download {spec.name}`.",
        )
    synsets = imagenet_synsets()
    listings = {}
    for split, place in (("train", "train"), ("test", "val")):
        if not (folder / place).is_dir():
            continue
        if place == "val" and any(folder.glob(f"val/{VALIDATION}*")):
            listing = _flat_validation(folder / place, (folder, Path(spec.path)), synsets)
        else:
            listing = list_classes(folder / place, synsets, len(synsets), name=_stem)
        if spec.complete:
            check_counts(listing, synsets, LEAST_OF_SYNSET[place], TOTAL[place])
        listings[split] = listing
    return listings


def _stem(path: str) -> str:
    """Name an image by its file, which is unique in ImageNet, however the files are sorted."""
    return PurePosixPath(path).stem


def _below(path: str) -> str:
    """Name an image by its path without the ending."""
    return str(PurePosixPath(path).with_suffix(""))


def list_classes(
    folder: Path,
    indices: Mapping[str, int],
    classes: int,
    *,
    name: Callable[[str], str] = _below,
) -> Listing:
    """List the images in the classes' folders, sorted by name.

    Parameters
    ----------
    folder : Path
    indices : mapping of str to int
        From the names of the folders to their targets.
    classes : int
        How many classes the targets are indices of.
    name : callable
        From a path below the folder to the image's name.

    Raises
    ------
    UserError
        If the folder is missing, or a class has no image.
    """
    from torchvision.datasets.folder import make_dataset

    class_folders(folder)
    samples = make_dataset(folder, indices, extensions=SUFFIXES, allow_empty=True)
    paths = [path.removeprefix(f"{folder}/") for path, _ in samples]
    samples = sorted((name(path), path, target) for path, (_, target) in zip(paths, samples))
    listing = Listing(
        folder=folder,
        ids=[image_id for image_id, _, _ in samples],
        paths=[path for _, path, _ in samples],
        targets=np.array([target for _, _, target in samples], np.int64),
        classes=classes,
    )
    check_counts(listing, indices, 1)
    return listing


def check_counts(
    listing: Listing, indices: Mapping[str, int], least: int, total: int | None = None
) -> None:
    """Refuse a split with too few images of a class, or in all."""
    counts = np.bincount(listing.targets, minlength=listing.classes)
    few = [f"{name} ({counts[at]})" for name, at in indices.items() if counts[at] < least]
    if few or (total is not None and len(listing) != total):
        wanted = f", and {total} in all" if total else ""
        short = f"; of {len(few)} classes fewer: {named(few)}" if few else ""
        raise UserError(
            f"{listing.folder} has {least} images or more of each class{wanted}.",
            came=f"{len(listing)} images{short}",
            do="extract or copy the set again"
            + ("; `complete: false` in `data` takes what there is." if total else "."),
        )


def _flat_validation(folder: Path, places: tuple[Path, ...], synsets: dict[str, int]) -> Listing:
    """List validation images that lie in one folder; the development kit has their classes."""
    truth = _ground_truth(places)
    paths = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    numbers = [_stem(path).rpartition("_")[2] for path in paths]
    try:
        targets = [synsets[truth[int(number) - 1]] for number in numbers]
    except (IndexError, KeyError, ValueError) as error:
        raise UserError(
            f"validation images are called `{VALIDATION}00000001.JPEG` and so on, and the "
            f"development kit has one of the {len(synsets)} synsets for each.",
            came=f"{len(paths)} images in {folder} and {len(truth)} classes: {error}",
            do="copy the images and the development kit again.",
        ) from None
    ids = [_stem(path) for path in paths]
    return Listing(folder, ids, paths, np.array(targets, np.int64), len(synsets))


def _ground_truth(places: tuple[Path, ...]) -> list[str]:
    """Return the synset of each validation image, from the development kit."""
    from scipy.io import loadmat

    meta, truth = (_from_development_kit(places, name) for name in ("meta.mat", GROUND_TRUTH))
    try:
        table = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        columns = (table["ILSVRC2012_ID"], table["WNID"], table["num_children"])
        # The table has inner nodes of the hierarchy as well.
        leaves = {int(number): str(name) for number, name, below in zip(*columns) if below == 0}
        return [leaves.get(number, f"class {number}") for number in map(int, truth.split())]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise _broken_kit(f"{places[0]}: {error}") from None


def _from_development_kit(places: tuple[Path, ...], name: str) -> bytes:
    """Read a file of the development kit, which is extracted or in its archive."""
    inside = f"{DEVELOPMENT_KIT}/data/{name}"
    for place in places:
        archive = place / f"{DEVELOPMENT_KIT}.tar.gz"
        if (place / inside).is_file():
            return (place / inside).read_bytes()
        if archive.is_file():
            try:
                with tarfile.open(archive) as content:
                    if (file := content.extractfile(inside)) is None:
                        raise KeyError(inside)
                    return file.read()
            except (tarfile.TarError, KeyError, OSError, EOFError) as error:
                raise _broken_kit(f"{archive}: {error}") from None
    raise UserError(
        "validation images in one folder come with the development kit, which has their classes.",
        came=f"neither {inside} nor {DEVELOPMENT_KIT}.tar.gz in {' or '.join(map(str, places))}",
        do="put one of them beside `val`, or sort the images into a folder per synset.",
    )


def _broken_kit(came: str) -> UserError:
    """Refuse a development kit."""
    return UserError(
        "the development kit is whole, as the official archive has it.",
        came=came,
        do="copy it again.",
    )
