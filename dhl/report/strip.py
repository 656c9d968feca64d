"""The strip of images at the top of the report: one test image after each method."""

from __future__ import annotations

from typing import Any

from dhl.config.methods import label_of
from dhl.config.schema import Config
from dhl.data.class_names import IGNORED_LABEL
from dhl.report.example_figures import Examples, read_examples
from dhl.report.images import square_of, view_of
from dhl.run.failures import NothingToShow
from dhl.run.folder import RunFolder

_ORDER = ("segmentation", "classification", "denoising")  # the first with results is shown
_SHOWN = ("noisy", "cbm3d", "separate", "separate-matched", "joint", "joint-segmentation")


def read_strip(config: Config, folder: RunFolder) -> dict[str, Any] | None:
    """Describe the first test image at the highest sigma: truth, and the result of each method.

    Returns
    -------
    dict or None
        `part`, `sigma`, the image's `id`, the `classes` of all label maps (pairs of name and
        colour), and `views` as `dhl.report.images.view_of` returns them, with
        `note`: the PSNR, the predicted class, or the share of pixels with the right label. None if
        all evaluations at the highest sigma failed.
    """
    for part in (name for name in _ORDER if name in config.parts):
        try:
            sigma = max(config.parts[part].sigmas)
            return _strip(part, read_examples(config, folder, part, sigma=sigma))
        except NothingToShow:
            continue
    return None


def _strip(part: str, examples: Examples) -> dict[str, Any]:
    square = square_of(part, examples.image("clean", 0))
    methods = ["clean", *(name for name in _SHOWN if name in examples.methods)]
    views = [view_of(part, examples, (method, 0), square) for method in methods]
    for method, view in zip(methods, views, strict=True):
        view["label"] = "Ground truth" if method == "clean" else label_of(method)
        view["note"] = _note(part, examples, method, view)
    classes = dict(pair for view in views for pair in view.get("classes", ()))
    return {
        "part": part,
        "sigma": examples.sigma,
        "id": examples.ids[0],
        "views": views,
        "classes": list(classes.items()),
    }


def _note(part: str, examples: Examples, method: str, view: dict[str, Any]) -> str:
    """Say how good a result is."""
    if part == "segmentation" and method != "clean":
        truth = examples.arrays["labels/0"]
        right = (examples.arrays[f"prediction/{method}/0"] == truth)[truth != IGNORED_LABEL]
        return f"{100 * right.mean():.0f} % right" if right.size else "no labelled pixel"
    if part == "classification" and "top" in view:
        name, share = view["top"][0]
        return f"{name}, {100 * share:.0f} %"
    return view["says"]
