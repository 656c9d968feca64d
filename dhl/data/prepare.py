"""The first two steps of a run: write clean images, and record their noise."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dhl.config.data_sets import Folder, OwnImages, PhotoDigits, PluginData
from dhl.config.methods import TASKS, base_of
from dhl.config.plugins import wrong_result
from dhl.config.rules import used_recipes
from dhl.config.schema import Config
from dhl.data.class_names import IGNORED_LABEL
from dhl.data.classification import list_ilsvrc2012, list_image_folder, list_imagenette
from dhl.data.folder import picture_files, read_denoising
from dhl.data.groups import GROUPS, check_groups
from dhl.data.image_files import DamagedImage, Files
from dhl.data.image_set import ImageSet, check_sizes, load_split, save_splits
from dhl.data.imagenet_samples import list_imagenet_samples
from dhl.data.listing import Listing, Skipped, heads_of, inspect, refuse_copies
from dhl.data.locations import data_root
from dhl.data.noise import evaluation_seed, noisy_image, pixel_digest
from dhl.data.photo_digits import make_part
from dhl.data.plugin_data import make_plugin_part
from dhl.data.segmentation import list_camvid, list_voc, list_voc2012
from dhl.data.user_folders import user_folders
from dhl.errors import UserError
from dhl.progress import Progress
from dhl.run.folder import RunFolder
from dhl.run.results import AVERAGE, NOISE_COLUMNS, SKIPPED_COLUMNS, result_path, write_rows
from dhl.words import named

logger = logging.getLogger("dhl")
SHEET_COLUMNS, SHEET_SIDE = 20, 64  # images in a row, and their side in pixels
Heads = dict[str, dict[Path, bytes]]  # digests of files, by split
_NOISE_TOLERANCE = 0.1  # of sigma

# Kinds of data whose images stay in files, with the functions that list the files.
LISTINGS: dict[str, Callable[..., dict[str, Listing]]] = {
    "imagenette": list_imagenette,
    "imagenet-samples": list_imagenet_samples,
    "ilsvrc2012": list_ilsvrc2012,
    "image_folder": list_image_folder,
    "voc2012": list_voc2012,
    "camvid": list_camvid,
    "voc": list_voc,
}


class LoadedPart(NamedTuple):
    """The images of a part by split, the damaged images, and what is left out of its folders."""

    splits: dict[str, ImageSet]
    skipped: list[Skipped]
    left_out: list[str]


def write_data(config: Config, part: str, folder: RunFolder) -> None:
    """Write images or the index of their files, a contact sheet, and the skipped images."""
    splits, skipped, left_out = read_splits(config, part)
    check_training_images(config, part, splits)
    for split, images in splits.items():
        logger.info("%s, %s: %d images", part, split, len(images))
    if left_out:
        logger.warning("%s: %d names are left out: %s", part, len(left_out), named(left_out))
    save_splits(splits, folder.data(part), left_out=left_out)
    write_rows(map(asdict, skipped), folder.skipped(part), SKIPPED_COLUMNS)
    with result_path(folder.data(part).with_suffix(".png")) as temporary:
        contact_sheet(splits).save(temporary, format="png")


def read_splits(config: Config, part: str, *, decode: bool = False) -> LoadedPart:
    """Make, read or list the images of a part, and check them.

    With `decode`, training images in files are decoded, too.
    """
    found = _read(config, part, decode=decode)
    if base_of(part) == "denoising" and AVERAGE in found.splits["test"].ids:
        raise UserError(
            f"A test image of {part} cannot be named `{AVERAGE}`.",
            came=f"`{AVERAGE}`, the name of the row over all images in the table",
            do="rename the image.",
        )
    groups = check_groups(
        part,
        {split: images.ids for split, images in found.splits.items()},
        pattern=getattr(config.parts[part].data, "groups", None),
        recorded={
            split: list(images.origins.get(GROUPS, ())) for split, images in found.splits.items()
        },
    )
    if groups:
        logger.info("%s: %d test images in %d groups", part, len(found.splits["test"]), groups)
    for split, images in found.splits.items():
        _check_classes(part, split, images)
    _warn_of_grey(part, found.splits["test"])
    return found


def check_training_images(config: Config, part: str, splits: dict[str, ImageSet]) -> None:
    """Raise a `UserError` if a recipe of the run cannot make batches of a part's images."""
    for key_path, (source, recipe) in used_recipes(config).items():
        if source == part and "train" not in splits:
            raise UserError(
                f"There are no training images for `{key_path}`.",
                came=f"`parts.{part}.data` with test images alone",
                do="add training images, or remove the methods that need them.",
            )
        if source == part:
            check_sizes(splits["train"], recipe)


