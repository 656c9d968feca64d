"""The figures of the studies beyond the paper: task weight, mismatched noise, transfer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dhl.analysis.sensitivity import denoiser_label, main_metric, reader_label
from dhl.analysis.tables import UNITS
from dhl.config.methods import TASKS
from dhl.config.schema import Config
from dhl.report.figure_style import WIDTH
from dhl.run.failures import NothingToShow
from dhl.run.folder import RunFolder
from dhl.run.model_graph import model_spec
from dhl.run.results import SENSITIVITY_COLUMNS, read_csv
from dhl.sigma import format_sigma

_LINE = "#d55e00"
_CELL = 0.52  # inches: the height of a row of a matrix


def read_experiment(folder: RunFolder, experiment: str) -> pd.DataFrame:
    """Read the rows of one study; `NothingToShow` if all its evaluations failed."""
    frame = read_csv(folder.sensitivity, SENSITIVITY_COLUMNS)
    rows = frame[frame["experiment"] == experiment]
    if rows["value"].isna().all():
        raise NothingToShow(f"{experiment}: all denoisers failed")
    return rows


def task_weight(config: Config, folder: RunFolder) -> Figure:
    """Draw the metric of a task over the PSNR of its images, for each weight of the task's loss."""
    rows = read_experiment(folder, "task-weight")
    tasks = [task for task in TASKS if task in set(rows["part"])]
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _draw_trade_off(axes, rows[rows["part"] == task], task)
    return figure


def _draw_trade_off(axes: Axes, rows: pd.DataFrame, task: str) -> None:
    """Draw the curve of one task; the labels of its points are the weights."""
    metric = main_metric(task)
    name, factor, _, unit, _ = UNITS[metric]
    columns = ["value", "difference", "difference_low", "difference_high"]
    grid = rows.pivot(index="task_weight", columns="metric", values=columns).sort_index()
    x, y = grid["value", "psnr"], factor * grid["value", metric]
    # The bars are the interval of the paired difference to weight 0, moved to the value.
    bars = [
        factor * (grid["difference", metric] - grid["difference_low", metric]),
        factor * (grid["difference_high", metric] - grid["difference", metric]),
    ]
    axes.errorbar(
        x, y, yerr=np.nan_to_num(bars).clip(0), color=_LINE, marker="o", linewidth=1.3,
        elinewidth=1, capsize=2, markersize=5.5, markeredgecolor="white", markeredgewidth=0.5,
    )  # fmt: skip
    # Labels are above and below in turn: neighbours can be at the same point.
    for index, weight in enumerate(grid.index[y.notna()]):
        axes.annotate(
            f"{weight:g}", (x[weight], y[weight]), xytext=(5, -12 if index % 2 else 5),
            textcoords="offset points", fontsize=8,
        )  # fmt: skip
    axes.margins(x=0.16)
    sigma = format_sigma(rows["sigma"].iloc[0])
    axes.set(
        title=f"{task.capitalize()}, sigma {sigma}", xlabel="PSNR of the denoised images in dB",
        ylabel=f"{name} in {unit}",
    )  # fmt: skip


