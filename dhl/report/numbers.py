"""Every number of the tables, with its origin: files, digests, logs and commands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dhl.analysis.tables import mark_best, table_averages
from dhl.config.methods import METRICS, base_of, is_baseline
from dhl.config.schema import Config
from dhl.run.evaluations import comparisons, evaluated_draws, experiments, studied
from dhl.run.folder import RunFolder
from dhl.run.shards import shards
from dhl.seeding import Draw
from dhl.sigma import format_sigma


@dataclass(frozen=True)
class File:
    """A file of the run: its path from the run's folder, and its SHA-256 in the manifest."""

    path: str
    digest: str | None


@dataclass(frozen=True)
class Step:
    """A job: its name, the files that it wrote, its log, and the command that repeats it."""

    name: str
    files: tuple[File, ...]
    log: str
    command: str


@dataclass(frozen=True)
class Origin:
    """The jobs behind the numbers of a part at a sigma."""

    part: str
    sigma: float
    steps: tuple[Step, ...]  # the noise, and the evaluation of each seed
    # Per method its anchor in the page, and the models or denoised images that it needs.
    methods: dict[str, tuple[str, tuple[Step, ...]]]


def read_numbers(config: Config, folder: RunFolder) -> list[dict[str, Any]]:
    """Read all values over all images, table by table.

    Returns
    -------
    list of dict
        Rows of the tables with `part`, `delta` (this run's value minus the paper's) and `anchor`,
        which links to the origin of the number in the page.
    """
    return [
        row | {"part": part, "delta": row["value"] - row["published"],
               "anchor": _anchor(part, row["sigma"], row["method"])}
        for part in config.parts
        for row in table_averages(config, part, folder).to_dict("records")
    ]  # fmt: skip


def main_table(config: Config, numbers: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    """Return the main metric of a part, such as top-1 accuracy.

    Returns
    -------
    list of dict
        A row per method: `method`, and `cells`, its rows of `numbers` by sigma. A cell has `best`:
        whether the table marks it as the best at its sigma.
    """
    metric, methods = METRICS[base_of(part)][0], config.parts[part].methods
    grid = {
        (row["method"], row["sigma"]): row
        for row in numbers
        if (row["part"], row["metric"]) == (part, metric)
    }
    table: list[dict[str, Any]] = [{"method": method, "cells": []} for method in methods]
    for sigma in config.parts[part].sigmas:
        marks = mark_best({method: grid[method, sigma]["value"] for method in methods}, metric)
        for line in table:
            best = marks.get(line["method"]) == "best"
            line["cells"].append(grid[line["method"], sigma] | {"best": best})
    return table


def _anchor(part: str, sigma: float, method: str) -> str:
    return f"made-{part}-{format_sigma(sigma)}-{method}"


class Tracer:
    """Finds the jobs and files behind numbers, with the digests of the run's manifest."""

    def __init__(self, config: Config, folder: RunFolder, manifest: dict[str, Any]):
        self.config, self.folder, self.digests = config, folder, manifest["files"]

    def origins(self) -> list[Origin]:
        """List the origin of the numbers of each part at each sigma."""
        parts = self.config.parts
        return [self._origin(part, sigma) for part in parts for sigma in parts[part].sigmas]

    def studies(self) -> list[Step]:
        """List the evaluations behind the studies beyond the paper, and the models they compare."""
        steps: list[Step] = []
        keys: dict[str, None] = {}
        for part, sigma in studied(self.config):
            pairs = comparisons(self.config, part, sigma)
            compared = {one for pair in pairs for one in (pair.experiment, pair.reference)}
            for draw in evaluated_draws(self.config, part, sigma):
                if draw.task > 1:
                    continue
                name = f"{part} at sigma {format_sigma(sigma)}" + self._of_training(draw)
                steps.append(self._evaluation(name, part, sigma, draw))
                for one in experiments(self.config, part, sigma, draw):
                    keys |= dict.fromkeys(one.models(self.config, draw) if one in compared else ())
        return [*steps, *self._models(keys)]

    def _origin(self, part: str, sigma: float) -> Origin:
        noise = self._step(
            "noise", f"noise/{part}/sigma{format_sigma(sigma)}", self.folder.noise(part, sigma),
            self.folder.data(part),
        )  # fmt: skip
        evaluations = [
            self._evaluation("evaluation" + self._of_training(draw), part, sigma, draw)
            for draw in evaluated_draws(self.config, part, sigma)
        ]
        methods = {
            method: (_anchor(part, sigma, method), tuple(self._method(part, sigma, method)))
            for method in self.config.parts[part].methods
        }
        return Origin(part, sigma, (noise, *evaluations), methods)

    def _method(self, part: str, sigma: float, method: str) -> list[Step]:
        """List the models, or the denoised images, that a method needs."""
        if is_baseline(method):
            log = f"baseline/{part}/{method}-sigma{format_sigma(sigma)}"
            return [
                self._step(f"{method}, {shard}", f"{log}/{shard}",
                           self.folder.baseline(part, method, sigma, shard))
                for shard in shards(self.config.parts[part].shards)
            ]  # fmt: skip
        keys: dict[str, None] = {}
        for draw in evaluated_draws(self.config, part, sigma):
            for one in experiments(self.config, part, sigma, draw):
                keys |= dict.fromkeys(one.models(self.config, draw) if one.name == method else ())
        return self._models(keys)

    def _of_training(self, draw: Draw) -> str:
        """Name the trainings of a draw, if the run has several."""
        task = f", task network {draw.task}" if self.config.task_seeds > 1 else ""
        return task + (f", training {draw.seed}" if self.config.seeds > 1 else "")

    def _evaluation(self, name: str, part: str, sigma: float, draw: Draw) -> Step:
        rows = self.folder.evaluation(part, sigma, draw)
        return self._step(name, f"evaluate/{part}/{rows.stem}", rows, rows.with_suffix(".npz"))

    def _models(self, keys: Iterable[str]) -> list[Step]:
        return [
            self._step(key, f"train/{key}", self.folder.model(key), self.folder.training(key))
            for key in keys
        ]

    def _step(self, name: str, log: str, *paths: Path) -> Step:
        """Describe a job; its command asks Snakemake for the first file."""
        names = [path.relative_to(self.folder.root).as_posix() for path in paths]
        root = f"results/{self.config.run}"
        return Step(
            name,
            tuple(File(path, self.digests.get(path)) for path in names),
            f"logs/{log}.log",
            f"snakemake --cores 1 --configfile {root}/config.yaml --force {root}/{names[0]}",
        )
