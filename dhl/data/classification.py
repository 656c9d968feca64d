"""Classified images: Imagenette, ILSVRC2012, and user data with a folder per class."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from dhl.config.folders import find_classes, find_images
from dhl.config.image_data_sets import CLASSES_OF_IMAGENET, Ilsvrc2012, ImageFolder, Imagenette
from dhl.data.archives import Budget, damage_explained, open_members
from dhl.data.listing import Listing
from dhl.data.locations import downloaded
from dhl.errors import UserError
from dhl.words import named

# The ten synsets of Imagenette and their class indices in ImageNet.
IMAGENETTE = {
    "n01440764": 0, "n02102040": 217, "n02979186": 482, "n03000684": 491, "n03028079": 497,
    "n03394916": 566, "n03417042": 569, "n03425413": 571, "n03445777": 574, "n03888257": 701,
}  # fmt: skip

VALIDATION = "ILSVRC2012_val_"  # prefix of ImageNet's validation images

# A synset of ILSVRC2012 has 732 to 1,300 training images and 50 validation images.
LEAST_OF_SYNSET = {"train": 732, "val": 50}
TOTAL = {"train": 1_281_167, "val": 50_000}
DEVELOPMENT_KIT = "ILSVRC2012_devkit_t12"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def imagenet_synsets() -> dict[str, int]:
    """Return the class index of each synset, in the order of torchvision and published networks."""
    names = (Path(__file__).parent / "imagenet_synsets.txt").read_text("utf-8").split()
    return {name: index for index, name in enumerate(names)}


def list_imagenette(spec: Imagenette, root: Path) -> dict[str, Listing]:
    """List the files of Imagenette, split like ImageNet.

    The folders `train` and `val` of the archive mix training and validation images of ImageNet. The
    published networks were trained on the training images, so the test split has only validation
    images.
    """
    suffix = "" if spec.size == "full" else f"-{spec.size}"
    folder = downloaded(root, spec.name) / f"imagenette2{suffix}"
    samples = sorted(
        (image_id, f"{name}/{path}", target)
        for name in ("train", "val")
        for part in [list_classes(folder / name, IMAGENETTE, CLASSES_OF_IMAGENET, image_id=_stem)]
        for image_id, path, target in zip(part.ids, part.paths, part.targets, strict=True)
    )
    ids, paths, targets = zip(*samples)
    every = Listing(folder, ids, paths, np.array(targets, np.int64), CLASSES_OF_IMAGENET)
    validation = np.array([image_id.startswith(VALIDATION) for image_id in ids])
    train, test = (every.take(np.flatnonzero(chosen)) for chosen in (~validation, validation))
    if absent := [name for name, index in IMAGENETTE.items() if index not in test.targets]:
        raise UserError(
            f"Some classes of Imagenette have no test image `{VALIDATION}*`.",
            came=f"{len(absent)} classes without one in {folder}: {named(absent)}",
            do=f"delete {downloaded(root, spec.name)} and unpack the archive again: "
            f"`dhl data download {spec.name} --configfile ...` with the configuration of the run.",
        )
    check_counts(train, IMAGENETTE, 1)
    return {"train": train, "test": test}


def list_image_folder(spec: ImageFolder, root: Path) -> dict[str, Listing]:
    """List the user's images; a `UserError` for unknown classes."""
    known = imagenet_synsets()
    if spec.classes == "folders":
        folders = find_classes(Path(spec.train or spec.test)).names
        known = {name: index for index, name in enumerate(folders)}
    listings = {}
    for split, given in (("train", spec.train), ("test", spec.test)):
        if given is None:
            continue
        folder = Path(given)
        present = find_classes(folder).names
        if strange := [name for name in present if name not in known]:
            raise UserError(
                f"Some folders in {folder} are not classes.",
                came=f"{named(strange)} in {folder}",
                do="rename or remove them: classes are the training folders, or ImageNet's synsets "
                "with `classes: imagenet`.",
            )
        indices = {name: known[name] for name in present}
        listing = list_classes(folder, indices, len(known))
        names = tuple(known) if spec.classes == "folders" else ()
        listings[split] = replace(listing, class_names=names)
    return listings


def list_ilsvrc2012(spec: Ilsvrc2012, root: Path) -> dict[str, Listing]:
    """List ILSVRC2012 in the user's folder, or unpacked from the official archives.

    Without a folder `train` only the test split is listed, which suffices for published networks.
    """
    folder = Path(spec.path)
    if not (folder / "val").is_dir():
        folder = root / spec.name
    if not (folder / "val").is_dir():
        raise UserError(
            "ILSVRC2012 has no folder `val`.",
            came=f"no folder {Path(spec.path) / 'val'}, and nothing unpacked in {folder}",
            do=f"correct `path`, or unpack the archives with "
            f"`dhl data download {spec.name} --configfile ...` with the configuration of the run.",
        )
    synsets = imagenet_synsets()
    listings = {}
    for split, name in (("train", "train"), ("test", "val")):
        if not (folder / name).is_dir():
            continue
        if name == "val" and any(folder.glob(f"val/{VALIDATION}*")):
            listing = _flat_validation(folder / name, (folder, Path(spec.path)), synsets)
        else:
            listing = list_classes(folder / name, synsets, len(synsets), image_id=_stem)
        if spec.complete:
            check_counts(listing, synsets, LEAST_OF_SYNSET[name], TOTAL[name])
        listings[split] = listing
    return listings