def sigma_mismatch(config: Config, folder: RunFolder) -> Figure:
    """Draw a matrix per denoiser: training sigma in rows, sigma of the noise in columns."""
    rows = read_experiment(folder, "sigma-mismatch").copy()
    rows["family"] = rows["denoiser"].str.partition("/")[0]
    parts = [part for part in config.parts if part in set(rows["part"])]
    lines = [
        (part, list(dict.fromkeys(rows.loc[rows["part"] == part, "family"]))) for part in parts
    ]
    heights = [len(config.parts[part].sigmas) for part, _ in lines]
    columns = max(len(families) for _, families in lines)
    figure = Figure(figsize=(WIDTH, sum(_CELL * h + 0.75 for h in heights)), layout="constrained")
    panels = figure.subplots(
        len(lines), columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for line, (part, families) in zip(panels, lines, strict=True):
        metric = main_metric(part)
        cells = rows[(rows["part"] == part) & (rows["metric"] == metric)]
        reach = _reach(cells)
        for axes, family in zip(line, families, strict=False):
            chosen = cells[cells["family"] == family]
            label = denoiser_label(config, chosen["denoiser"].iloc[0])
            right = chosen["trained_sigma"] == chosen["sigma"]
            _draw_matrix(axes, chosen, ("trained_sigma", "sigma"), metric, reach, framed=right)
            axes.set(
                title=f"{part.capitalize()}: {label}", xlabel="Noise, sigma",
                ylabel="Trained for sigma",
            )  # fmt: skip
        for axes in line[len(families) :]:
            axes.set_axis_off()
    return figure


def transfer(config: Config, folder: RunFolder) -> Figure:
    """Draw a matrix per task: denoisers in rows, task networks in columns."""
    rows = read_experiment(folder, "transfer")
    tasks = [task for task in TASKS if task in set(rows["part"])]
    count = rows.groupby("part")["denoiser"].nunique().max()
    figure = Figure(figsize=(WIDTH, _CELL * count * 0.85 + 1.0), layout="constrained")
    panels = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
    for axes, task in zip(panels, tasks, strict=True):
        metric = main_metric(task)
        cells = rows[(rows["part"] == task) & (rows["metric"] == metric)]
        guided = [_is_guided_by(config, *cell) for cell in zip(cells["denoiser"], cells["reader"])]
        _draw_matrix(axes, cells, ("denoiser", "reader"), metric, _reach(cells), framed=guided)
        denoisers, readers = (dict.fromkeys(cells[side]) for side in ("denoiser", "reader"))
        axes.set_yticklabels([denoiser_label(config, key) for key in denoisers])
        axes.set_xticklabels([reader_label(config, key) for key in readers])
        name, _, _, unit, _ = UNITS[metric]
        axes.set(title=f"{task.capitalize()}: {name} in {unit}", xlabel="Task network", ylabel="")
    return figure


def _reach(rows: pd.DataFrame) -> float:
    """Return the largest difference of a denoiser to its reference, which scales the colours."""
    largest = rows.loc[rows["denoiser"].str.contains("/"), "difference"].abs().max()
    return float(largest) if largest > 0 else 1.0


def _is_guided_by(config: Config, denoiser: str, reader: str) -> bool:
    """Tell whether a denoiser was trained with the loss of a task network."""
    return "/" in denoiser and model_spec(config, denoiser).frozen == reader


def _draw_matrix(
    axes: Axes,
    rows: pd.DataFrame,
    sides: tuple[str, str],
    metric: str,
    reach: float,
    *,
    framed: Iterable[bool],
) -> None:
    """Draw a matrix of values, with framed cells; colours are differences to the reference."""
    row, column = sides
    orders = names = [list(dict.fromkeys(rows[side])) for side in sides]
    if row == "trained_sigma":
        orders = [sorted(order) for order in orders]
        names = [list(map(format_sigma, order)) for order in orders]
    grids = {
        content: rows.pivot(index=row, columns=column, values=content).reindex(
            index=orders[0], columns=orders[1]
        )
        for content in ("value", "difference")
    }
    _, factor, decimals, _, _ = UNITS[metric]
    values = grids["value"].to_numpy(float)
    texts = [[f"{factor * value:.{decimals}f}" for value in line] for line in values]
    # A reference has the colour of a zero difference; a failed result has no colour.
    colors = grids["difference"].fillna(0).where(grids["value"].notna())
    seaborn.heatmap(
        colors.astype(float), ax=axes, annot=texts, fmt="", annot_kws={"fontsize": 8.5},
        cmap="PuOr_r", vmin=-1.6 * reach, vmax=1.6 * reach, cbar=False, linewidths=1,
        xticklabels=names[1], yticklabels=names[0],
    )  # fmt: skip
    for y, x in np.argwhere(np.isnan(values)):
        axes.text(x + 0.5, y + 0.5, "failed", ha="center", va="center", fontsize=8.5)
    for cell, chosen in zip(rows.itertuples(), framed, strict=True):
        if chosen:
            corner = orders[1].index(getattr(cell, column)), orders[0].index(getattr(cell, row))
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#1f2328", linewidth=1.6))
    axes.tick_params(axis="both", length=0)
    axes.tick_params(axis="y", rotation=0)


EXPERIMENTS = {"task_weight": task_weight, "sigma_mismatch": sigma_mismatch, "transfer": transfer}
