"""Figures from result files: metrics over sigma, training curves, example images."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dhl.analysis.published import AVERAGE
from dhl.analysis.tables import UNITS
from dhl.config.methods import METHODS, TABLES, label_of
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.report import example_figures as examples
from dhl.report import sensitivity_figures
from dhl.report.figure_style import (
    WIDTH,
    MethodStyle,
    draw_method,
    drawing_style,
    save_figure,
    styles_of,
)
from dhl.run.evaluations import studies
from dhl.run.failures import NothingToShow, failure_of
from dhl.run.folder import RunFolder
from dhl.run.outputs import figure_names
from dhl.run.results import TABLE_COLUMNS, TRAINING_COLUMNS, read_csv
from dhl.sigma import format_sigma

PLOTTED = {
    "psnr_over_sigma": ("denoising", "psnr"),
    "accuracy_over_sigma": ("classification", "top1"),
    "miou_over_sigma": ("segmentation", "miou"),
}
REFERENCE = "separate"  # differences are drawn to the paper's baseline


def read_averages(config: Config, folder: RunFolder, part: str, metric: str) -> pd.DataFrame:
    """Read a table's values over all images, sorted by sigma.

    Returns
    -------
    DataFrame with `dhl.run.results.TABLE_COLUMNS`
        Rows without a value are left out; methods have the order of the configuration.
    """
    path = folder.table(TABLES[part])
    table = read_csv(path, TABLE_COLUMNS)
    methods = list(config.parts[part].methods)
    rows = table[
        (table["metric"] == metric) & (table["image_id"] == AVERAGE) & table["method"].isin(methods)
    ].dropna(subset=["value"])
    if rows.empty and table["status"].astype(str).str.startswith("failed").any():
        raise NothingToShow(f"the {metric} of {part}: all methods failed")
    if rows.empty:
        raise UserError(
            f"Table {TABLES[part]} has no {metric} of the configured methods.",
            came=f"no such row with a value in {path}",
            do="delete the file and run `make report` again.",
        )
    order = rows["method"].map(methods.index)
    return rows.assign(_order=order).sort_values(["_order", "sigma"]).drop(columns="_order")


def metric_over_sigma(config: Config, folder: RunFolder, part: str, metric: str) -> Figure:
    """Draw a metric over sigma, and beside it the difference of denoisers to the reference."""
    rows = read_averages(config, folder, part, metric)
    label, factor, _, unit, difference_unit = UNITS[metric]
    rows[["value", "ci_low", "ci_high"]] *= factor
    methods = list(dict.fromkeys(rows["method"]))
    compared = [name for name in methods if name not in ("clean", "noisy")]
    columns = 2 if REFERENCE in compared and len(compared) > 1 else 1
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    panels = figure.subplots(1, columns, squeeze=False)[0]
    confidence = f"{100 * config.statistics.confidence:g} % intervals"
    styles = styles_of(config)
    _draw_methods(panels[0], rows, {name: styles[name] for name in methods})
    panels[0].set(ylabel=f"{label} in {unit}", title=f"{label}, with {confidence}")
    if columns == 2:
        _draw_methods(panels[1], _minus_reference(rows), {name: styles[name] for name in compared})
        points = difference_unit.replace("points", "percentage points")
        title = f"Difference to {label_of(REFERENCE)}"
        panels[1].set(ylabel=f"Difference in {points}", title=title)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)))
    return figure


def _minus_reference(rows: pd.DataFrame) -> pd.DataFrame:
    """Subtract the reference at each sigma, and drop the intervals of single methods."""
    reference = rows[rows["method"] == REFERENCE].set_index("sigma")["value"]
    value = rows["value"] - rows["sigma"].map(reference)
    return rows.assign(value=value, ci_low=np.nan, ci_high=np.nan)


def _draw_methods(axes: Axes, rows: pd.DataFrame, styles: dict[str, MethodStyle]) -> None:
    """Draw the methods side by side at each sigma, so that no interval hides another."""
    sigmas = sorted(rows["sigma"].unique())
    gap = min(np.diff(sigmas), default=1.0)
    for index, (method, style) in enumerate(styles.items()):
        points = rows[rows["method"] == method]
        shift = 0.45 * gap * (index / max(1, len(styles) - 1) - 0.5)
        known = points["ci_low"].notna().all()
        bars = [points["value"] - points["ci_low"], points["ci_high"] - points["value"]]
        draw_method(
            axes,
            label_of(method),
            style,
            sigmas=points["sigma"] + shift,
            values=points["value"],
            # Rounding can put a bootstrap quantile on the other side of the value by one bit.
            errors=np.clip(bars, 0, None) if known else None,
        )
    axes.set_xticks(sigmas, [format_sigma(sigma) for sigma in sigmas])
    axes.set_xlim(sigmas[0] - gap / 2, sigmas[-1] + gap / 2)
    axes.set_xlabel("Noise: sigma on the 0-255 scale")
    axes.grid(visible=False, axis="x")


def training_curves(config: Config, folder: RunFolder) -> Figure:
    """Draw the loss of every training over its steps, in one panel per kind of loss."""
    families = read_curves(folder)
    panels: dict[str, list[str]] = {}
    for family, curves in families.items():
        panels.setdefault(_loss_of(next(iter(curves.values()))), []).append(family)
    figure = Figure(figsize=(WIDTH, 0.3 + 2.1 * len(panels)), layout="constrained")
    for axes, (loss, names) in zip(
        figure.subplots(len(panels), squeeze=False).ravel(), panels.items(), strict=True
    ):
        for color, family in zip(seaborn.color_palette("colorblind", len(names)), names):
            _draw_family(axes, families[family], color, _family_title(family))
        axes.set_title(loss)
        axes.set_xlabel("Step")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _loss_of(curve: pd.DataFrame) -> str:
    """Say which loss a curve has: the columns of the others are empty."""
    if curve["task_loss"].isna().all():
        return "Denoisers: MSE"
    if curve["reconstruction_loss"].isna().all():
        return "Task networks: cross-entropy"
    return "Joint training: MSE + task weight x cross-entropy"


def _draw_family(
    axes: Axes, curves: dict[float | None, pd.DataFrame], color: tuple, label: str
) -> None:
    """Draw a line per sigma, the highest the palest; each point is a mean of 2 % of the steps."""
    for index, (_, curve) in enumerate(sorted(curves.items(), key=lambda item: item[0] or 0)):
        loss = curve["loss"].rolling(max(1, len(curve) // 50), min_periods=1).mean()
        axes.plot(
            curve["step"],
            loss,
            color=color,
            alpha=1 - 0.65 * index / len(curves),
            linewidth=1.1,
            marker="." if len(curve) == 1 else None,  # a line of one point is invisible
            label=None if index else label,
        )


def _family_title(family: str) -> str:
    """Return the title of a family of models; the name of a family is its folder."""
    if family in METHODS:
        return label_of(family)
    head, _, rest = family.partition("-")
    first = label_of(head) if head == "dncnn" else head.capitalize()
    return f"{first}, {rest}" if rest else first


def read_curves(folder: RunFolder) -> dict[str, dict[float | None, pd.DataFrame]]:
    """Read the curves of the first training of each model, by family of models and then by sigma.

    The studies' models with other task weights are left out, because their losses cannot be
    compared with the others.

    Returns
    -------
    dict of str to dict
        The inner key is None for a model that does not belong to one sigma.
    """
    root = folder.training("any").parent
    families: dict[str, dict[float | None, pd.DataFrame]] = {}
    for path in sorted(root.rglob("*.csv")):
        key = path.relative_to(root).with_suffix("")
        if "-seed" in key.name or "-times" in key.name or failure_of(path) is not None:
            continue
        # A model's key is `<family>/<variant>`, and the variant `sigma<number>` or a word.
        sigma = float(key.name.removeprefix("sigma")) if key.name.startswith("sigma") else None
        curve = read_csv(path, TRAINING_COLUMNS)
        if len(curve):  # a network with published weights was not trained
            families.setdefault(key.parent.as_posix(), {})[sigma] = curve
    if not families:
        raise UserError(
            "The run has no training curves to draw.",
            came=f"no CSV file with a curve below {root}",
            do="train the models, which `dhl describe` lists, with `dhl train` or Snakemake.",
        )
    return families


# `dhl.run.outputs` has the same names for Snakemake, which does not import matplotlib.
FIGURES: dict[str, Callable[[Config, RunFolder], Figure]] = {
    **{
        name: partial(metric_over_sigma, part=part, metric=metric)
        for name, (part, metric) in PLOTTED.items()
    },
    "example_denoising": examples.example_denoising,
    "example_classification": examples.example_classification,
    "example_segmentation": examples.example_segmentation,
    "training_curves": training_curves,
    **sensitivity_figures.EXPERIMENTS,
}


def write_figures(config: Config, folder: RunFolder, *, processes: int = 1) -> None:
    """Write every figure of the run as SVG, PNG and PDF to `folder.figures`.

    A figure whose results failed states the failure.
    """
    names = figure_names(config.parts, studies(config))
    write = partial(_write_figure, config, folder)
    if processes == 1:
        for name in names:
            write(name)
        return
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(write, names))


def _write_figure(config: Config, folder: RunFolder, name: str) -> None:
    """Write one figure in all formats."""
    with drawing_style():
        try:
            figure = FIGURES[name](config, folder)
        except NothingToShow as nothing:
            figure = Figure(figsize=(WIDTH, 0.8))
            figure.text(0.02, 0.5, f"Nothing to show: {nothing}", va="center", wrap=True)
        save_figure(figure, folder.figures, name)
