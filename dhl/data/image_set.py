"""A split of a data set: clean images, in memory or in files, with names and targets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dhl.config.recipes import Recipe
from dhl.data.class_names import IGNORED_LABEL
from dhl.data.image_files import ImageFiles, LabelFiles, Preparation, encoded
from dhl.errors import UserError
from dhl.run.free_text import readable
from dhl.run.results import damaged_arrays, open_arrays, result_path

BATCH_PIXELS = 2**22  # of a batch of test images: a map of 64 channels takes 1 GB


@dataclass(frozen=True)
class ImageSet:
    """The clean images of a split.

    Attributes
    ----------
    ids : sequence of str
        Unique names.
    images : sequence of ndarray, uint8, each (H, W, 3)
        One array (N, H, W, 3) if all are in memory and have one size; `ImageFiles` are decoded on
        demand.
    targets : ndarray, LabelFiles or None
        Classes (N,), or label maps (H, W) as one array or as files with 255 for ignored pixels.
    origins : mapping of str to ndarray
        Sources of each image; splits share none.
    classes : int or None
        Number of classes; None without targets.
    content : str
        Digest of the bytes of images and label maps in files.
    class_names : sequence of str
        Names of the classes; empty if they have only numbers.
    """

    ids: Sequence[str]
    images: Sequence[np.ndarray] | np.ndarray
    targets: np.ndarray | LabelFiles | None = None
    origins: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: int | None = None
    content: str = ""
    class_names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_label_maps(self) -> bool:
        """Whether each target is a label map."""
        return self.targets is not None and (
            isinstance(self.targets, LabelFiles) or self.targets.ndim == 3
        )

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of each image, shape (N, 2), without decoding files."""
        if isinstance(self.images, ImageFiles):
            return self.images.sizes
        return np.array([image.shape[:2] for image in self.images])

    def batches(self, size: int) -> Iterator[slice]:
        """Yield slices of at most `size` consecutive images of one shape.

        There are fewer of large images, but at least one: their pixels are at most `BATCH_PIXELS`.
        """
        start, sizes = 0, self.sizes.tolist()
        for end in range(1, len(self) + 1):
            height, width = sizes[start]
            most = min(size, max(1, BATCH_PIXELS // (height * width)))
            full = end - start == most or end == len(self)
            if full or sizes[end] != sizes[start]:
                yield slice(start, end)
                start = end


def save_splits(
    splits: Mapping[str, ImageSet], path: Path, *, left_out: Sequence[str] = ()
) -> None:
    """Write the splits of a data set to one `.npz` with reproducible bytes.

    Images in files are not copied: the file has their paths, sizes, targets and preparation. Names
    of images, and those `left_out` of the folders, are written as `readable`.
    """
    arrays: dict[str, Any] = {}
    if left_out:
        arrays["left_out"] = np.array(list(map(readable, left_out)))
    for split, images in splits.items():
        images = replace(images, ids=list(map(readable, images.ids)))
        files = images.images
        content = _index(images, files) if isinstance(files, ImageFiles) else _pixels(images)
        arrays |= {f"{split}/{name}": values for name, values in content.items()}
        if images.classes is not None:
            arrays["classes"] = np.array(images.classes)
        if images.class_names:
            arrays["class_names"] = encoded(images.class_names)
    with result_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def _pixels(images: ImageSet) -> dict[str, np.ndarray]:
    """Return the arrays of a split in memory."""
    arrays = {"ids": np.array(images.ids)}
    if len({image.shape for image in images.images}) == 1:
        arrays["images"] = np.asarray(images.images)
    else:
        arrays |= {f"images/{index}": image for index, image in enumerate(images.images)}
    if images.targets is not None:
        arrays["targets"] = np.asarray(images.targets)
    return arrays | _origins(images)


def _origins(images: ImageSet) -> dict[str, np.ndarray]:
    """Return the arrays of the origins of a split."""
    return {f"origins/{name}": values for name, values in images.origins.items()}


def _index(images: ImageSet, files: ImageFiles) -> dict[str, np.ndarray]:
    """Return the arrays of a split in files."""
    arrays = {
        "folder": encoded([str(files.folder)]),
        "ids": np.char.encode(images.ids, "utf-8"),
        "paths": files.names,
        "sizes": files.sizes,
        "resize": np.array(files.preparation.resize or 0),  # 0 is None
        "crop": np.array(files.preparation.crop or 0),
        "damaged": np.array(files.damaged),
        "content": np.array(images.content),
    }
    if isinstance(images.targets, LabelFiles):
        arrays["label_paths"] = images.targets.names
        if images.targets.void != IGNORED_LABEL:
            arrays["void"] = np.array(images.targets.void)
    elif images.targets is not None:
        arrays["targets"] = images.targets
    return arrays | _origins(images)


def load_split(path: Path, split: str) -> ImageSet:
    """Read one split; image files are read later, on demand.

    Raises
    ------
    UserError
        If the file is missing, damaged, or has no such split.
    """
    with open_arrays(path) as arrays:
        if f"{split}/ids" not in arrays:
            raise UserError(
                f"The data set has no split `{split}`.",
                came=f"{path} without `{split}`",
                do=f"add the folder of the {split} images to `data` in the configuration.",
            )
        content = _below(f"{split}/", arrays)
        classes = int(arrays["classes"]) if "classes" in arrays else None
    try:
        return _from_index(content, classes) if "paths" in content else _in_memory(content, classes)
    except LookupError as error:
        raise damaged_arrays(path, f"no {error}") from None


def read_ids(path: Path, split: str) -> list[str]:
    """Return the names of the images of a split; none if a run has no such split."""
    if not path.exists():
        return []
    with open_arrays(path) as arrays:
        return [os.fsdecode(name) for name in arrays.get(f"{split}/ids", ())]


def read_origins(path: Path, split: str) -> dict[str, dict[str, str | int]]:
    """Return the recorded origins of the images of a split: by kind, then by image name.

    A kind of which an image has several, such as the digits of a label map, is left out.
    """
    ids = read_ids(path, split)
    if not ids:
        return {}
    with open_arrays(path) as arrays:
        kinds = _below(f"{split}/origins/", arrays)
        single = {kind: first for kind, of in kinds.items() if (first := _only_one(of)) is not None}
        return {kind: dict(zip(ids, of.tolist(), strict=True)) for kind, of in single.items()}


def _only_one(origins: np.ndarray) -> np.ndarray | None:
    """Return the one origin of each image; None if an image has several. -1 fills up a row."""
    if origins.ndim == 1:
        return origins
    return origins[:, 0] if (origins[:, 1:] == -1).all() else None


def _below(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays whose names start with a prefix, without the prefix."""
    found = [name for name in arrays if name.startswith(prefix)]
    return {name.removeprefix(prefix): arrays[name] for name in found}


def _in_memory(content: dict[str, np.ndarray], classes: int | None) -> ImageSet:
    """Return the split from the arrays of `_pixels`."""
    ids = content["ids"].tolist()
    return ImageSet(
        ids=ids,
        images=content["images"]
        if "images" in content
        else [content[f"images/{index}"] for index in range(len(ids))],
        targets=content.get("targets"),
        origins=_below("origins/", content),
        classes=classes,
    )


def _from_index(content: dict[str, np.ndarray], classes: int | None) -> ImageSet:
    """Return the split from the arrays of `_index`."""
    folder = Path(os.fsdecode(content["folder"][0]))
    preparation = Preparation(int(content["resize"]) or None, int(content["crop"]) or None)
    targets: np.ndarray | LabelFiles | None = content.get("targets")
    if "label_paths" in content and classes is not None:
        void = int(content.get("void", IGNORED_LABEL))
        targets = LabelFiles(folder, content["label_paths"], classes, void=void)
    return ImageSet(
        ids=np.char.decode(content["ids"], "utf-8").tolist(),
        images=ImageFiles(
            folder,
            content["paths"],
            content["sizes"],
            preparation=preparation,
            damaged="skip" if content["damaged"] == "skip" else "stop",
        ),
        targets=targets,
        origins=_below("origins/", content),
        classes=classes,
        content=str(content["content"]),
    )


def check_sizes(images: ImageSet, recipe: Recipe) -> None:
    """Raise a `UserError` if the images cannot form batches."""
    sizes, patch = np.asarray(images.sizes), recipe.patch
    if patch is not None:
        mistake = f"is smaller than a patch of {patch} px"
        wrong = (sizes.min(1) < patch) & (not images.has_label_maps)
    elif (wrong := (sizes != sizes[0]).any(1)).any():
        mistake = "differs in size from the first one, and no `patch` is set"
    else:
        mistake = "is not square and cannot be rotated without a `patch`"
        wrong = (sizes[:, 0] != sizes[:, 1]) & (recipe.augment == "dihedral")
    if wrong.any():
        first = int(wrong.argmax())
        raise UserError(
            f"The training image `{images.ids[first]}` {mistake}.",
            came=f"`{images.ids[first]}` has {sizes[first][1]} x {sizes[first][0]} px",
            do="remove or enlarge it, or lower `patch`." if patch
            else "set `patch` in the recipe; `augment: mirror` rotates nothing.",
        )  # fmt: skip
