"""The figures of the studies beyond the paper: task weight, mismatched noise, transfer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dhl.analysis.sensitivity import denoiser_label, main_metric, reader_label
from dhl.analysis.units import UNITS
from dhl.config.methods import TASKS
from dhl.config.schema import Config
from dhl.report.figure_style import WIDTH
from dhl.report.names import sigma_axis
from dhl.run.failures import NothingToShow
from dhl.run.folder import RunFolder
from dhl.run.model_graph import model_spec
from dhl.run.results import SENSITIVITY_COLUMNS, read_csv
from dhl.sigma import format_sigma

_LINE = "#d55e00"
_CELL = 0.4  # inches: the height of a row of a matrix
_CLOSE = 0.12  # of the range of an axis: closer points share a label


def read_study(folder: RunFolder, study: str) -> pd.DataFrame:
    """Read the rows of one study; `NothingToShow` if all its evaluations failed."""
    frame = read_csv(folder.sensitivity, SENSITIVITY_COLUMNS)
    rows = frame[frame["experiment"] == study]
    if rows["value"].isna().all():
        raise NothingToShow(f"{study}: all denoisers failed")
    return rows


def task_weight(config: Config, folder: RunFolder) -> Figure:
    """Draw the metric of a task over the PSNR of its images, for each weight of the task's loss."""
    rows = read_study(folder, "task-weight")
    tasks = [task for task in TASKS if task in set(rows["part"])]
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _draw_trade_off(axes, rows[rows["part"] == task], task)
    figure.supxlabel("PSNR of the denoised images in dB", fontsize=9.5)
    return figure


def _draw_trade_off(axes: Axes, rows: pd.DataFrame, task: str) -> None:
    """Draw the curve of one task; the labels of its points are the weights."""
    metric = main_metric(task)
    unit = UNITS[metric]
    columns = ["value", "difference", "difference_low", "difference_high"]
    grid = rows.pivot(index="task_weight", columns="metric", values=columns).sort_index()
    x, y = grid["value", "psnr"], unit.factor * grid["value", metric]
    # The bars are the interval of the paired difference to weight 0, moved to the value.
    bars = [
        unit.factor * (grid["difference", metric] - grid["difference_low", metric]),
        unit.factor * (grid["difference_high", metric] - grid["difference", metric]),
    ]
    axes.errorbar(
        x, y, yerr=np.nan_to_num(bars).clip(0), color=_LINE, marker="o", linewidth=1.3,
        elinewidth=1, capsize=2, markersize=5.5, markeredgecolor="white", markeredgewidth=0.5,
    )  # fmt: skip
    # Labels are above and below the points in turn.
    for index, weights in enumerate(_groups(x[y.notna()], y[y.notna()])):
        axes.annotate(
            ", ".join(f"{weight:g}" for weight in weights), (x[weights[0]], y[weights[0]]),
            xytext=(5, -12 if index % 2 else 6), textcoords="offset points", fontsize=8.5,
        )  # fmt: skip
    axes.margins(x=0.2, y=0.16)
    sigma = format_sigma(rows["sigma"].iloc[0])
    title = f"{task.capitalize()}, sigma {sigma}"
    axes.set(title=title, ylabel=f"{unit.title} in {unit.symbol}")


def _groups(x: pd.Series, y: pd.Series) -> list[list[float]]:
    """Group neighbouring points that are too close for a label each."""
    reach_x, reach_y = (np.ptp(side) or 1.0 for side in (x, y))
    groups: list[list[float]] = []
    for weight in x.index:
        last = groups[-1][0] if groups else None
        if last is not None and (
            abs(x[weight] - x[last]) < _CLOSE * reach_x
            and abs(y[weight] - y[last]) < _CLOSE * reach_y
        ):
            groups[-1].append(weight)
        else:
            groups.append([weight])
    return groups


