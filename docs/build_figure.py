"""The figure of README.md: accuracy and mIoU over sigma, from the committed reference run."""

from __future__ import annotations

import hashlib

import pandas as pd
from build_results import METRIC_NAMES, RESULTS, TASK_METRICS, averages
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dhl.config.methods import METHODS, TABLES
from dhl.files import PROJECT
from dhl.report.figure_style import STYLES, draw_method, drawing_style

WIDTH = 7.2  # inches
FIGURE = PROJECT / "docs" / "images" / "accuracy.svg"


def figure_source() -> str:
    """Return the digests of the tables that the figure shows, for its metadata."""
    paths = [RESULTS.table(TABLES[part]) for part, _ in TASK_METRICS]
    return ", ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)


def draw_figure() -> None:
    """Draw both metrics over sigma, and below them the difference to `separate`."""
    with drawing_style():
        figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True)
        for column, (part, metric) in zip(panels.T, TASK_METRICS):
            rows = averages(RESULTS, part, metric).pivot(index="method", columns="sigma")["value"]
            draw_values(column[0], 100 * rows)
            column[0].set(title=f"{METRIC_NAMES[metric]} in %")
            draw_values(column[1], 100 * (rows - rows.loc["separate"]).drop(["clean", "noisy"]))
            column[1].set(title="Difference to Separate in points", xlabel="sigma of the noise")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        FIGURE.parent.mkdir(exist_ok=True)
        metadata = {"Date": None, "Creator": None, "Description": figure_source()}
        figure.savefig(FIGURE, metadata=metadata, facecolor="white")


def draw_values(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw one line per method over sigma."""
    for method in METHODS:
        if method in rows.index:
            own = rows.loc[method]
            draw_method(axes, METHODS[method].label, STYLES[method], sigmas=own.index, values=own)
    axes.set_xticks(rows.columns)