def _stem(path: str) -> str:
    """Return the stem of a path, which is unique in ImageNet."""
    return PurePosixPath(path).stem


def _without_ending(path: str) -> str:
    """Return a path without its ending."""
    return str(PurePosixPath(path).with_suffix(""))


def list_classes(
    folder: Path,
    indices: Mapping[str, int],
    classes: int,
    *,
    image_id: Callable[[str], str] = _without_ending,
) -> Listing:
    """List the images in the folders of the classes, sorted by name.

    `indices` are the class indices of the folder names; `image_id` returns the name of an image
    from its path relative to the folder. A missing folder or a class without images is an error.
    """
    classes_found, left_out = find_classes(folder)
    samples = []
    for name in classes_found:
        found = find_images(folder / name, below=True)
        left_out += [f"{name}/{one}" for one in found.left_out]
        paths = [f"{name}/{one}" for one in found.names] if name in indices else []
        samples += [(image_id(path), path, indices[name]) for path in paths]
    samples.sort()
    ids, paths = [one for one, _, _ in samples], [path for _, path, _ in samples]
    targets = np.array([target for *_, target in samples], np.int64)
    listing = Listing(folder, ids, paths, targets, classes, left_out=left_out)
    check_counts(listing, indices, 1)
    return listing


def check_counts(
    listing: Listing, indices: Mapping[str, int], least: int, total: int | None = None
) -> None:
    """Raise a `UserError` if a split has too few images of a class, or a wrong total."""
    counts = np.bincount(listing.targets, minlength=listing.classes)
    few = [f"{name} ({counts[at]})" for name, at in indices.items() if counts[at] < least]
    if few or (total is not None and len(listing) != total):
        wanted = f" and {total} in total" if total else ""
        short = f"; {len(few)} classes with fewer: {named(few)}" if few else ""
        raise UserError(
            f"{listing.folder} does not have at least {least} images of each class{wanted}.",
            came=f"{len(listing)} images{short}",
            do="unpack or copy the set again"
            + ("; or set `complete: false` in `data` to use fewer images." if total else "."),
        )


def _flat_validation(folder: Path, kits: tuple[Path, ...], synsets: dict[str, int]) -> Listing:
    """List validation images in one folder, with their classes from the development kit."""
    truth = _ground_truth(kits)
    paths = find_images(folder).names
    numbers = [_stem(path).rpartition("_")[2] for path in paths]
    try:
        targets = [synsets[truth[int(number) - 1]] for number in numbers]
    except (IndexError, KeyError, ValueError) as error:
        raise UserError(
            f"Some validation images are not numbered (`{VALIDATION}00000001.JPEG`), or have no "
            f"class in the development kit.",
            came=f"{len(paths)} images in {folder} and {len(truth)} classes: {error}",
            do="copy the images and the development kit again.",
        ) from None
    ids = [_stem(path) for path in paths]
    return Listing(folder, ids, paths, np.array(targets, np.int64), len(synsets))


def _ground_truth(kits: tuple[Path, ...]) -> list[str]:
    """Return the synset of each validation image, from the development kit."""
    from scipy.io import loadmat

    meta, truth = (_from_development_kit(kits, name) for name in ("meta.mat", GROUND_TRUTH))
    try:
        table = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        columns = (table["ILSVRC2012_ID"], table["WNID"], table["num_children"])
        # The table also has inner nodes of the hierarchy.
        leaves = {int(number): str(name) for number, name, below in zip(*columns) if below == 0}
        return [leaves.get(number, f"class {number}") for number in map(int, truth.split())]
    except Exception as error:  # SciPy raises anything for damaged files
        raise _broken_kit(f"{kits[0]}: {error}") from None


def _from_development_kit(kits: tuple[Path, ...], name: str) -> bytes:
    """Read a file of the development kit from the first folder that has the kit or its archive."""
    inside = f"{DEVELOPMENT_KIT}/data/{name}"
    for folder in kits:
        archive = folder / f"{DEVELOPMENT_KIT}.tar.gz"
        if (folder / inside).is_file():
            return (folder / inside).read_bytes()
        if archive.is_file():
            with damage_explained(archive):
                for found, size, file, _ in open_members(archive, Budget(10_000, 1_000_000_000)):
                    if str(found) == inside:
                        return file.read(size)
            raise _broken_kit(f"{archive} without {inside}")
    raise UserError(
        "The development kit with the classes of the validation images is missing.",
        came=f"neither {inside} nor {DEVELOPMENT_KIT}.tar.gz in {' or '.join(map(str, kits))}",
        do="put one of them beside `val`, or sort the images into a folder per synset.",
    )


def _broken_kit(came: str) -> UserError:
    """Return the error for a damaged development kit."""
    return UserError(
        "The development kit is damaged.", came=came, do="copy the official archive again."
    )