def sigma_mismatch(config: Config, folder: RunFolder) -> Figure:
    """Draw a matrix per denoiser: training sigma in rows, sigma of the noise in columns."""
    rows = read_study(folder, "sigma-mismatch").copy()
    rows["family"] = rows["denoiser"].str.partition("/")[0]
    parts = [part for part in config.parts if part in set(rows["part"])]
    lines = [
        (part, list(dict.fromkeys(rows.loc[rows["part"] == part, "family"]))) for part in parts
    ]
    heights = [len(config.parts[part].sigmas) for part, _ in lines]
    columns = max(len(families) for _, families in lines)
    figure = Figure(figsize=(WIDTH, sum(_CELL * h + 0.85 for h in heights)), layout="constrained")
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
            axes.set_title(f"{part.capitalize()}:\n{label}", fontsize=9)
            axes.set_xlabel(textwrap.fill(sigma_axis(config), 30), fontsize=8.5)
            axes.set_ylabel("")
        line[0].set_ylabel("Trained for sigma")
        for axes in line[len(families) :]:
            axes.set_axis_off()
        _add_scale(figure, list(line[: len(families)]), metric, location="right")
    return figure


def transfer(config: Config, folder: RunFolder) -> Figure:
    """Draw a matrix per task: denoisers in rows, task networks in columns."""
    rows = read_study(folder, "transfer")
    tasks = [task for task in TASKS if task in set(rows["part"])]
    count = rows.groupby("part")["denoiser"].nunique().max()
    figure = Figure(figsize=(WIDTH, _CELL * count * 0.85 + 1.9), layout="constrained")
    panels = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
    for axes, task in zip(panels, tasks, strict=True):
        metric = main_metric(task)
        cells = rows[(rows["part"] == task) & (rows["metric"] == metric)]
        guided = [_is_guided_by(config, *cell) for cell in zip(cells["denoiser"], cells["reader"])]
        _draw_matrix(axes, cells, ("denoiser", "reader"), metric, _reach(cells), framed=guided)
        denoisers, readers = (dict.fromkeys(cells[side]) for side in ("denoiser", "reader"))
        axes.set_yticklabels([denoiser_label(config, key) for key in denoisers])
        labels = [reader_label(config, key) for key in readers]
        axes.set_xticklabels(labels, rotation=20, ha="right", rotation_mode="anchor")
        unit = UNITS[metric]
        axes.set_title(f"{task.capitalize()}:\n{unit.title} in {unit.symbol}", fontsize=9)
        axes.set(xlabel="", ylabel="")
        _add_scale(figure, [axes], metric, location="bottom")
    return figure


def _add_scale(
    figure: Figure, panels: list[Axes], metric: str, *, location: Literal["right", "bottom"]
) -> None:
    """Add the scale of the colours of matrices that share it."""
    scale = figure.colorbar(
        panels[0].collections[0], ax=panels, location=location, aspect=18, pad=0.03
    )
    scale.set_label(f"Difference, {UNITS[metric].difference_symbol}", fontsize=8.5)
    scale.ax.tick_params(labelsize=8)
    if scale.solids is not None:
        scale.solids.set_rasterized(False)  # vectors in SVG and PDF
    scale.outline.set_visible(False)


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
    unit = UNITS[metric]
    values = grids["value"].to_numpy(float)
    texts = [[unit.number(value) for value in line] for line in values]
    # A reference has the colour of a zero difference; a failed result has no colour.
    colors = grids["difference"].fillna(0).where(grids["value"].notna())
    limit = 1.6 * unit.factor * reach
    seaborn.heatmap(
        unit.factor * colors.astype(float), ax=axes, annot=texts, fmt="",
        annot_kws={"fontsize": 8.5}, cmap="PuOr_r", vmin=-limit, vmax=limit, cbar=False,
        linewidths=1,
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


DRAWN_STUDIES = {"task_weight": task_weight, "sigma_mismatch": sigma_mismatch, "transfer": transfer}