def _warn_of_grey(part: str, images: ImageSet) -> None:
    """Warn if all images are grey; the first coloured one ends the search."""
    if all((image == image[..., :1]).all() for image in images.images):
        logger.warning(
            "%s: all %d test images are grey. Their three equal channels have independent noise, "
            "whose mean has a standard deviation of sigma / sqrt(3): PSNR is several dB above that "
            "of the grey images of the literature.",
            part, len(images),
        )  # fmt: skip


def _check_classes(part: str, split: str, images: ImageSet) -> None:
    """Name the classes that no image or label map has; if no pixel has any, it is an error."""
    if images.targets is None or images.classes is None:
        return
    absent = set(range(images.classes))
    for target in images.targets if images.has_label_maps else [images.targets]:
        absent -= set(np.unique(target).tolist())
        if not absent:
            return
    if len(absent) == images.classes:
        raise UserError(
            f"No pixel of the {split} label maps of {part} has a class.",
            came=f"the label {IGNORED_LABEL}, which is ignored, in all {len(images)} maps",
            do=f"write the classes 0 to {images.classes - 1} into the label maps.",
        )
    what = "label map" if images.has_label_maps else "image"
    names = named(list(map(str, sorted(absent))))
    logger.warning("%s, %s: no %s has class %s of %d", part, split, what, names, images.classes)


def _read(config: Config, part: str, *, decode: bool) -> LoadedPart:
    """Make, read or list the images of a part."""
    spec = config.parts[part].data
    if isinstance(spec, PhotoDigits):
        return LoadedPart(make_part(part, spec, base_seed=config.base_seed), [], [])
    if isinstance(spec, PluginData):
        return LoadedPart(make_plugin_part(config, part), [], [])
    if isinstance(spec, Folder):
        # A further test set has the training images of the part itself.
        wanted = ("train", "test") if part == base_of(part) else ("test",)
        splits, left_out = read_denoising(spec, data_root(config), wanted=wanted)
        for task in TASKS:
            if task in config.parts and isinstance(config.parts[task].data, OwnImages):
                _refuse_shared(_heads_of_denoising(config, part), _heads_of_task(config, task))
        return LoadedPart(splits, [], left_out)
    return _read_listings(config, part, decode=decode)


def _read_listings(config: Config, part: str, *, decode: bool) -> LoadedPart:
    """List the images of a part that stay in files, and open each once."""
    spec = config.parts[part].data
    found = LoadedPart({}, [], [])
    heads: Heads = {"train": {}, "test": {}}
    for split, listing in _listings(config, part).items():
        seen = inspect(listing, split, spec, threads=config.threads, decode=decode)
        found.splits[split] = seen.images
        found.skipped.extend(seen.skipped)
        found.left_out.extend(f"{listing.folder}/{name}" for name in listing.left_out)
        heads[split] = seen.heads
    if isinstance(spec, OwnImages):  # the split of a public set is not the user's mistake
        refuse_copies(heads["train"], heads["test"])
        parts = [part for part in config.parts if base_of(part) == "denoising"]
        _refuse_shared(_heads_of_denoising(config, *parts), heads)
    return found


def _listings(config: Config, part: str) -> dict[str, Listing]:
    """List the chosen images of each split of a part that stay in files."""
    spec = config.parts[part].data
    listings = LISTINGS[spec.kind](spec, data_root(config))
    listings["test"] = listings["test"].without(spec.test_without)
    return {
        split: listing.evenly(getattr(spec, f"{split}_images", None))
        for split, listing in listings.items()
    }


def _refuse_shared(denoised: Heads, task: Heads) -> None:
    """Refuse images that denoisers are trained on and a task is tested on, or the other way round.

    The data steps of both parts compare them: the folders of either can change alone.
    """
    refuse_copies(denoised["train"], task["test"])
    refuse_copies(task["train"], denoised["test"])


