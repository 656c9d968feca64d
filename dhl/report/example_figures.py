"""Figures of example images, as the paper's Fig. 4 and Fig. 5."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from scipy import ndimage

from dhl.config.methods import METHODS, label_of
from dhl.config.schema import Config
from dhl.data.class_names import IGNORED_LABEL, class_namer
from dhl.errors import UserError
from dhl.report.figure_style import WIDTH
from dhl.report.squares import busiest_square, disagreement_square
from dhl.run.failures import NothingToShow, failure_of
from dhl.run.folder import RunFolder
from dhl.run.results import open_arrays, read_image_rows

BOX = "#ff2d2d"
_ZOOMED = (
    "noisy", "cbm3d", "mcwnnm", "tnrd", "dncnn", "separate", "joint-classification",
    "joint-segmentation",
)  # fmt: skip
_CLASSIFIED = (
    "clean", "noisy", "cbm3d", "mcwnnm", "tnrd", "dncnn", "separate", "separate-matched", "joint",
    "cross", "retrained",
)  # fmt: skip
_MAPPED = ("noisy", "separate", "joint", "cross")
_MAX_IMAGES, _MAX_LINES = 2, 4
_COLUMNS = 4  # of small images with text that is legible on a phone
_LINE = 1.62  # inches: the height of a line of such images
# Background, twenty-one classes, and ignored pixels.
LABEL_COLORS = (
    "#2b2b33", "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e69f00",
    "#bbbbbb", "#7b5bd6", "#9c6b3f", "#88ccaa", "#cc99bb", "#dd7733", "#99bb33", "#336666",
    "#ddbbaa", "#5566cc", "#b0d050", "#c05050", "#70a0a0", "#d0a0d0", "#ffffff",
)  # fmt: skip


@dataclass(frozen=True)
class Examples:
    """The example images of one part at one sigma."""

    sigma: float
    methods: tuple[str, ...]  # with results, in the order of the configuration
    ids: tuple[str, ...]
    arrays: dict[str, np.ndarray]  # keyed as in the file, such as `image/joint/0`
    rows: pd.DataFrame  # of the evaluation, one per image and method
    name_of: Callable[[int], str]  # the name of a class

    def image(self, method: str, index: int) -> np.ndarray:
        """Return the input of the task network, uint8 (H, W, 3)."""
        if method == "clean":
            return self.arrays[f"clean/{index}"]
        return self.arrays[f"image/{method}/{index}"]

    def psnr(self, method: str, index: int) -> float:
        """Return the PSNR in dB from the evaluation; NaN if it has none."""
        return self._psnr.get((method, self.ids[index]), float("nan"))

    @cached_property
    def _psnr(self) -> dict[tuple[str, str], float]:
        keys = zip(self.rows["method"], self.rows["image_id"], strict=True)
        return dict(zip(keys, self.rows["psnr"], strict=True))


def example_sigma(grid: tuple[float, ...]) -> float:
    """Choose the sigma of the example figures: the second highest, or the only one."""
    return sorted(grid)[-2:][0]


def read_examples(
    config: Config, folder: RunFolder, part: str, *, sigma: float | None = None
) -> Examples:
    """Read the example images of a part, by default at `example_sigma`.

    A failed evaluation raises `NothingToShow`.
    """
    sigma = sigma or example_sigma(config.parts[part].sigmas)
    path = folder.evaluation(part, sigma)
    if (reason := failure_of(path)) is not None:
        raise NothingToShow(f"{part} at sigma {sigma:g}: {reason}")
    rows = read_image_rows(path)
    with open_arrays(path.with_suffix(".npz")) as file:
        kinds = ("example_ids", "clean/", "labels/", "image/", "prediction/", "probability/")
        arrays = {name: file[name] for name in file if name.startswith(kinds)}
    ids = arrays.get("example_ids", np.array([]))
    if not len(ids):
        raise UserError(
            f"{path.with_suffix('.npz')} has no example images for the figures.",
            came="an empty list `example_ids`",
            do="delete the file and run the evaluation again.",
        )
    evaluated = set(rows["method"])
    methods = tuple(name for name in config.parts[part].methods if name in evaluated)
    name_of = class_namer(config, folder, part)
    return Examples(sigma, methods, tuple(map(str, ids)), arrays, rows, name_of)


def example_denoising(config: Config, folder: RunFolder) -> Figure:
    """Draw clean images, and a boxed square of them after each method (the paper's Fig. 4)."""
    examples = read_examples(config, folder, "denoising")
    shown = min(_MAX_IMAGES, len(examples.ids))
    zooms = [*_chosen(_ZOOMED, examples), "clean"]
    lines = -(-(1 + len(zooms)) // _COLUMNS)
    figure = Figure(figsize=(WIDTH, shown * lines * _LINE), layout="constrained")
    panels = figure.subplots(shown * lines, _COLUMNS, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for index in range(shown):
        clean = examples.image("clean", index)
        box = busiest_square(clean)
        complete, *others = panels[index * lines : (index + 1) * lines].flat
        _show(complete, clean, textwrap.fill(f"Clean: {examples.ids[index]}", 22, max_lines=3))
        _draw_box(complete, box)
        for axes, method in zip(others, zooms):
            label = "Ground truth" if method == "clean" else _short(method)
            _show(axes, examples.image(method, index)[box], label)
            if method != "clean":
                axes.set_xlabel(f"{examples.psnr(method, index):.2f} dB", fontsize=8, labelpad=2)
    return figure


def _chosen(methods: tuple[str, ...], examples: Examples) -> list[str]:
    """Return those of `methods` that have results, then all plug-ins."""
    plugins = [method for method in examples.methods if method not in METHODS]
    return [*(method for method in methods if method in examples.methods), *plugins]


def example_segmentation(config: Config, folder: RunFolder) -> Figure:
    """Draw images over their label maps, boxed where separate fails (the paper's Fig. 5)."""
    examples = read_examples(config, folder, "segmentation")
    shown = min(_MAX_IMAGES, len(examples.ids))
    columns = ["clean", *_chosen(_MAPPED, examples)]
    sides = [examples.image("clean", index).shape[:2] for index in range(shown)]
    # Photographs have different shapes, so each row has the height of its image.
    heights = [WIDTH / len(columns) * height / width + 0.1 for height, width in sides]
    figure = Figure(figsize=(WIDTH, 2 * sum(heights) + 0.4), layout="constrained")
    panels = figure.subplots(
        2 * shown, len(columns), squeeze=False, height_ratios=np.repeat(heights, 2).tolist()
    )
    name_of = examples.name_of
    for index in range(shown):
        box = None
        if {"separate", "joint"} <= set(examples.methods):
            box = disagreement_square(
                examples.arrays[f"labels/{index}"],
                separate=examples.arrays[f"prediction/separate/{index}"],
                joint=examples.arrays[f"prediction/joint/{index}"],
            )
        for image_axes, map_axes, method in zip(
            panels[2 * index], panels[2 * index + 1], columns, strict=True
        ):
            name = "Ground truth" if method == "clean" else _short(method)
            _show(image_axes, examples.image(method, index), name if index == 0 else "")
            key = f"labels/{index}" if method == "clean" else f"prediction/{method}/{index}"
            _show_labels(map_axes, examples.arrays[key], name_of)
            if box:
                _draw_box(image_axes, box)
                _draw_box(map_axes, box)
        panels[2 * index, 0].set_ylabel("Image", fontsize=8)
        panels[2 * index + 1, 0].set_ylabel("Label map", fontsize=8)
    shown_maps = [
        examples.arrays[f"labels/{index}" if method == "clean" else f"prediction/{method}/{index}"]
        for index in range(shown)
        for method in columns
    ]
    _add_legend(figure, shown_maps, name_of)
    return figure


def _add_legend(figure: Figure, maps: list[np.ndarray], name_of: Callable[[int], str]) -> None:
    """Explain the colours of label maps below a figure."""
    found = sorted({int(label) for labels in maps for label in np.unique(labels)})
    patches = [
        Patch(
            facecolor=label_color(label), edgecolor="#9a9a9a", linewidth=0.5,
            label="not counted" if label == IGNORED_LABEL else name_of(label),
        )
        for label in found
    ]  # fmt: skip
    figure.legend(
        handles=patches, loc="outside lower center", ncols=min(7, len(patches)), fontsize=8,
        handlelength=1, handleheight=1, columnspacing=1, handletextpad=0.4,
    )  # fmt: skip


def example_classification(config: Config, folder: RunFolder) -> Figure:
    """Draw the input of the classifier, with the predicted class and its probability."""
    examples = read_examples(config, folder, "classification")
    methods, name_of = _chosen(_CLASSIFIED, examples), examples.name_of
    lines = -(-len(methods) // _COLUMNS)
    shown = min(max(1, _MAX_LINES // lines), len(examples.ids))
    figure = Figure(figsize=(WIDTH, shown * lines * _LINE), layout="constrained")
    panels = figure.subplots(shown * lines, _COLUMNS, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for index in range(shown):
        truth = int(examples.arrays[f"labels/{index}"])
        cells = panels[index * lines : (index + 1) * lines]
        for axes, method in zip(cells.flat, methods):
            _show(axes, examples.image(method, index), _short(method))
            probability = examples.arrays[f"probability/{method}/{index}"]
            guess = int(np.argmax(probability))
            mark, color = ("✓", "#00664a") if guess == truth else ("✗", "#b03a00")
            text = f"{_short_name(name_of(guess))} {mark} {100 * probability[guess]:.0f} %"
            axes.set_xlabel(text, fontsize=8, color=color, labelpad=2)
        cells[0, 0].set_ylabel(f"Class: {_short_name(name_of(truth))}", fontsize=8)
    return figure


def _short_name(name: str) -> str:
    """Shorten the name of a class for a narrow panel."""
    short = textwrap.shorten(name, width=14, placeholder="…")
    return f"{name[:13]}…" if short == "…" else short  # a long word would be left out


def _short(method: str) -> str:
    """Break a long label into lines for a narrow panel."""
    label = label_of(method).removesuffix(" image")
    return textwrap.fill(label, width=12, break_long_words=False)


def _show(axes: Axes, image: np.ndarray, title: str) -> None:
    """Show an image without ticks and grid, but with room for labels."""
    axes.set_axis_on()
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title, fontsize=8, loc="center")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)


def _show_labels(axes: Axes, labels: np.ndarray, name_of: Callable[[int], str]) -> None:
    """Show a label map in colours, with the name of the class in each region."""
    _show(axes, label_picture(labels), "")
    for label in np.setdiff1d(np.unique(labels), [0, IGNORED_LABEL]):
        name = name_of(int(label))
        for row, column in _region_centres(labels == label):
            axes.text(
                column, row, name, fontsize=7, color="black", ha="center", va="center",
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "alpha": 0.8, "lw": 0},
            )  # fmt: skip


def label_picture(labels: np.ndarray) -> np.ndarray:
    """Return a label map (H, W) in the colours of its classes: uint8 (H, W, 3)."""
    found, indices = np.unique(labels, return_inverse=True)
    palette = [[*bytes.fromhex(label_color(label)[1:])] for label in found]
    return np.array(palette, np.uint8)[indices.reshape(labels.shape)]


def label_color(label: int) -> str:
    """Return the colour of a class of label maps."""
    return LABEL_COLORS[-1 if label == IGNORED_LABEL else label % (len(LABEL_COLORS) - 1)]


def _region_centres(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return the pixel nearest to the centre of each region that has room for a name."""
    regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
    centres = []
    for region in range(1, count + 1):
        rows, columns = np.nonzero(regions == region)
        if len(rows) >= 0.006 * mask.size:
            nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
            centres.append((int(rows[nearest]), int(columns[nearest])))
    return centres


def _draw_box(axes: Axes, box: tuple[slice, slice]) -> None:
    """Draw the outline of a square of pixels."""
    rows, columns = box
    size = (columns.stop - columns.start, rows.stop - rows.start)
    corner = (columns.start - 0.5, rows.start - 0.5)
    # A white outline, because photographs can be as red as the box.
    rim = [withStroke(linewidth=3, foreground="white")]
    axes.add_patch(
        Rectangle(corner, *size, fill=False, edgecolor=BOX, linewidth=1.4, path_effects=rim)
    )
