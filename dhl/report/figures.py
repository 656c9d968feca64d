"""The figures of a run: which there are, the training curves, and writing them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dhl.config.methods import METHODS, PEERS, label_of
from dhl.config.schema import Config
from dhl.progress import Progress
from dhl.report import example_figures as examples
from dhl.report import sensitivity_figures
from dhl.report.figure_style import WIDTH, drawing_style, save_figure
from dhl.report.sigma_figures import PLOTTED, metric_over_sigma, overview
from dhl.run.contents import results_of
from dhl.run.evaluations import studies
from dhl.run.failures import NothingToShow
from dhl.run.folder import RunFolder
from dhl.run.outputs import figure_names
from dhl.run.results import TRAINING_COLUMNS, read_csv
from dhl.seeding import FIRST, split_draw
from dhl.signals import end_with_parent


def training_curves(config: Config, folder: RunFolder) -> Figure:
    """Draw the loss of every training over its steps, in one panel per kind of loss."""
    families = read_curves(config, folder)
    panels: dict[str, list[str]] = {}
    for family, curves in families.items():
        panels.setdefault(_loss_of(next(iter(curves.values()))), []).append(family)
    heights = [max(1.75, 0.6 + 0.17 * len(names)) for names in panels.values()]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    column = figure.subplots(len(panels), squeeze=False, height_ratios=heights).ravel()
    for axes, (loss, names) in zip(column, panels.items(), strict=True):
        for color, family in zip(seaborn.color_palette("colorblind", len(names)), names):
            _draw_family(axes, families[family], color, _family_title(family))
        axes.set_title(loss)
        axes.set_xlabel("Step")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, handlelength=1.2)
    return figure


def _loss_of(curve: pd.DataFrame) -> str:
    """Say which loss a curve has: the columns of the others are empty."""
    if curve["feature_loss"].notna().any():
        return "Perceptual loss: MSE + feature weight x distance"
    if curve["task_loss"].isna().all():
        return "Denoisers: MSE"
    if curve["reconstruction_loss"].isna().all():
        return "Task networks: cross-entropy"
    return "Joint training: MSE + task weight x cross-entropy"


def _draw_family(
    axes: Axes, curves: dict[float | None, pd.DataFrame], color: tuple, label: str
) -> None:
    """Draw a line per sigma, the highest the palest.

    Each point is the mean loss since the point before it.
    """
    for index, (_, curve) in enumerate(sorted(curves.items(), key=lambda item: item[0] or 0)):
        axes.plot(
            curve["step"],
            curve["loss"],
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
    first = label_of(head) if head in PEERS else head.capitalize()
    return f"{first}, {rest}" if rest else first


def read_curves(config: Config, folder: RunFolder) -> dict[str, dict[float | None, pd.DataFrame]]:
    """Read the curves of the first training of each model, by family of models and then by sigma.

    The studies' models with other task weights are left out, because their losses cannot be
    compared with the others.

    Returns
    -------
    dict of str to dict
        The inner key is None for a model that does not belong to one sigma. Without a curve,
        `NothingToShow` is raised.
    """
    root = folder.training("any").parent
    families: dict[str, dict[float | None, pd.DataFrame]] = {}
    for path in results_of(config, folder, "training"):
        key = path.relative_to(root).with_suffix("")
        variant, draw = split_draw(key.name)
        if draw != FIRST or "-times" in variant:
            continue
        # A model's key is `<family>/<variant>`, and the variant `sigma<number>` or a word.
        sigma = float(key.name.removeprefix("sigma")) if key.name.startswith("sigma") else None
        curve = read_csv(path, TRAINING_COLUMNS)
        if len(curve):  # a network with published weights was not trained
            families.setdefault(key.parent.as_posix(), {})[sigma] = curve
    if not families:
        raise NothingToShow("no network was trained")
    return families


# `dhl.run.outputs` has the same names for Snakemake, which does not import matplotlib.
FIGURES: dict[str, Callable[[Config, RunFolder], Figure]] = {
    "overview": overview,
    **{
        name: partial(metric_over_sigma, part=part, metric=metric)
        for name, (part, metric) in PLOTTED.items()
    },
    "example_denoising": examples.example_denoising,
    "example_classification": examples.example_classification,
    "example_segmentation": examples.example_segmentation,
    "training_curves": training_curves,
    **sensitivity_figures.DRAWN_STUDIES,
}


def write_figures(config: Config, folder: RunFolder, *, processes: int = 1) -> None:
    """Write every figure of the run as SVG, PNG and PDF to `folder.figures`.

    A figure whose results failed states the failure.
    """
    names = figure_names(config.parts, studies(config))
    write = partial(_write_figure, config, folder)
    with ExitStack() as stack:
        progress = stack.enter_context(Progress("figures", len(names)))
        pool = None
        if processes > 1:
            pool = stack.enter_context(ProcessPoolExecutor(processes, initializer=end_with_parent))
        for _ in pool.map(write, names) if pool else map(write, names):
            progress.advance()


def _write_figure(config: Config, folder: RunFolder, name: str) -> None:
    """Write one figure in all formats."""
    with drawing_style():
        try:
            figure = FIGURES[name](config, folder)
        except NothingToShow as nothing:
            figure = Figure(figsize=(WIDTH, 0.8))
            figure.text(0.02, 0.5, f"Nothing to show: {nothing}", va="center", wrap=True)
        save_figure(figure, folder.figures, name)