def _heads_of_denoising(config: Config, *parts: str) -> Heads:
    """Digest the heads of the images in the user's folders of some denoising parts, by split."""
    folders = {(split, getattr(data, split)) for data, split, _ in user_folders(config, *parts)}
    heads: Heads = {"train": {}, "test": {}}
    for split, folder in folders:
        with contextlib.suppress(UserError):  # the data step of the other part reports it
            heads[split] |= heads_of(picture_files(Path(folder)))
    return heads


def _heads_of_task(config: Config, task: str) -> Heads:
    """Digest the heads of the user's images of a task, by split."""
    heads: Heads = {"train": {}, "test": {}}
    with contextlib.suppress(UserError):  # the data step of the task reports it
        for split, listing in _listings(config, task).items():
            paths = [listing.folder / path for path in listing.paths]
            heads[split] = heads_of(paths, threads=config.threads)
    return heads


def contact_sheet(splits: dict[str, ImageSet]) -> Image.Image:
    """Draw the first images of each split in a row, and below it their label maps, if any."""
    rows = []
    for images in splits.values():
        rows.append(_thumbnails(images.images))
        if images.targets is not None and images.has_label_maps:
            rows.append(_thumbnails(images.targets))
    sheet = Image.new("RGB", (SHEET_SIDE * SHEET_COLUMNS, SHEET_SIDE * len(rows)), "white")
    for row, thumbnails in enumerate(rows):
        for column, thumbnail in enumerate(thumbnails):
            sheet.paste(thumbnail, (column * SHEET_SIDE, row * SHEET_SIDE))
    return sheet


def _thumbnails(images: Sequence[np.ndarray] | np.ndarray) -> Iterator[Image.Image]:
    """Shrink the images or label maps of one row, one at a time; damaged images are grey."""
    for index in range(min(SHEET_COLUMNS, len(images))):
        image = images.read(index) if isinstance(images, Files) else images[index]
        if isinstance(image, DamagedImage):
            image = np.full((1, 1, 3), 128, np.uint8)
        if image.ndim == 2:
            image = label_colours()[image]
        side = (SHEET_SIDE, SHEET_SIDE)
        yield Image.fromarray(np.asarray(image)).resize(side, Image.Resampling.BOX)


def label_colours() -> np.ndarray:
    """Return VOC's colours of the labels 0 to 255, uint8 (256, 3).

    Bit 3 i + c of a label is bit 7 - i of its colour channel c.
    """
    labels = np.arange(IGNORED_LABEL + 1)[:, None]
    channels = np.arange(3)
    bits = [(labels >> (3 * i + channels) & 1) << (7 - i) for i in range(8)]
    return np.sum(bits, axis=0).astype(np.uint8)


def write_noise(config: Config, part: str, sigma: float, folder: RunFolder) -> None:
    """Record for each test image the seed, mean and deviation of its noise, and a digest."""
    clean = load_split(folder.data(part), "test")
    dataset = f"{config.parts[part].data.name}/{base_of(part)}"
    rows: list[dict] = []
    with Progress(f"noise of {part}, sigma {sigma:g}", len(clean)) as progress:
        for image_id, image in zip(clean.ids, clean.images, strict=True):
            seed = evaluation_seed(
                base_seed=config.base_seed, dataset=dataset, image_id=image_id, sigma=sigma
            )
            noisy = noisy_image(image, sigma=sigma, seed=seed, model=config.noise)
            if not rows and pixel_digest(noisy) != pixel_digest(
                noisy_image(image, sigma=sigma, seed=seed, model=config.noise)
            ):
                raise wrong_result(
                    config.noise,
                    expected="the same noise for the same seed",
                    came=f"two different results for `{image_id}`, sigma {sigma:g}",
                )
            noise = (noisy.astype(np.float64) - image / 255) * 255
            row = (
                image_id, *image.shape[:2], seed, pixel_digest(noisy), float(noise.mean()),
                float(noise.std()),
            )  # fmt: skip
            rows.append(dict(zip(NOISE_COLUMNS, row, strict=True)))
            progress.advance()
    measured = float(np.mean([row["noise_std"] for row in rows]))
    if abs(measured - sigma) > _NOISE_TOLERANCE * sigma:
        logger.warning(
            "%s: the noise of sigma %g has a standard deviation of %.1f on average; methods that "
            "read sigma, such as CBM3D, assume one of %g",
            part, sigma, measured, sigma,
        )  # fmt: skip
    write_rows(rows, folder.noise(part, sigma), NOISE_COLUMNS)
