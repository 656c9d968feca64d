"""One photograph of each class of ImageNet, split by class, for classification and denoising."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dhl.config.image_data_sets import CLASSES_OF_IMAGENET, ImagenetSamples
from dhl.data.image_files import DamagedImage, Preparation, read_prepared
from dhl.data.image_set import ImageSet
from dhl.data.listing import Listing
from dhl.data.locations import downloaded
from dhl.errors import UserError

HALVES = {"even": 0, "odd": 1}
SHRUNK = Preparation(resize=256)  # hides most of the JPEG compression


def list_imagenet_samples(spec: ImagenetSamples, root: Path) -> dict[str, Listing]:
    """List the photographs of the tested half, and training and validation ones of the other."""
    other = next(half for half in HALVES if half != spec.test)
    splits = {split: _select(root, other, split) for split in ("train", "validation")}
    return splits | {"test": _select(root, spec.test, "test")}


def read_half(word: str, split: str, root: Path) -> dict[str, ImageSet]:
    """Read the photographs of a half for denoising, shrunk to a short side of 256 px.

    Parameters
    ----------
    word : str
        `imagenet-samples-even` or `imagenet-samples-odd`.
    split : {"train", "test"}
        `train` gives training and validation images, `test` those to test on.
    root : Path
        The folder of all downloaded sets.
    """
    half = word.rpartition("-")[2]
    names = ("train", "validation") if split == "train" else ("test",)
    return {name: _read(_select(root, half, name)) for name in names}


def _select(root: Path, half: str, split: str) -> Listing:
    """List the photographs of a half of the classes that belong to a split.

    Neighbouring synsets are related: even and odd indices give both halves the same kinds of
    objects, and every fifth class of a half gives its validation images. Those of the even half are
    never test images: the settings of the configurations were chosen on them.
    """
    folder = downloaded(root, "imagenet-samples")
    # One file a class, named by its synset: its rank is its class.
    paths = sorted(path.name for path in folder.glob("n*.JPEG"))
    if len(paths) != CLASSES_OF_IMAGENET:
        raise UserError(
            f"`imagenet-samples` does not have {CLASSES_OF_IMAGENET} photographs.",
            came=f"{len(paths)} files n*.JPEG in {folder}",
            do="delete the folder and download it again: `dhl data download imagenet-samples "
            "--configfile ...` with the configuration of the run.",
        )
    ids = [Path(path).stem for path in paths]
    every = Listing(folder, ids, paths, np.arange(CLASSES_OF_IMAGENET), CLASSES_OF_IMAGENET)
    classes = np.arange(HALVES[half], CLASSES_OF_IMAGENET, 2)
    validation = classes // 2 % 5 == 2
    chosen = {"train": classes[~validation], "validation": classes[validation]}
    chosen["test"] = classes if half == "odd" else chosen["train"]
    return every.take(chosen[split])


def _read(listing: Listing) -> ImageSet:
    """Decode and shrink the photographs of a listing."""
    images = []
    for path in listing.paths:
        image = read_prepared(listing.folder / path, SHRUNK)
        if isinstance(image, DamagedImage):
            raise image.error()
        images.append(image)
    return ImageSet(listing.ids, images)
