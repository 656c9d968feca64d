"""The files of each output that a configuration has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dhl.config.methods import table_number
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.run.downloads import needed_sets
from dhl.run.evaluations import denoised_files, evaluations, experiments, studies
from dhl.run.failures import failure_of
from dhl.run.folder import RunFolder
from dhl.run.model_graph import all_models
from dhl.run.outputs import (
    FIGURE_FORMATS,
    OUTPUTS,
    TABLE_FORMATS,
    benchmark_for,
    complete_run,
    figure_names,
)
from dhl.seeding import FIRST, Draw


def files_of(config: Config, folder: RunFolder, *names: str) -> list[Path]:
    """List all files of the named outputs of `dhl.run.outputs`.

    A file of `download`, `skipped` or a figure's numbers may be absent in a complete run.
    """
    return [path for name in names for path in _FILES[name](config, folder)]


def results_of(config: Config, folder: RunFolder, *names: str) -> list[Path]:
    """List the files of the named outputs that a run has, sorted, without failed results.

    A run that was repeated with another configuration can have further files of the first one.
    """
    paths = set(files_of(config, folder, *names))
    return sorted(path for path in paths if path.is_file() and failure_of(path) is None)


def benchmarks_of(config: Config, folder: RunFolder) -> list[Path]:
    """List the files in which Snakemake writes the time and memory of each job, sorted."""
    names = [output.name for output in OUTPUTS if output.benchmark]
    paths = files_of(config, folder, *names)
    return sorted({folder.benchmarks / benchmark_for(path) for path in paths})


def incomplete_run(folder: RunFolder, missing: Sequence[Path]) -> UserError:
    """Return the error for a run that lacks files."""
    return UserError(
        f"The run in {folder.root} is incomplete.",
        came=f"{len(missing)} files are missing, such as {missing[0]}",
        do=f"complete it: {complete_run(folder.root)}.",
    )


def baselines_of(
    config: Config, folder: RunFolder, part: str, sigma: float, draw: Draw = FIRST
) -> list[Path]:
    """List the files of images from untrained methods that an evaluation reads."""
    planned = experiments(config, part, sigma, draw)
    methods = dict.fromkeys(one.source for one in planned if one.is_untrained)
    return [
        path for method in methods for path in denoised_files(config, folder, part, sigma, method)
    ]


def _grid(config: Config) -> list[tuple[str, float]]:
    """List the parts and their sigmas."""
    return [(part, sigma) for part in config.parts for sigma in config.parts[part].sigmas]


def _figures(config: Config, folder: RunFolder) -> list[Path]:
    """List the figures in all formats, and their numbers."""
    names = figure_names(tuple(config.parts), studies(config))
    return [
        folder.path("figure", figure=name, suffix=suffix)
        for name in names
        for suffix in (*FIGURE_FORMATS, "csv")
    ]


_FILES: dict[str, Callable[[Config, RunFolder], Iterable[Path]]] = {
    "config": lambda config, folder: [folder.config],
    "download": lambda config, folder: map(folder.download, needed_sets(config)),
    "images": lambda config, folder: map(folder.data, config.parts),
    "skipped": lambda config, folder: map(folder.skipped, config.parts),
    "sheet": lambda config, folder: [folder.path("sheet", part=part) for part in config.parts],
    "noise": lambda config, folder: [folder.noise(*one) for one in _grid(config)],
    "baseline": lambda config, folder: [
        path for one in _grid(config) for path in baselines_of(config, folder, *one)
    ],
    "preview": lambda config, folder: [folder.preview],
    "model": lambda config, folder: map(folder.model, all_models(config)),
    "training": lambda config, folder: map(folder.training, all_models(config)),
    "evaluation": lambda config, folder: [folder.evaluation(*one) for one in evaluations(config)],
    "arrays": lambda config, folder: [folder.arrays(*one) for one in evaluations(config)],
    "table": lambda config, folder: [
        folder.table(table_number(part), suffix)
        for part in config.parts
        for suffix in TABLE_FORMATS
    ],
    "claims": lambda config, folder: [folder.claims],
    "sensitivity": lambda config, folder: [folder.sensitivity] if studies(config) else [],
    "figure": _figures,
    "manifest": lambda config, folder: [folder.manifest],
    "report": lambda config, folder: [folder.report],
}
