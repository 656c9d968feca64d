"""A split of a data set in memory: clean images, their names, their targets."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dhl.errors import UserError
from dhl.results import atomic_path


@dataclass(frozen=True)
class ImageSet:
    """Clean images only; noise is added by whoever reads them.

    Attributes
    ----------
    ids : sequence of str
        Unique names.
    images : sequence of ndarray, uint8, each (H, W, 3)
        One array (N, H, W, 3) where all have one size.
    targets : ndarray or None
        Classes (N,), or label maps (N, H, W); 255 is ignored.
    origins : mapping of str to ndarray
        What each image was made from, for the test that splits share nothing.
    """

    ids: Sequence[str]
    images: Sequence[np.ndarray]
    targets: np.ndarray | None = None
    origins: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def batches(self, size: int) -> Iterator[slice]:
        """Yield slices of at most `size` neighbours that share one image shape."""
        start = 0
        for end in range(1, len(self) + 1):
            full = end - start == size or end == len(self)
            if full or self.images[end].shape != self.images[start].shape:
                yield slice(start, end)
                start = end


def save_splits(splits: Mapping[str, ImageSet], path: Path) -> None:
    """Write the splits of a data set to one `.npz`, byte for byte the same for the same images."""
    arrays: dict[str, np.ndarray] = {}
    for split, images in splits.items():
        arrays[f"{split}/ids"] = np.array(images.ids)
        if len({image.shape for image in images.images}) == 1:
            arrays[f"{split}/images"] = np.asarray(images.images)
        else:
            for index, image in enumerate(images.images):
                arrays[f"{split}/images/{index}"] = image
        if images.targets is not None:
            arrays[f"{split}/targets"] = images.targets
        for name, values in images.origins.items():
            arrays[f"{split}/origins/{name}"] = values
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def load_split(path: Path, split: str) -> ImageSet:
    """Read one split.

    Raises
    ------
    UserError
        If the file is missing, damaged, or has no such split.
    """
    with open_arrays(path) as arrays:
        if f"{split}/ids" not in arrays:
            raise UserError(
                f"the data set has a split `{split}`.",
                came=f"{path} without it",
                do=f"give the folder of the {split} images in the configuration's `data`.",
            )
        ids = arrays[f"{split}/ids"].tolist()
        prefix = f"{split}/origins/"
        return ImageSet(
            ids=ids,
            images=arrays[f"{split}/images"]
            if f"{split}/images" in arrays
            else [arrays[f"{split}/images/{index}"] for index in range(len(ids))],
            targets=arrays.get(f"{split}/targets"),
            origins={
                name.removeprefix(prefix): arrays[name]
                for name in arrays.files
                if name.startswith(prefix)
            },
        )


def open_arrays(path: Path) -> np.lib.npyio.NpzFile:
    """Open an `.npz` of this project.

    Raises
    ------
    UserError
        If it is missing or damaged.
    """
    try:
        return np.load(path, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            "a step finds the files of the steps before it, whole.",
            came=f"{path}: {error}",
            do="delete the file if it is there, and run the same Snakemake target again.",
        ) from None
