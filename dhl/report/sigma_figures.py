"""Figures of metrics over sigma, with paired differences to the separate denoiser."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dhl.analysis.measurements import read_measurements
from dhl.analysis.statistics import infer
from dhl.analysis.tables import table_averages
from dhl.analysis.units import UNITS
from dhl.config.methods import TASKS, label_of
from dhl.config.schema import Config
from dhl.report.figure_style import WIDTH, MethodStyle, draw_method, styles_of
from dhl.report.names import sigma_axis
from dhl.run.failures import NothingToShow
from dhl.run.folder import RunFolder
from dhl.sigma import format_sigma

PLOTTED = {
    "psnr_over_sigma": ("denoising", "psnr"),
    "accuracy_over_sigma": ("classification", "top1"),
    "miou_over_sigma": ("segmentation", "miou"),
}
REFERENCE = "separate"  # differences are drawn to the paper's baseline
_WIDE = 22  # characters: with longer labels, the legend has two columns instead of three
_LEGEND_LINE = 0.19  # inches
_BOUNDS = ("difference_low", "difference_high")


def read_averages(config: Config, folder: RunFolder, part: str, metric: str) -> pd.DataFrame:
    """Read a table's values over all images, sorted by sigma.

    Returns
    -------
    DataFrame with `dhl.run.results.TABLE_COLUMNS`
        Rows without a value are left out; methods have the order of the configuration.
    """
    table = table_averages(config, part, folder)
    rows = table[table["metric"] == metric].dropna(subset=["value"])
    if rows.empty:
        raise NothingToShow(f"the {metric} of {part}: no method has a value")
    order = rows["method"].map(config.parts[part].methods.index)
    return rows.assign(_order=order).sort_values(["_order", "sigma"]).drop(columns="_order")


def read_differences(config: Config, folder: RunFolder, part: str, metric: str) -> pd.DataFrame:
    """Return the rows of `read_averages` with the paired difference to the reference.

    Returns
    -------
    DataFrame
        With `difference`, `difference_low` and `difference_high`, its interval; all are NaN if the
        reference has no result, and the interval of the reference too.
    """
    rows = read_averages(config, folder, part, metric)
    reference = rows[rows["method"] == REFERENCE].set_index("sigma")["value"]
    rows = rows.assign(difference=rows["value"] - rows["sigma"].map(reference))
    bounds: dict[tuple[str, float], tuple[float, float]] = {}
    for sigma in rows["sigma"].unique():
        measured = read_measurements(config, folder, part, sigma)
        for method in rows.loc[rows["sigma"] == sigma, "method"]:
            if (REFERENCE, metric) in measured.features and method != REFERENCE:
                gap = measured.estimate(method, metric) - measured.estimate(REFERENCE, metric)
                found = infer(gap, measured.units, confidence=config.statistics.confidence)
                bounds[method, sigma] = (found.low, found.high)
    none = (np.nan, np.nan)
    keys = zip(rows["method"], rows["sigma"], strict=True)
    rows[list(_BOUNDS)] = np.array([bounds.get(key, none) for key in keys]).reshape(-1, 2)
    return rows


def metric_over_sigma(config: Config, folder: RunFolder, part: str, metric: str) -> Figure:
    """Draw a metric over sigma, and below it the paired differences to the reference."""
    return _draw(config, folder, [(part, metric)], height=4.4)


def overview(config: Config, folder: RunFolder) -> Figure:
    """Draw the metric of each task, or PSNR without a task: values above paired differences.

    Permuted labels are far below all others, so they are left to the figures of each task.
    """
    return _draw(config, folder, overview_metrics(config), height=3.3, hidden=("joint-permuted",))


def overview_metrics(config: Config) -> list[tuple[str, str]]:
    """Return part and metric of each column of the overview: the tasks, or else denoising."""
    plotted = [one for one in PLOTTED.values() if one[0] in config.parts]
    return [one for one in plotted if one[0] in TASKS] or plotted


def _draw(
    config: Config, folder: RunFolder, plotted: Sequence[tuple[str, str]], *, height: float,
    hidden: Collection[str] = (),
) -> Figure:  # fmt: skip
    """Draw a column of two panels for each metric, with one legend below them.

    `height` in inches is that of a figure with three lines in its legend. `hidden` methods are left
    out.
    """
    columns = {one: read_differences(config, folder, *one) for one in plotted}
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(2, len(columns), squeeze=False, sharex="col", height_ratios=(1.15, 1))
    styles = styles_of(config)
    handles: dict[str, Any] = {}
    for (above, below), ((_, metric), rows) in zip(panels.T, columns.items(), strict=True):
        unit = UNITS[metric]
        rows[["value", "ci_low", "ci_high", "difference", *_BOUNDS]] *= unit.factor
        methods = [name for name in dict.fromkeys(rows["method"]) if name not in hidden]
        _draw_methods(above, rows, ("value", "ci_low", "ci_high"),
                      {method: styles[method] for method in methods})  # fmt: skip
        compared = [method for method in methods if method not in ("clean", "noisy")]
        _draw_methods(below, rows, ("difference", *_BOUNDS),
                      {method: styles[method] for method in compared})  # fmt: skip
        above.set_title(f"{unit.title}, {unit.symbol}")
        below.set_title(f"Minus {label_of(REFERENCE)}, {unit.difference_symbol}")
        below.set_xlabel(textwrap.fill(sigma_axis(config), 60 // len(columns)), fontsize=9)
        handles |= dict(zip(*above.get_legend_handles_labels()[::-1], strict=True))
    ncols = 3 if max(map(len, handles)) <= _WIDE else 2
    lines = -(-len(handles) // ncols)
    figure.set_figheight(height + _LEGEND_LINE * max(0, lines - 3))
    figure.legend(
        handles=list(handles.values()), labels=list(handles), loc="outside lower center",
        ncols=ncols, columnspacing=1.2, handlelength=1.8, handletextpad=0.5,
    )  # fmt: skip
    return figure


def _draw_methods(
    axes: Axes, rows: pd.DataFrame, columns: tuple[str, str, str], styles: dict[str, MethodStyle]
) -> None:
    """Draw the methods at their sigmas; `columns` are the value and the ends of its interval."""
    value, low, high = columns
    for method, style in styles.items():
        points = rows[rows["method"] == method].dropna(subset=[value])
        bars = np.array([points[value] - points[low], points[high] - points[value]], float)
        draw_method(
            axes,
            label_of(method),
            style,
            sigmas=points["sigma"],
            values=points[value],
            errors=None if not np.isfinite(bars).any() else bars,
        )
    sigmas = sorted(rows["sigma"].unique())
    room = 0.08 * (sigmas[-1] - sigmas[0]) or 1.0
    axes.set_xticks(sigmas, [format_sigma(sigma) for sigma in sigmas])
    axes.set_xlim(sigmas[0] - room, sigmas[-1] + room)
    axes.grid(visible=False, axis="x")
