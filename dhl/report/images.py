"""The example images of a run for the report's image browser: every method, at every sigma."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from dhl.config.methods import label_of
from dhl.config.schema import Config
from dhl.data.class_names import IGNORED_LABEL, class_namer
from dhl.report.example_figures import (
    Examples,
    best_square,
    label_color,
    label_picture,
    read_examples,
)
from dhl.run.failures import failure_of
from dhl.run.folder import RunFolder

# What the images of a part may take in the page, before their encoding as text.
BUDGET_BYTES = 3_000_000
LOSSLESS_SIDE = 256  # px: larger denoised images are cropped to it, larger others lose a little
TOP = 5


def browse_images(
    config: Config, folder: RunFolder, *, budget: int = BUDGET_BYTES
) -> list[dict[str, Any]]:
    """Collect what the browser shows.

    Parameters
    ----------
    config : Config
    folder : RunFolder
        Where the evaluations, which keep the examples, lie.
    budget : int
        Bytes of images in a part. Examples are taken in their order while they fit, one at least.

    Returns
    -------
    list of dict
        Per part: `part`, `note` and `sigmas`; per sigma `examples`; per example `id`, `truth` and
        `views`, which have `method`, `label`, `image`, `map`, `classes` (pairs of the name and the
        colour of a class of the map), `says` and `top` (pairs of a class's name and its
        probability). Images are addresses that hold their own data.

    Raises
    ------
    UserError
        If an evaluation is missing, damaged, or kept no examples.
    """
    parts = []
    for part in config.parts:
        grids = {
            sigma: read_examples(config, folder, part, sigma=sigma)
            for sigma in config.parts[part].sigmas
            if failure_of(folder.evaluation(part, sigma)) is None
        }
        if not grids:
            continue
        shown: dict[float, list[dict[str, Any]]] = {sigma: [] for sigma in grids}
        spent = 0
        for index in range(min(len(examples.ids) for examples in grids.values())):
            row = {s: _example(config, part, one, index) for s, one in grids.items()}
            spent += sum(_bytes(example) for example in row.values())
            if index and spent > budget:
                break
            for sigma, example in row.items():
                shown[sigma].append(example)
        parts.append(
            {
                "part": part,
                "note": _note(part, grids),
                "sigmas": [{"sigma": sigma, "examples": shown[sigma]} for sigma in grids],
            }
        )
    return parts


def _note(part: str, grids: dict[float, Examples]) -> str:
    """Say how the shown images differ from the measured ones."""
    sides = [max(one.image("clean", 0).shape) for one in grids.values()]
    if max(sides) <= LOSSLESS_SIDE:
        return "The pixels are those that were measured, rounded to 8 bits."
    if part == "denoising":
        return f"Cut to the {LOSSLESS_SIDE} px square in which brightness varies most."
    return "Compressed with a little loss; the measured images are not."


def _example(config: Config, part: str, examples: Examples, index: int) -> dict[str, Any]:
    """Describe one image after every method, the truth first."""
    square = _square(part, examples.image("clean", index))
    methods = [method for method in examples.methods if method != "clean"]
    views = [_view(config, part, examples, (method, index), square) for method in methods]
    truth = _view(config, part, examples, ("clean", index), square)
    truth["label"] = "Truth"
    names = {"id": examples.ids[index], "views": [truth, *views], "truth": ""}
    if part == "classification":
        names["truth"] = class_namer(config, part)(int(examples.arrays[f"labels/{index}"]))
    return names


def _square(part: str, clean: np.ndarray) -> tuple[slice, slice]:
    """Return what is shown of an image: all of it, or of a large denoised one the busiest part."""
    whole = slice(None), slice(None)
    if part != "denoising" or max(clean.shape) <= LOSSLESS_SIDE:
        return whole
    gray = clean.astype(float).mean(axis=2)
    side = min(LOSSLESS_SIDE, *clean.shape[:2])
    return best_square(gray.shape, lambda square: float(gray[square].var()), side=side)


def _view(
    config: Config,
    part: str,
    examples: Examples,
    place: tuple[str, int],
    square: tuple[slice, slice],
) -> dict[str, Any]:
    """Describe one image after one method."""
    method, index = place
    view: dict[str, Any] = {
        "method": method,
        "label": label_of(method),
        "image": _address(examples.image(method, index)[square]),
    }
    psnr = examples.psnr(method, index)
    view["says"] = "" if np.isnan(psnr) else f"{psnr:.2f} dB"
    key = f"labels/{index}" if method == "clean" else f"prediction/{method}/{index}"
    if part == "segmentation" and key in examples.arrays:
        labels = examples.arrays[key]
        view["map"] = _address(label_picture(labels), lossless=True)
        view["classes"] = _classes(config, labels)
    probability = examples.arrays.get(f"probability/{method}/{index}")
    if part == "classification" and probability is not None:
        name_of = class_namer(config, part)
        best = np.argsort(-probability, kind="stable")[:TOP]
        view["top"] = [[name_of(int(one)), round(float(probability[one]), 4)] for one in best]
    return view


def _classes(config: Config, labels: np.ndarray) -> list[tuple[str, str]]:
    """Return the name and the colour of each class of a label map."""
    name_of = class_namer(config, "segmentation")
    return [
        ("not counted" if label == IGNORED_LABEL else name_of(label), label_color(label))
        for label in np.unique(labels).tolist()
    ]


def _address(image: np.ndarray, *, lossless: bool | None = None) -> str:
    """Encode pixels as an address that holds its own data."""
    if lossless is None:
        lossless = max(image.shape) <= LOSSLESS_SIDE
    buffer = io.BytesIO()
    options = {"lossless": True, "quality": 60} if lossless else {"quality": 90}
    Image.fromarray(image).save(buffer, "WEBP", method=4, **options)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _bytes(example: dict[str, Any]) -> int:
    """Return how many bytes the images of an example take."""
    return sum(len(address) * 3 // 4 for address in _addresses(example))


def _addresses(example: dict[str, Any]) -> Iterator[str]:
    """Yield the addresses of an example's images."""
    for view in example["views"]:
        yield from (view[key] for key in ("image", "map") if key in view)
