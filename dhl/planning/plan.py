"""Plan a run before its data exist: jobs, time, disk space and downloads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from dhl.config.catalogue import CATALOGUE
from dhl.config.data_sets import PluginData
from dhl.config.methods import is_baseline
from dhl.config.recipes import WarmStart
from dhl.config.rules import unequal_images
from dhl.config.schema import Config
from dhl.planning.image_counts import PartCounts
from dhl.planning.jobs import list_jobs
from dhl.planning.machine import Machine
from dhl.planning.schedule import Job, wall_seconds
from dhl.run.downloads import needed_sets
from dhl.run.model_graph import all_models, model_spec

# From the largest unit to the smallest.
FLOPS = {"E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6}
SECONDS = {"days": 2 * 86400, "h": 3600, "min": 60, "s": 1, "ms": 1e-3}
BYTES = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}


@dataclass(frozen=True)
class Row:
    """The jobs of one rule; the amounts are sums over these jobs."""

    rule: str
    jobs: int
    amount: int
    seconds: float
    flops: float
    disk_bytes: int


@dataclass(frozen=True)
class Plan:
    """All jobs of a run on one machine."""

    run: str
    machine: Machine
    jobs: list[Job]
    download_bytes: int
    # Plug-ins, and methods of a package that is not installed: they count as 0 seconds.
    unknown: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def wall_seconds(self) -> float:
        """The time of the run, with parallel jobs."""
        return wall_seconds(self.jobs, cores=self.machine.cores, gpu_jobs=self.machine.gpu_jobs)

    @property
    def rows(self) -> list[Row]:
        """The jobs of each rule."""
        groups: dict[str, list[Job]] = {}
        for job in self.jobs:
            groups.setdefault(job.rule, []).append(job)
        columns = ("amount", "seconds", "flops", "disk_bytes")
        return [
            Row(rule, len(jobs), *(sum(getattr(job, name) for job in jobs) for name in columns))
            for rule, jobs in groups.items()
        ]


def make_plan(config: Config, counts: dict[str, PartCounts], machine: Machine) -> Plan:
    """Plan a run on a machine, from the image counts of each part."""
    # A set behind an account lies in the user's own folder and is only unpacked.
    fetched = [CATALOGUE[name] for name in needed_sets(config) if not CATALOGUE[name].account]
    return Plan(
        config.run,
        machine,
        list_jobs(config, counts, machine),
        sum(one.bytes for one in fetched),
        tuple(dict.fromkeys(_of_unknown_time(config, machine))),
        (*_warm_start_warnings(config), *_unequal_images(config)),
    )


def _of_unknown_time(config: Config, machine: Machine) -> Iterator[str]:
    """Yield plug-ins, and the methods of the package `bm3d` if it is not installed."""
    for part in config.parts:
        if isinstance(data := config.parts[part].data, PluginData):
            yield data.name
        for method in filter(is_baseline, config.parts[part].methods):
            if method not in machine.baseline_seconds:
                yield method


def _warm_start_warnings(config: Config) -> Iterator[str]:
    """Warn of denoisers that start from a model which is not trained on their sigma."""
    unseen: dict[str, set[float]] = {}
    for key in all_models(config):
        spec = model_spec(config, key)
        if spec.start is None or not isinstance(spec.sigma, float):
            continue
        start = model_spec(config, spec.start).recipe
        if isinstance(start, WarmStart) and not start.covers(spec.sigma):
            unseen.setdefault(spec.start.partition("/")[0], set()).add(spec.sigma)
    for name, sigmas in unseen.items():
        listed = ", ".join(f"{sigma:g}" for sigma in sorted(sigmas))
        yield f"denoisers of sigma {listed} start from `{name}`, which is not trained on them."


def _unequal_images(config: Config) -> Iterator[str]:
    """Warn of retrained networks that see more or fewer images than the joint denoiser."""
    for task, (retrained, joint) in unequal_images(config).items():
        yield (
            f"`retrained` of {task} sees {retrained:,} images and `joint` {joint:,}; for a fair "
            "comparison, make steps x batch equal."
        )


def to_json(plan: Plan) -> str:
    """Return a plan as JSON."""
    content = asdict(plan) | {
        "wall_seconds": plan.wall_seconds,
        "disk_bytes": sum(row.disk_bytes for row in plan.rows),
        "rows": [asdict(row) for row in plan.rows],
    }
    return json.dumps(content, indent=1)


def to_text(plan: Plan) -> str:
    """Return a plan as text: an aligned table, and the basis of its estimates."""
    cells = [("rule", "jobs", "work", "FLOP", "job time", "disk"), *map(_cells, plan.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    machine = plan.machine
    start = f"CBM3D and the start of a job ({machine.start_seconds:.2g} s)"
    basis = {
        "measured": f"from networks, {start}, measured here",
        "given": f"from a given rate of networks; {start} were measured here",
        "reference": "from the rates of a reference machine; nothing was measured here",
    }[machine.source]
    notes = [
        f"Wall time: {_quantity(plan.wall_seconds, SECONDS)} on {machine.device}, "
        f"{machine.cores} core{'s' * (machine.cores > 1)}; {basis}.",
        f"Disk: {_quantity(sum(row.disk_bytes for row in plan.rows), BYTES)}.",
        f"To download: {_quantity(plan.download_bytes, BYTES) or 'nothing'} (time not counted).",
        *([f"Not counted, unknown time: {', '.join(plan.unknown)}."] if plan.unknown else []),
        *(f"Warning: {warning}" for warning in plan.warnings),
    ]
    return "\n".join([f"{plan.run}: {len(plan.jobs):,} jobs", "", *lines, "", *notes])


def _cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row; a zero is empty."""
    unit = "steps" if row.rule == "train" else "images"
    return (
        row.rule, f"{row.jobs:,}", f"{row.amount:,} {unit}" if row.amount else "",
        _quantity(row.flops, FLOPS), _quantity(row.seconds, SECONDS),
        _quantity(row.disk_bytes, BYTES),
    )  # fmt: skip


def _quantity(value: float, units: dict[str, float]) -> str:
    """Return a value in the largest unit that does not exceed it; "" for 0."""
    if not value:
        return ""
    unit = next((unit for unit, size in units.items() if value >= size), list(units)[-1])
    scaled = value / (86400 if unit == "days" else units[unit])
    return f"{scaled:,.0f} {unit}" if scaled >= 100 else f"{scaled:.3g} {unit}"
