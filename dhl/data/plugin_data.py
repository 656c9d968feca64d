"""Images that a plug-in makes or reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from dhl.config.data_sets import PluginData
from dhl.config.plugins import PluginError, described, load_plugin, running, wrong_result
from dhl.config.schema import Config
from dhl.data.class_names import IGNORED_LABEL
from dhl.data.folder import SMALLEST_MEASURED_SIDE
from dhl.data.groups import GROUPS
from dhl.data.image_set import ImageSet
from dhl.run.free_text import readable
from dhl.seeding import derive_seed

REQUIRED, POSSIBLE = ("train", "test"), ("train", "validation", "test")
KEYS = ("images", "targets", "ids", "groups")
_SPLIT = f"a dict of {', '.join(f'`{key}`' for key in KEYS)} for each split"
_SEQUENCES = (list, tuple, np.ndarray)
_IMAGES = "`images` as uint8 arrays (H, W, 3), at least one"


def make_plugin_part(config: Config, part: str) -> dict[str, ImageSet]:
    """Call the plug-in of a part, check its result, and return the image sets by split.

    Raises
    ------
    PluginError
        If the plug-in fails, or its result is not as documented.
    """
    data = config.parts[part].data
    function = load_plugin(data.kind).function
    seed = derive_seed(config.base_seed, "own data", data.name, part)
    with running(data.kind):
        splits = function(part, seed=seed, **data.options)
    if not isinstance(splits, Mapping):
        raise _wrong(data, "a dict of splits, `train` and `test`", described(splits))
    wanted = "the splits `train` and `test`, and optionally `validation`"
    for name in REQUIRED:
        if name not in splits:
            raise _wrong(data, wanted, f"no `{name}` among {', '.join(map(str, splits)) or 'none'}")
    for name in splits:
        if name not in POSSIBLE:
            raise _wrong(data, wanted, f"a split `{name}`")
    return {name: _split(data, part, name, splits[name]) for name in POSSIBLE if name in splits}


def _split(data: PluginData, part: str, split: str, content: Any) -> ImageSet:
    """Check one split and turn it into an image set."""
    if not isinstance(content, Mapping):
        raise _wrong(data, _SPLIT, f"{split}: {described(content)}")
    if unknown := [key for key in content if key not in KEYS]:
        raise _wrong(data, _SPLIT, f"{split}: `{unknown[0]}`")
    images = _images(data, part, split, content.get("images"))
    ids = _ids(data, split, content.get("ids"), len(images))
    targets = _targets(data, (part, split), content.get("targets"), images)
    groups = content.get("groups")
    origins = {} if groups is None else {GROUPS: _groups(data, split, groups, len(images))}
    return ImageSet(ids, images, targets, origins, data.classes)


def _images(data: PluginData, part: str, split: str, images: Any) -> Any:
    """Check the images of a split; images of one size become one array."""
    least = SMALLEST_MEASURED_SIDE if part == "denoising" else 8
    if not isinstance(images, _SEQUENCES) or not len(images):
        came = "no image" if isinstance(images, _SEQUENCES) else described(images)
        raise _wrong(data, _IMAGES, f"{split}: {came}")
    for image in images:
        fits = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
        if not fits or image.shape[2] != 3 or not image.size:
            raise _wrong(data, _IMAGES, f"{split}: {described(image)}")
        if min(image.shape[:2]) < least:
            expected = f"images of at least {least} px a side for {part}"
            raise _wrong(data, expected, f"{split}: {described(image)}")
    one_size = len({image.shape for image in images}) == 1
    return np.ascontiguousarray(images) if one_size else list(images)


def _ids(data: PluginData, split: str, ids: Any, count: int) -> list[str]:
    """Check the names of the images, or number the images."""
    if ids is None:
        return [f"{split}-{index:05d}" for index in range(count)]
    expected = "`ids` as unique strings, one for each image"
    if not isinstance(ids, _SEQUENCES):
        raise _wrong(data, expected, f"{split}: {described(ids)}")
    if len(ids) != count:
        raise _wrong(data, expected, f"{split}: {len(ids)} ids for {count} images")
    found = [str(name) for name in ids if isinstance(name, str) and name]
    if len(found) < count:
        raise _wrong(data, expected, f"{split}: an id that is empty or not a string")
    name, times = Counter(found).most_common(1)[0]
    if times > 1:
        raise _wrong(data, expected, f"{split}: `{name}` {times} times")
    return found


def _groups(data: PluginData, split: str, groups: Any, count: int) -> np.ndarray:
    """Check the groups of the images."""
    expected = "`groups` as strings or integers, one for each image"
    if not isinstance(groups, _SEQUENCES) or len(groups) != count:
        raise _wrong(data, expected, f"{split}: {described(groups)} for {count} images")
    if wrong := [group for group in groups if not isinstance(group, str | int | np.integer)]:
        raise _wrong(data, expected, f"{split}: {described(wrong[0])}")
    return np.array([readable(str(group)) for group in groups])


def _targets(
    data: PluginData, part_split: tuple[str, str], targets: Any, images: Any
) -> np.ndarray | None:
    """Check the classes or label maps of a split."""
    part, split = part_split
    if part == "denoising":
        if targets is not None:
            raise _wrong(data, "no `targets` for denoising", f"{split}: {described(targets)}")
        return None
    maps = part == "segmentation"
    if maps and isinstance(images, list):
        raise _wrong(data, "images of one size for segmentation", f"{split}: several sizes")
    shape = (len(images), *images.shape[1:3]) if maps else (len(images),)
    kind = "label maps (N, H, W)" if maps else "classes (N,)"
    expected = f"`targets` as an array of integers, {kind}"
    try:
        array = np.asarray(targets)
    except ValueError:  # maps of several sizes
        raise _wrong(data, expected, f"{split}: label maps of several sizes") from None
    if array.shape != shape or array.dtype.kind not in "iu":
        raise _wrong(data, f"{expected}, here {shape}", f"{split}: {described(array)}")
    assert data.classes is not None, "the configuration of a task has classes"
    strange = (array < 0) | (array >= data.classes)
    strange &= ~(maps & (array == IGNORED_LABEL))
    if strange.any():
        ignored = f", or {IGNORED_LABEL} (ignored)" if maps else ""
        expected = f"targets from 0 to {data.classes - 1}{ignored} (`classes: {data.classes}`)"
        raise _wrong(data, expected, f"{split}: {array[strange].ravel()[0]}")
    return array.astype(np.uint8 if maps else np.int64)


def _wrong(data: PluginData, expected: str, came: str) -> PluginError:
    """Return the error for a wrong result."""
    return wrong_result(data.kind, expected=expected, came=came)
