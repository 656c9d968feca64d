"""What a run needs, before it starts and without its data: jobs, time, disk and downloads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from dhl.config.catalogue import CATALOGUE
from dhl.config.data_sets import PluginData
from dhl.config.methods import is_baseline
from dhl.config.recipes import WarmStart
from dhl.config.schema import Config
from dhl.planning.jobs import Job, list_jobs
from dhl.planning.machine import Machine
from dhl.planning.operations import Workload
from dhl.planning.schedule import wall_seconds
from dhl.run.downloads import needed_sets
from dhl.run.model_graph import all_models, model_spec


@dataclass(frozen=True)
class Row:
    """The jobs of one rule, or of one rule and subject; the amounts are sums over these jobs."""

    rule: str
    subject: str
    jobs: int
    amount: int
    seconds: float
    flops: float
    disk_bytes: int


@dataclass(frozen=True)
class Plan:
    """All jobs of a run on one machine.

    Attributes
    ----------
    run : str
    machine : Machine
    jobs : dict of str to Job
    download_bytes : int
    unknown : tuple of str
        Plug-ins whose time is unknown and counts as 0.
    warnings : tuple of str
    """

    run: str
    machine: Machine
    jobs: dict[str, Job]
    download_bytes: int
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def wall_seconds(self) -> float:
        """The time of the whole run, with jobs side by side."""
        return wall_seconds(self.jobs, cores=self.machine.cores, gpu_jobs=self.machine.gpu_jobs)

    @property
    def job_counts(self) -> dict[str, int]:
        """Jobs per rule, as Snakemake counts them."""
        return dict(Counter(job.rule for job in self.jobs.values()))

    @property
    def disk_bytes(self) -> int:
        """The disk that all files need."""
        return sum(job.disk_bytes for job in self.jobs.values())

    @property
    def checkpoint_bytes(self) -> int:
        """The largest checkpoint of an unfinished training: weights, and two moments of each."""
        return 3 * max((job.disk_bytes for job in self.jobs.values() if job.rule == "train"),
                       default=0)  # fmt: skip

    def rows(self, *, by_subject: bool = False) -> list[Row]:
        """Add up the jobs of each rule, or of each rule and subject."""
        groups: dict[tuple[str, str], list[Job]] = {}
        for job in self.jobs.values():
            groups.setdefault((job.rule, job.subject if by_subject else ""), []).append(job)
        columns = ("amount", "seconds", "flops", "disk_bytes")
        return [
            Row(*key, len(jobs), *(sum(getattr(job, name) for job in jobs) for name in columns))
            for key, jobs in groups.items()
        ]


def make_plan(workload: Workload, machine: Machine) -> Plan:
    """Plan a run on a machine."""
    config = workload.config
    # A set behind an account lies in the user's own folder and is only unpacked.
    fetched = [CATALOGUE[name] for name in needed_sets(config) if not CATALOGUE[name].account]
    return Plan(
        config.run,
        machine,
        list_jobs(workload, machine),
        sum(one.bytes for one in fetched),
        tuple(dict.fromkeys(_of_unknown_time(config, machine))),
        tuple(_warnings_of_warm_starts(config)),
    )


def _of_unknown_time(config: Config, machine: Machine) -> Iterator[str]:
    """Name the plug-in data and methods, and CBM3D where it is not installed."""
    for part in config.parts:
        if isinstance(data := config.parts[part].data, PluginData):
            yield data.name
        for method in filter(is_baseline, config.parts[part].methods):
            if f"{method}, {part}" not in machine.cbm3d_seconds:
                yield method


def _warnings_of_warm_starts(config: Config) -> Iterator[str]:
    """Name the sigmas of denoisers that start from a model not trained on these sigmas."""
    unseen: dict[str, list[float]] = {}
    for key in all_models(config):
        spec = model_spec(config, key)
        start = spec.start and model_spec(config, spec.start).recipe
        if isinstance(start, WarmStart) and not start.covers(spec.sigma):
            unseen.setdefault(spec.start.partition("/")[0], []).append(spec.sigma)
    for name, sigmas in unseen.items():
        listed = ", ".join(f"{sigma:g}" for sigma in sorted(set(sigmas)))
        yield f"denoisers of sigma {listed} start from `{name}`, which is not trained on them."
