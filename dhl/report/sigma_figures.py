"""Figures of metrics over sigma, with paired differences to the separate denoiser."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dhl.analysis.measurements import read_measurements
from dhl.analysis.statistics import infer
from dhl.analysis.tables import table_averages
from dhl.analysis.units import UNITS
from dhl.config.methods import NO_DENOISER, TASKS, label_of
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
_VALUES_HEIGHT = 1.85  # inches, with three lines of a legend
_APART = 0.16  # of a row of the gains, between its two sigmas and the middle
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
    rows = _as_printed(read_differences(config, folder, part, metric), metric)
    styles = {method: styles_of(config)[method] for method in dict.fromkeys(rows["method"])}
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(1.15, 1))
    _draw_values(above, rows, metric, styles)
    compared = {name: one for name, one in styles.items() if name not in ("clean", "noisy")}
    _draw_methods(below, rows, ("difference", *_BOUNDS), compared)
    below.set_title(f"Minus {label_of(REFERENCE)}, {UNITS[metric].difference_symbol}")
    below.set_xlabel(textwrap.fill(sigma_axis(config), 60), fontsize=9)
    _add_legend(figure, _handles(above))
    return figure


def overview(config: Config, folder: RunFolder) -> Figure:
    """Draw each task's metric over sigma, and below it what each denoiser gains over the reference.

    Without a task it is PSNR. Permuted labels are far below all others, so they are left to the
    figures of each task. Without a gain, there are only the values.
    """
    columns = {
        metric: read_differences(config, folder, part, metric)
        for part, metric in overview_metrics(config)
    }
    gains = {metric: gains_of(rows) for metric, rows in columns.items()}
    gaining = gaining_methods(config, gains)
    heights = [_VALUES_HEIGHT, *([0.5 + 0.21 * len(gaining)] if gaining else [])]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    panels = figure.subplots(len(heights), len(columns), squeeze=False, height_ratios=heights)
    handles: dict[str, Any] = {}
    for axes, (metric, rows) in zip(panels[0], columns.items(), strict=True):
        methods = [name for name in dict.fromkeys(rows["method"]) if name != "joint-permuted"]
        styles = {name: styles_of(config)[name] for name in methods}
        _draw_values(axes, _as_printed(rows, metric), metric, styles)
        axes.set_xlabel(textwrap.fill(sigma_axis(config), 44 // len(columns)), fontsize=9)
        handles |= _handles(axes)
    if gaining:
        draw_gains(config, panels[1], gains)
        for method in gaining:  # the rows of the gains have their colours and markers
            handles.pop(label_of(method), None)
        for axes in panels[1]:
            handles |= _handles(axes)
    _add_legend(figure, handles)
    return figure


def gains_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `read_differences` of denoisers at the lowest and the highest sigma.

    The reference, permuted labels, and rows without a difference are left out.
    """
    ends = rows["sigma"].min(), rows["sigma"].max()
    compared = ~rows["method"].isin((REFERENCE, "joint-permuted", *NO_DENOISER))
    return rows[compared & rows["sigma"].isin(ends)].dropna(subset="difference")


def draw_gains(config: Config, panels: Sequence[Axes], gains: Mapping[str, pd.DataFrame]) -> None:
    """Draw the difference of each denoiser to the reference, with its interval.

    Parameters
    ----------
    config : Config
    panels : sequence of Axes
    gains : mapping of str to DataFrame
        For each panel, its metric and the rows of `gains_of`.
    """
    styles = {name: styles_of(config)[name] for name in gaining_methods(config, gains)}
    same_ends = len({tuple(sorted(set(rows["sigma"]))) for rows in gains.values()}) == 1
    for axes, (metric, rows) in zip(panels, gains.items(), strict=True):
        unit, highest = UNITS[metric], rows["sigma"].max()
        several = rows["sigma"].nunique() > 1
        for row in rows.itertuples():
            color, marker, _ = styles[row.method]
            bars = np.array([[row.difference - row.difference_low],
                             [row.difference_high - row.difference]])  # fmt: skip
            side = (1 if row.sigma == highest else -1) if several else 0
            axes.errorbar(
                unit.factor * row.difference, list(styles).index(row.method) + _APART * side,
                xerr=unit.factor * bars if np.isfinite(bars).all() else None,
                color=color, marker=marker, elinewidth=1, capsize=2,
                markersize=7 if marker == "*" else 4.5,
                markerfacecolor=color if row.sigma == highest else "white",
            )  # fmt: skip
        for sigma in sorted(set(rows["sigma"])):
            word, fill = ("highest", "grey") if sigma == highest else ("lowest", "white")
            label = f"sigma {format_sigma(sigma)}" if same_ends else f"{word} sigma"
            axes.plot([], [], "o", color="grey", markerfacecolor=fill, label=label)
        axes.axvline(0, color="grey", linewidth=1)
        axes.set_yticks(range(len(styles)), list(map(label_of, styles)))
        axes.set_ylim(len(styles) - 0.5, -0.5)
        axes.tick_params(labelleft=axes is panels[0])
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_xlabel(f"Minus {label_of(REFERENCE)}, {unit.difference_symbol}", fontsize=9)


def gaining_methods(config: Config, gains: Mapping[str, pd.DataFrame]) -> list[str]:
    """List the methods with a gain, in the order in which figures list methods."""
    known = {method for rows in gains.values() for method in rows["method"]}
    return [method for method in styles_of(config) if method in known]


def overview_metrics(config: Config) -> list[tuple[str, str]]:
    """Return part and metric of each column: tasks with denoisers, or all tasks, or denoising."""
    plotted = [one for one in PLOTTED.values() if one[0] in config.parts]
    tasks = [one for one in plotted if one[0] in TASKS]
    without = {REFERENCE, *NO_DENOISER}
    compared = [one for one in tasks if set(config.parts[one[0]].methods) - without]
    return compared or tasks or plotted


def _as_printed(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of `read_differences` with values in printed units."""
    columns = ["value", "ci_low", "ci_high", "difference", *_BOUNDS]
    return rows.assign(**{name: UNITS[metric].factor * rows[name] for name in columns})


def _draw_values(
    axes: Axes, rows: pd.DataFrame, metric: str, styles: Mapping[str, MethodStyle]
) -> None:
    """Draw a metric of the methods over sigma."""
    _draw_methods(axes, rows, ("value", "ci_low", "ci_high"), styles)
    axes.set_title(f"{UNITS[metric].title}, {UNITS[metric].symbol}")


def _handles(axes: Axes) -> dict[str, Any]:
    """Return what the legend shows of a panel, by label."""
    return dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))


def _add_legend(figure: Figure, handles: Mapping[str, Any]) -> None:
    """Add a legend below the panels; the figure grows with its lines."""
    ncols = 3 if max(map(len, handles)) <= _WIDE else 2
    lines = -(-len(handles) // ncols)
    figure.set_figheight(figure.get_figheight() + _LEGEND_LINE * (lines - 3))
    figure.legend(
        handles=list(handles.values()), labels=list(handles), loc="outside lower center",
        ncols=ncols, columnspacing=1.2, handlelength=1.8, handletextpad=0.5,
    )  # fmt: skip


def _draw_methods(
    axes: Axes, rows: pd.DataFrame, columns: tuple[str, str, str], styles: Mapping[str, MethodStyle]
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
