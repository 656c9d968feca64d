"""The example images of a run for the image browser of the report: each method at each sigma."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from dhl.config.methods import base_of, label_of, part_name
from dhl.config.schema import Config
from dhl.data.class_names import IGNORED_LABEL
from dhl.report.example_figures import (
    Examples,
    label_color,
    label_picture,
    read_examples,
)
from dhl.report.squares import SHOWN_SIDE, square_to_show
from dhl.report.templates import webp_url
from dhl.run.failures import failure_of
from dhl.run.folder import RunFolder

BUDGET_BYTES = 400_000  # of the images of a part, before they are encoded as text
TOP = 5


def browse_images(
    config: Config, folder: RunFolder, *, budget: int = BUDGET_BYTES
) -> list[dict[str, Any]]:
    """Collect the content of the browser.

    Parameters
    ----------
    config : Config
    folder : RunFolder
        With the evaluations, which store the example images.
    budget : int
        Bytes for the images of a part: examples are added in order while they fit; the first is
        always included.

    Returns
    -------
    list of dict
        Per part: `part`, `name`, `note` and `sigmas`; per sigma `examples`; per example `id`,
        `truth` and `views`, which have `method`, `label`, `image`, `map`, `classes` (pairs of the
        name and the colour of a class of the map), `says` (the PSNR) and `top` (pairs of the name
        of a class and its probability). Images are data URLs.
    """
    parts = []
    for part in config.parts:
        grids = {
            sigma: read_examples(config, folder, part, sigma=sigma)
            for sigma in sorted(config.parts[part].sigmas)
            if failure_of(folder.evaluation(part, sigma)) is None
        }
        if not grids:
            continue
        shown: dict[float, list[dict[str, Any]]] = {sigma: [] for sigma in grids}
        spent = 0
        for index in range(min(len(examples.ids) for examples in grids.values())):
            row = {s: _example(part, one, index) for s, one in grids.items()}
            spent += sum(len(url) * 3 // 4 for url in _urls(row.values()))
            if index and spent > budget:
                break
            for sigma, example in row.items():
                shown[sigma].append(example)
        parts.append(
            {
                "part": part,
                "name": part_name(part),
                "note": _note(part, grids),
                "sigmas": [{"sigma": sigma, "examples": shown[sigma]} for sigma in grids],
            }
        )
    return parts


def share_images(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the browser's content with each image once.

    A retrained network gets the noisy image, and a clean image is the same at each sigma.

    Parameters
    ----------
    parts : list of dict
        From `browse_images`; `image` and `map` of each view are replaced by indices.

    Returns
    -------
    dict
        `images`, the data URLs, and `parts`.
    """
    examples = [example for part in parts for one in part["sigmas"] for example in one["examples"]]
    index_of = {url: index for index, url in enumerate(_urls(examples))}
    for example in examples:
        for view in example["views"]:
            view.update({key: index_of[view[key]] for key in ("image", "map") if key in view})
    return {"images": list(index_of), "parts": parts}


def _urls(examples: Iterable[dict[str, Any]]) -> dict[str, None]:
    """Return the different images of examples, in order."""
    views = [view for example in examples for view in example["views"]]
    return dict.fromkeys(view[key] for view in views for key in ("image", "map") if key in view)


def _note(part: str, grids: dict[float, Examples]) -> str:
    """Say how the shown images differ from the evaluated images."""
    sides = [max(one.image("clean", 0).shape) for one in grids.values()]
    if max(sides) <= SHOWN_SIDE:
        return "The pixels of the evaluated images, rounded to 8 bits."
    if base_of(part) == "denoising":
        return f"Cropped to the {SHOWN_SIDE} px square in which brightness varies most."
    return "Compressed with a small loss for this page; the evaluated images were not."


def _example(part: str, examples: Examples, index: int) -> dict[str, Any]:
    """Describe one image: the clean image first, then the result of each method."""
    square = square_of(part, examples.image("clean", index))
    methods = dict.fromkeys(("clean", *examples.methods))
    views = [view_of(part, examples, (method, index), square) for method in methods]
    views[0]["label"] = "Ground truth"
    names = {"id": examples.ids[index], "views": views, "truth": ""}
    if part == "classification":
        names["truth"] = examples.name_of(int(examples.arrays[f"labels/{index}"]))
    return names


def square_of(part: str, clean: np.ndarray) -> tuple[slice, slice]:
    """Return the region to show: a square of a large denoising image, else the whole image."""
    return square_to_show(clean) if base_of(part) == "denoising" else (slice(None), slice(None))


def view_of(
    part: str, examples: Examples, key: tuple[str, int], square: tuple[slice, slice]
) -> dict[str, Any]:
    """Describe the result of one method on one image; `key` is (method, index)."""
    method, index = key
    psnr = examples.psnr(method, index)
    view: dict[str, Any] = {
        "method": method,
        "label": label_of(method),
        "image": _data_url(examples.image(method, index)[square]),
        "says": "" if np.isnan(psnr) else f"{psnr:.2f} dB",
    }
    name = f"labels/{index}" if method == "clean" else f"prediction/{method}/{index}"
    if part == "segmentation" and name in examples.arrays:
        labels, name_of = examples.arrays[name], examples.name_of
        view["map"] = _data_url(label_picture(labels), lossless=True)
        view["classes"] = [
            ("not counted" if label == IGNORED_LABEL else name_of(label), label_color(label))
            for label in np.unique(labels).tolist()
        ]
    probability = examples.arrays.get(f"probability/{method}/{index}")
    if part == "classification" and probability is not None:
        name_of = examples.name_of
        best = np.argsort(-probability, kind="stable")[:TOP]
        view["top"] = [[name_of(int(one)), round(float(probability[one]), 4)] for one in best]
    return view


def _data_url(image: np.ndarray, *, lossless: bool = False) -> str:
    """Encode pixels as a data URL; an image up to `SHOWN_SIDE` is always lossless."""
    lossless = lossless or max(image.shape) <= SHOWN_SIDE
    options = {"lossless": True, "quality": 60} if lossless else {"quality": 70}
    return webp_url(Image.fromarray(image), method=4, **options)
