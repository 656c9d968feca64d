"""Images with label maps: VOC 2012, SBD, CamVid, user data in VOC's layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from dhl.config.folders import SUFFIXES
from dhl.config.image_data_sets import CLASSES_OF_CAMVID, CLASSES_OF_VOC, Camvid, Voc, Voc2012
from dhl.data.class_names import IGNORED_LABEL
from dhl.data.image_files import LabelFiles
from dhl.data.layouts import SBD, VOC, Layout
from dhl.data.listing import Listing
from dhl.data.locations import downloaded
from dhl.errors import UserError
from dhl.words import named

FRAMES_OF_STRETCH = 10  # of CamVid

# The paths of an image and its label map, relative to the folder of the listing, by image name.
Pairs = dict[str, tuple[str, str]]


def list_voc2012(spec: Voc2012, root: Path) -> dict[str, Listing]:
    """List VOC 2012: `train` or `train_aug` for training, `val` for testing.

    `train_aug` (10,582 images) is SBD and VOC's `train` without VOC's `val`. If both sets have a
    label map, VOC's map is used, which labels object borders as ignored.
    """
    voc = downloaded(root, "voc2012") / "VOCdevkit" / "VOC2012"
    test = read_list(voc, VOC, "val")
    train = find_pairs(root, voc, VOC, read_list(voc, VOC, "train"))
    if spec.extra == "sbd":
        sbd = downloaded(root, "sbd")
        names = {name for part in ("train", "val") for name in read_list(sbd, SBD, part)}
        train |= find_pairs(root, sbd, SBD, names - set(test) - set(train))
    return _listings(root, train, find_pairs(root, voc, VOC, test), CLASSES_OF_VOC)


def list_camvid(spec: Camvid, root: Path) -> dict[str, Listing]:
    """List CamVid by the lists of SegNet's authors, whose label 11 is void.

    Neighbouring frames of a drive are a second apart or less, and alike. So intervals are over
    stretches of `FRAMES_OF_STRETCH` frames, which are recorded as origins.
    """
    folder = downloaded(root, spec.name)
    listings = {}
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        # Each line has the absolute paths, on the authors' disk, of a frame and its label map.
        lines = (folder / f"{name}.txt").read_text("utf-8").split()
        files = ["/".join(PurePosixPath(path).parts[-2:]) for path in lines]
        frames, labels = files[::2], files[1::2]
        ids = [PurePosixPath(path).stem for path in frames]
        listings[split] = Listing(
            folder, ids, frames,
            LabelFiles(folder, labels, CLASSES_OF_CAMVID, void=CLASSES_OF_CAMVID),
            CLASSES_OF_CAMVID,
            origins={"stretches": _stretches(ids)},
        )  # fmt: skip
    return listings


def _stretches(ids: list[str]) -> np.ndarray:
    """Name for each frame the stretch of its drive; frames are named `<drive>_<number>`."""
    drives = [name.rpartition("_")[0] for name in ids]
    ranks = [drives[:index].count(drive) for index, drive in enumerate(drives)]
    numbered = zip(drives, ranks, strict=True)
    return np.array([f"{drive}-{rank // FRAMES_OF_STRETCH}" for drive, rank in numbered])


def list_voc(spec: Voc, root: Path) -> dict[str, Listing]:
    """List the user's images and label maps."""
    folder = Path(spec.path)
    train, test = (
        find_pairs(folder, folder, VOC, read_list(folder, VOC, name)) if name is not None else {}
        for name in (spec.train, spec.test)
    )
    if both := sorted(set(train) & set(test)):
        raise UserError(
            f"The lists `{spec.train}` and `{spec.test}` contain the same images.",
            came=f"{len(both)} in both `{spec.train}` and `{spec.test}`: {named(both)}",
            do=f"remove them from one of the lists in {folder / VOC.lists}.",
        )
    return _listings(folder, train, test, spec.classes, void=spec.void)


def read_list(folder: Path, layout: Layout, name: str) -> list[str]:
    """Read the names of images in a list: the first word of each line, as a name or as a path.

    Folders and the ending of an image or label map are dropped, and so is a byte order mark.
    """
    path = folder / layout.lists / f"{name.removesuffix('.txt')}.txt"
    try:
        content = path.read_bytes()
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # as PowerShell writes
        lines = content.decode("utf-16" if wide else "utf-8-sig").splitlines()
        words = dict.fromkeys(line.split()[0] for line in lines if line.strip())
        names = [_image_name(word, layout) for word in words]
        came = f"{path} is empty"
    except (OSError, UnicodeDecodeError) as error:
        names, came = [], f"{path}: {error.strerror if isinstance(error, OSError) else error}"
    if not names:
        raise UserError(
            f"The list of images {path.name} is missing, unreadable or empty.",
            came=came,
            do="correct the path or the name of the list in `data`, or download the set again.",
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(
            f"Different entries of the list {path.name} name the same image.",
            came=f"{named(twice)} more than once in {path}",
            do=f"put all images into {folder / layout.images}, with different names.",
        )
    return names


def _image_name(word: str, layout: Layout) -> str:
    """Return the name of an image from a name or path in a list."""
    path = PurePosixPath(word.replace("\\", "/"))
    known = path.suffix.lower() in (*SUFFIXES, *layout.endings)
    return path.stem if known else path.name


def find_pairs(root: Path, folder: Path, layout: Layout, names: Iterable[str]) -> Pairs:
    """Find the image and the label map of each name; return paths relative to `root`.

    Raises
    ------
    UserError
        If a file is missing, or two files have the same name.
    """
    names = sorted(set(names))
    images = _find(root, folder / layout.images, names, SUFFIXES)
    labels = _find(root, folder / layout.labels, names, layout.endings)
    return {name: (images[name], labels[name]) for name in names}


def _find(root: Path, folder: Path, names: list[str], endings: tuple[str, ...]) -> dict[str, str]:
    """Return the path of each name's file, relative to `root`."""
    files: dict[str, list[str]] = {}
    wanted = set(names)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix.lower() in endings and path.stem in wanted and not path.is_fifo():
            files.setdefault(path.stem, []).append(path.name)
    if wrong := [name for name in names if len(files.get(name, [])) != 1]:
        shown = named([f"{name} ({len(files.get(name, []))} files)" for name in wrong])
        raise UserError(
            f"{len(wrong)} of {len(names)} listed names do not have exactly one file.",
            came=f"{len(wrong)} of {len(names)} in {folder}: {shown}",
            do="copy or download the files again, or remove the names from the list.",
        )
    below = folder.relative_to(root)
    return {name: str(below / files[name][0]) for name in names}


def _listings(
    folder: Path, train: Pairs, test: Pairs, classes: int, *, void: int = IGNORED_LABEL
) -> dict[str, Listing]:
    """Return the listings of the splits that have images."""
    return {
        split: Listing(
            folder=folder,
            ids=sorted(pairs),
            paths=[pairs[name][0] for name in sorted(pairs)],
            targets=LabelFiles(
                folder, [pairs[name][1] for name in sorted(pairs)], classes, void=void
            ),
            classes=classes,
        )
        for split, pairs in (("train", train), ("test", test))
        if pairs
    }
