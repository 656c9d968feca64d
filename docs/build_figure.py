"""The figure of README.md: what each method gains over `separate`, in the reference run."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
from build_results import METRIC_NAMES, RESULTS, TASK_METRICS
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dhl.config.methods import METHODS, TABLES
from dhl.config.parse import load_config
from dhl.files import PROJECT
from dhl.report.figure_style import STYLES, drawing_style
from dhl.report.sigma_figures import read_differences

WIDTH = 7.2  # inches
FIGURE = PROJECT / "docs" / "images" / "gains.svg"
# From top to bottom; the others are so far away that they would hide the differences.
SHOWN = ("cbm3d", "separate-matched", "joint", "joint-perceptual", "cross-matched", "cross")
APART = 0.16  # of a row, between the sigmas of a method


def figure_source() -> str:
    """Return the digests of the tables that the figure shows, for its metadata."""
    paths = [RESULTS.table(TABLES[part]) for part, _ in TASK_METRICS]
    return ", ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)


def draw_figure() -> None:
    """Draw the difference to `separate` with its interval, for each task, method and sigma."""
    config = load_config(RESULTS.config)
    with drawing_style():
        figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
        panels = figure.subplots(1, len(TASK_METRICS), sharey=True)
        for axes, (part, metric) in zip(panels, TASK_METRICS, strict=True):
            draw_gains(axes, read_differences(config, RESULTS, part, metric))
            axes.set_xlabel(f"{METRIC_NAMES[metric]} above Separate, in points")
        panels[1].legend(loc="upper left")
        FIGURE.parent.mkdir(exist_ok=True)
        metadata = {"Date": None, "Creator": None, "Description": figure_source()}
        figure.savefig(FIGURE, metadata=metadata, facecolor="white")


def draw_gains(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw a row for each method, with a point and an interval for each sigma."""
    sigmas = sorted(rows["sigma"].unique())
    for row in rows[rows["method"].isin(SHOWN)].itertuples():
        last = row.sigma == sigmas[-1]
        color, marker, _ = STYLES[row.method]
        place = SHOWN.index(row.method) + APART * (2 * last - 1)
        bars = np.array([[row.difference - row.difference_low],
                         [row.difference_high - row.difference]])  # fmt: skip
        axes.errorbar(
            100 * row.difference, place, xerr=100 * bars, color=color, marker=marker,
            markerfacecolor=color if last else "white", capsize=2,
        )  # fmt: skip
    for sigma, fill in zip(sigmas, ("white", "grey"), strict=True):
        axes.plot([], [], "o", color="grey", markerfacecolor=fill, label=f"σ {sigma:g}")
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_yticks(range(len(SHOWN)), [METHODS[method].label for method in SHOWN])
    axes.set_ylim(len(SHOWN) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


if __name__ == "__main__":
    draw_figure()
