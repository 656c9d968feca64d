"""The first two steps of a run: clean images on disk, and the record of their noise. No torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from dhl.config import Config
from dhl.config.data import Folder
from dhl.data.folder import read_folder
from dhl.data.image_set import ImageSet, load_split, save_splits
from dhl.data.photo_digits import make_part
from dhl.noise import evaluation_seed, noisy_image, pixel_digest
from dhl.results import NOISE_COLUMNS, RunFolder, atomic_path, write_csv

SHEET_COLUMNS = 20


def write_data(config: Config, part: str, folder: RunFolder) -> None:
    """Write the clean images of a part, and a contact sheet of its splits beside them."""
    spec = getattr(config.data, part)
    if isinstance(spec, Folder):
        sources = {"train": spec.train, "test": spec.test}
        splits = {split: read_folder(Path(path)) for split, path in sources.items() if path}
    else:
        splits = make_part(part, spec, base_seed=config.base_seed)
    save_splits(splits, folder.data(part))
    with atomic_path(folder.data(part).with_suffix(".png")) as temporary:
        contact_sheet(splits).save(temporary, format="png")


def contact_sheet(splits: dict[str, ImageSet]) -> Image.Image:
    """Draw the first images of each split in a row, label maps below them.

    Classes of a label map are spread over the grey levels, background black.
    """
    side = 64
    sheet_rows = []
    for images in splits.values():
        shown = [np.asarray(image) for image in images.images[:SHEET_COLUMNS]]
        sheet_rows.append(shown)
        if images.targets is not None and images.targets.ndim == 3:
            maps = images.targets[:SHEET_COLUMNS].astype(int) * 25
            sheet_rows.append([np.stack([one.clip(0, 255)] * 3, -1).astype("u1") for one in maps])
    sheet = Image.new("RGB", (side * SHEET_COLUMNS, side * len(sheet_rows)), "white")
    for row, shown in enumerate(sheet_rows):
        for column, image in enumerate(shown):
            picture = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
            sheet.paste(picture, (column * side, row * side))
    return sheet


def write_noise(config: Config, part: str, sigma: float, folder: RunFolder) -> None:
    """Record seed, digest and moments of the noise of each test image at a sigma."""
    clean = load_split(folder.data(part), "test")
    dataset = f"{getattr(config.data, part).name}/{part}"
    rows = []
    for image_id, image in zip(clean.ids, clean.images, strict=True):
        seed = evaluation_seed(
            base_seed=config.base_seed, dataset=dataset, image_id=image_id, sigma=sigma
        )
        noisy = noisy_image(image, sigma=sigma, seed=seed)
        noise = (noisy.astype(np.float64) - image / 255) * 255
        rows.append(
            {
                "image_id": image_id, "height": image.shape[0], "width": image.shape[1],
                "seed": seed, "sha256": pixel_digest(noisy),
                "noise_mean": noise.mean(), "noise_std": noise.std(),
            }
        )  # fmt: skip
    write_csv(pd.DataFrame(rows), folder.noise(part, sigma), NOISE_COLUMNS)
