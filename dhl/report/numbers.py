"""Every number of the tables, and what each was made from: files, digests, logs, commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dhl.analysis.published import AVERAGE
from dhl.config.methods import TABLES, is_baseline
from dhl.config.schema import Config
from dhl.run.evaluations import evaluated_models, evaluated_seeds, experiments, studied
from dhl.run.folder import RunFolder
from dhl.run.results import TABLE_COLUMNS, read_csv
from dhl.run.shards import shards
from dhl.sigma import format_sigma


@dataclass(frozen=True)
class Number:
    """A value over all images of a table.

    Attributes
    ----------
    part, metric, method : str
    sigma : float
        On the 0-255 scale.
    paper, value, delta, ci_low, ci_high, seed_std : float
        Fractions or dB; NaN where there is none. `delta` is ours minus the paper's.
    n : int
        Images.
    status : str
        Why a value, or the paper's, is missing.
    anchor : str
        Where the page says what the number was made from.
    """

    part: str
    metric: str
    method: str
    sigma: float
    paper: float
    value: float
    delta: float
    ci_low: float
    ci_high: float
    seed_std: float
    n: int
    status: str
    anchor: str


@dataclass(frozen=True)
class File:
    """A file of the run: its path from the run's folder, and its SHA-256 in the manifest."""

    path: str
    digest: str | None


@dataclass(frozen=True)
class Step:
    """What one job made.

    Attributes
    ----------
    name : str
        A model's key, or what was measured.
    files : tuple of File
    log : str
        Path from the run's folder.
    command : str
        Makes the files anew, from the folder of the checkout.
    """

    name: str
    files: tuple[File, ...]
    log: str
    command: str


@dataclass(frozen=True)
class Origin:
    """What the numbers of a part at a sigma were made from.

    Attributes
    ----------
    part : str
    sigma : float
    evaluations : tuple of Step
        The first training's, then further ones'.
    noise : Step
    methods : dict of str to (str, tuple of Step)
        Per method its anchor, and the models or denoised images that it needs.
    """

    part: str
    sigma: float
    evaluations: tuple[Step, ...]
    noise: Step
    methods: dict[str, tuple[str, tuple[Step, ...]]]


def read_numbers(config: Config, folder: RunFolder) -> list[Number]:
    """Read all values over all images, table by table.

    Raises
    ------
    UserError
        If a table is missing or was edited by hand.
    """
    numbers = []
    for part in config.parts:
        table = read_csv(folder.table(TABLES[part]), TABLE_COLUMNS)
        for row in table[table["image_id"] == AVERAGE].to_dict("records"):
            numbers.append(
                Number(
                    part, row["metric"], row["method"], row["sigma"], row["published"],
                    row["value"], row["value"] - row["published"], row["ci_low"], row["ci_high"],
                    row["seed_std"], int(row["n"]), row["status"],
                    _anchor(part, row["sigma"], row["method"]),
                )
            )  # fmt: skip
    return numbers


def trace_origins(config: Config, folder: RunFolder, manifest: dict[str, Any]) -> list[Origin]:
    """List what the numbers were made from, with the digests of the run's manifest."""
    tracer = _Tracer(config, folder, manifest)
    return [
        tracer.origin(part, sigma) for part in config.parts for sigma in config.parts[part].sigmas
    ]


def trace_studies(config: Config, folder: RunFolder, manifest: dict[str, Any]) -> list[Step]:
    """List the evaluations and models behind the studies beyond the paper."""
    tracer = _Tracer(config, folder, manifest)
    steps: list[Step] = []
    keys: dict[str, None] = {}
    for part, sigma in studied(config):
        for seed in evaluated_seeds(config, part, sigma):
            name = f"{part} at sigma {format_sigma(sigma)}"
            name += f", training {seed}" if config.seeds > 1 else ""
            steps.append(tracer.evaluation(name, part, sigma, seed))
            keys |= dict.fromkeys(evaluated_models(config, part, sigma, seed))
    return [*steps, *map(tracer.model, keys)]


def _anchor(part: str, sigma: float, method: str) -> str:
    """Return the place on the page that says what a number was made from."""
    return f"made-{part}-{format_sigma(sigma)}-{method}"


class _Tracer:
    """Finds the files behind numbers."""

    def __init__(self, config: Config, folder: RunFolder, manifest: dict[str, Any]):
        self.config, self.folder, self.digests = config, folder, manifest["files"]

    def origin(self, part: str, sigma: float) -> Origin:
        """Describe the numbers of a part at a sigma."""
        seeds = evaluated_seeds(self.config, part, sigma)
        name = f"{part}/sigma{format_sigma(sigma)}"
        evaluations = [
            self.evaluation(f"training {seed}" if len(seeds) > 1 else "images measured one by one",
                            part, sigma, seed)
            for seed in seeds
        ]  # fmt: skip
        noise = self.step(
            "noise", f"logs/noise/{name}.log", self.folder.noise(part, sigma),
            self.folder.data(part),
        )  # fmt: skip
        methods = {
            method: (_anchor(part, sigma, method), tuple(self._method(part, sigma, method)))
            for method in self.config.parts[part].methods
        }
        return Origin(part, sigma, tuple(evaluations), noise, methods)

    def _method(self, part: str, sigma: float, method: str) -> list[Step]:
        """List the models, or the images denoised before, that a method needs."""
        if is_baseline(method):
            return [
                self.step(
                    f"{method}, {shard}",
                    f"logs/baseline/{part}/{method}-sigma{format_sigma(sigma)}/{shard}.log",
                    self.folder.baseline(part, method, sigma, shard),
                )
                for shard in shards(self.config.parts[part].shards)
            ]
        keys: dict[str, None] = {}
        for seed in evaluated_seeds(self.config, part, sigma):
            for one in experiments(self.config, part, sigma, seed):
                keys |= dict.fromkeys(one.models(seed) if one.name == method else ())
        return [self.model(key) for key in keys]

    def evaluation(self, name: str, part: str, sigma: float, seed: int) -> Step:
        """Describe an evaluation."""
        rows = self.folder.evaluation(part, sigma, seed)
        log = f"logs/evaluate/{part}/{rows.stem}.log"
        return self.step(name, log, rows, rows.with_suffix(".npz"))

    def model(self, key: str) -> Step:
        """Describe what a training made."""
        return self.step(
            key, f"logs/train/{key}.log", self.folder.model(key), self.folder.training(key)
        )

    def step(self, name: str, log: str, *paths: Path) -> Step:
        """Describe what a job made; the first file is what Snakemake is asked for."""
        names = [path.relative_to(self.folder.root).as_posix() for path in paths]
        root = f"results/{self.config.run}"
        return Step(
            name,
            tuple(File(path, self.digests.get(path)) for path in names),
            log,
            f"snakemake --cores 1 --configfile {root}/config.yaml --force {root}/{names[0]}",
        )
