"""The style of figures: one colour and marker per method, and reproducible files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dhl.config.schema import Config
from dhl.run.outputs import FIGURE_FORMATS
from dhl.run.results import result_path

WIDTH = 4.8  # inches: text of 9 points stays legible on a phone, 360 px wide
MANUSCRIPT = (7.0, 8.75)  # inches: width and height of the text of a two-column page
# No date and version: equal results give equal files.
_METADATA = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_SETTINGS: dict[Any, object] = {
    "svg.hashsalt": "dhl",
    "text.parse_math": False,  # the name of an image may have dollar signs
    "pdf.fonttype": 42,  # TrueType: publishers refuse the default, Type 3
    "font.family": "DejaVu Sans",  # comes with matplotlib, so all machines draw the same
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "legend.frameon": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "grid.color": "#e4e4e4",
    "axes.edgecolor": "#9a9a9a",
}


class MethodStyle(NamedTuple):
    """How one method is drawn in every figure; its marker is as unique as its colour."""

    color: str
    marker: str | tuple[int, int, int]
    line: str


# The palettes of Okabe and Ito and of Tol, which are safe for colour-blind readers. Dashed lines
# show methods without a denoiser, dotted lines the controls of joint denoisers. `separate-matched`
# is drawn as a method of its own.
STYLES = {
    "clean": MethodStyle("#000000", "D", "--"),
    "noisy": MethodStyle("#8a8a8a", "X", "--"),
    "cbm3d": MethodStyle("#e69f00", "s", "-"),
    "cbm3d-package": MethodStyle("#ccbb44", (7, 0, 0), "-"),
    "cbm3d-2020": MethodStyle("#a66f00", "d", "-"),
    "mcwnnm": MethodStyle("#8c564b", (7, 1, 0), "-"),
    "tnrd": MethodStyle("#9467bd", (3, 0, 45), "-"),
    "dncnn": MethodStyle("#cc79a7", "^", "-"),
    "separate": MethodStyle("#56b4e9", "o", "-"),
    "separate-matched": MethodStyle("#0072b2", "v", "-"),
    "joint": MethodStyle("#d55e00", "*", "-"),
    "cross": MethodStyle("#009e73", "P", "-"),
    "cross-matched": MethodStyle("#4fb39a", (4, 1, 45), ":"),
    "joint-permuted": MethodStyle("#b8693d", (5, 1, 180), ":"),
    "joint-perceptual": MethodStyle("#7b5bd6", "H", ":"),
    "retrained": MethodStyle("#882255", "p", "--"),
    "joint-classification": MethodStyle("#ee6677", "<", "-"),
    "joint-segmentation": MethodStyle("#228833", ">", "-"),
    "matched-classification": MethodStyle("#aa3f5a", (5, 0, 180), ":"),
    "matched-segmentation": MethodStyle("#7fa32b", (3, 1, 180), ":"),
}

# Plug-ins, in the order of the configuration: Tol's muted colours. After the last colour, colours
# are combined with other markers.
_PLUGIN_COLORS = ("#332288", "#999933", "#44aa99", "#aa4499", "#661100", "#ddcc77")
_PLUGIN_MARKERS = ("h", (4, 1, 0), "8", (6, 1, 0), (3, 1, 0), (8, 1, 0))


def styles_of(config: Config) -> dict[str, MethodStyle]:
    """Return how each method of a configuration is drawn, plug-ins included."""
    styles = dict(STYLES)
    for number, method in enumerate(config.plugin_methods):
        turn, index = divmod(number, len(_PLUGIN_COLORS))
        marker = _PLUGIN_MARKERS[(index + turn) % len(_PLUGIN_MARKERS)]
        styles[method] = MethodStyle(_PLUGIN_COLORS[index], marker, "-.")
    return styles


@contextmanager
def drawing_style() -> Iterator[None]:
    """Apply the style inside a block, and restore the settings after it.

    It starts from matplotlib's defaults, not from the user's `matplotlibrc`.
    """
    with ExitStack() as stack:
        stack.enter_context(matplotlib.rc_context())
        matplotlib.rcdefaults()
        stack.enter_context(seaborn.plotting_context("paper"))
        stack.enter_context(seaborn.axes_style("whitegrid"))
        stack.enter_context(matplotlib.rc_context(_SETTINGS))
        yield


def draw_method(
    axes: Axes,
    label: str,
    style: MethodStyle,
    *,
    sigmas: Sequence[float],
    values: Sequence[float],
    errors: np.ndarray | None = None,
) -> None:
    """Draw the values of one method over sigma; `errors` (2, n) are the bars below and above."""
    color, marker, line = style
    axes.errorbar(
        sigmas,
        values,
        yerr=errors,
        label=label,
        color=color,
        marker=marker,
        linestyle=line,
        linewidth=1.3,
        elinewidth=1,
        capsize=2,
        markersize=8 if marker == "*" else 5.5,
        markeredgecolor="white",
        markeredgewidth=0.5,
        alpha=0.85,  # intervals of several methods overlap at a sigma
    )


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure in every format, atomically, with the same bytes for the same content.

    The PDF fits the text of a manuscript's page; the other formats have the size of the figure.
    """
    shape = figure.get_size_inches()
    layout = figure.get_layout_engine()
    laid_out = 0.0
    for suffix in FIGURE_FORMATS:
        scale = min(MANUSCRIPT / shape) if suffix == "pdf" else 1
        figure.set_size_inches(*(scale * shape))
        if layout is not None and scale != laid_out:
            layout.execute(figure)  # as slow as a drawing, and the same for every format of a size
            laid_out = scale
        figure.set_layout_engine(None)  # with one, `savefig` draws twice
        with result_path(folder / f"{name}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, metadata=_METADATA[suffix], facecolor="white")
