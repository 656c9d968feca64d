"""The time that a running workflow still needs: its plan, corrected by the jobs that have run."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from dhl.planning.schedule import Job, wall_seconds

# The lines of `dhl.progress` in the log of a job: while a task runs, and at its end.
_LINE = re.compile(r"(\d+) of (\d+), about (\d+) of (\d+) s left ?(.*)")
_DONE = re.compile(r"(\d+) of (\d+) done in ([\d.]+) s")
_ALWAYS_LOGGED = ("train", "baseline", "evaluate")  # rules whose jobs have these lines
_TAIL = 2000  # bytes at the end of a log
LEAST_SECONDS = 1.0  # that a running job still needs
# The plan weighs `PLAN_WEIGHT` times as much as the measured seconds, and at most `MOST_WEIGHT`
# seconds. The first jobs of a run are often unusual: they correct a nearly right plan by little,
# and a plan that is wrong by far, as on a GPU, at once.
PLAN_WEIGHT = 3.0
MOST_WEIGHT = 1200.0


class LoggedProgress(NamedTuple):
    """How far a job is, by the last line of progress in its log."""

    done: int
    total: int
    seconds_left: float
    seconds: float  # of the whole job, with the work of an earlier try
    note: str


@dataclass(frozen=True)
class RunningJob:
    """A job that runs, or waits in the queue of a cluster."""

    log: Path
    started: float  # on the clock of the caller, in seconds
    queued: bool = False  # whether it began when the cluster started it, not at `started`
    log_before: int | None = None  # `written_at` of the log of an earlier try


@dataclass
class RunState:
    """The jobs of a workflow at a moment; a job's name is the path of its log below `logs/`."""

    planned: dict[str, Job] = field(default_factory=dict)  # empty until the plan is made
    to_run: Counter[str] = field(default_factory=Counter)  # jobs of each rule at the start
    running: dict[str, RunningJob] = field(default_factory=dict)
    ended: dict[str, float | None] = field(default_factory=dict)  # seconds; None: not measured
    cores: int = 1
    on_cluster: bool = False  # `cores` is the largest number of jobs at once
    gpu_jobs: int = 0
    earlier: frozenset[str] = frozenset()  # jobs with a log of an earlier run


def written_at(log: Path) -> int | None:
    """Return when a log was written, in nanoseconds; None if there is none."""
    try:
        return log.stat().st_mtime_ns
    except OSError:
        return None


def read_progress(job: RunningJob) -> LoggedProgress | None:
    """Read how far a job is; None before its first line of progress."""
    lines = _LINE.findall(_end_of_log(job))
    if not lines:
        return None
    done, total, left, seconds, note = lines[-1]
    return LoggedProgress(int(done), int(total), float(left), float(seconds), note.strip())


def measured_seconds(name: str, job: RunningJob, now: float) -> float | None:
    """Return the seconds that a job took which has just ended; None if they are not known.

    A resumed training counts as a whole one. One that took a finished model is not measured, nor is
    the time in the queue of a cluster.
    """
    tasks = _DONE.findall(_end_of_log(job))
    if not tasks and (job.queued or name.partition("/")[0] in _ALWAYS_LOGGED):
        return None
    seconds = sum(float(took) * int(total) / max(1, int(done)) for done, total, took in tasks)
    return seconds if job.queued else max(seconds, now - job.started)


def _end_of_log(job: RunningJob) -> str:
    """Return the last lines of a job's log; empty before it writes."""
    if written_at(job.log) == job.log_before:
        return ""
    try:
        with open(job.log, "rb") as file:
            file.seek(max(0, job.log.stat().st_size - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def seconds_left(state: RunState, now: float) -> float | None:
    """Estimate the seconds until the last job ends; None without a plan."""
    if not state.planned:
        return None
    progress = {name: read_progress(job) for name, job in state.running.items()}
    scaled = _scaled_plan(state, progress, now)
    jobs = [scaled[name] for name in _waiting(state)]
    for name, running in state.running.items():
        known, job = progress[name], scaled.get(name, Job(name, LEAST_SECONDS))
        took = 0.0 if running.queued else now - running.started
        left = known.seconds_left if known else job.seconds - took
        jobs.append(replace(job, seconds=max(LEAST_SECONDS, left)))
    names = {job.name for job in jobs}
    jobs = [
        replace(
            job,
            parents=tuple(parent for parent in job.parents if parent in names),
            threads=1 if state.on_cluster else job.threads,
        )
        for job in jobs
    ]
    return wall_seconds(jobs, cores=state.cores, gpu_jobs=state.gpu_jobs)


def _scaled_plan(
    state: RunState, progress: dict[str, LoggedProgress | None], now: float
) -> dict[str, Job]:
    """Return the planned jobs, with their seconds corrected by the jobs that were measured.

    The correction of a job is the ratio of true to planned seconds over the jobs of its kind, drawn
    to that of its rule; the rule's is drawn to that of all jobs, and that to 1.
    """
    true: defaultdict[str, float] = defaultdict(float)
    planned: defaultdict[str, float] = defaultdict(float)
    measured = {name: seconds for name, seconds in state.ended.items() if seconds is not None}
    for name, known in progress.items():
        if known is not None:
            running = state.running[name]
            # Unless it is resumed, a job takes longer than its work, because it starts Python.
            here = 0.0 if running.queued else now - running.started + known.seconds_left
            measured[name] = max(known.seconds, here)
    for name in measured.keys() & state.planned.keys():
        for group in _groups(name):
            true[group] += measured[name]
            planned[group] += state.planned[name].seconds
    scaled = {}
    for name, job in state.planned.items():
        scale = 1.0
        for group in _groups(name):
            if planned[group]:
                weight = min(MOST_WEIGHT, PLAN_WEIGHT * true[group])
                scale = (true[group] + weight * scale) / (planned[group] + weight)
        scaled[name] = replace(job, seconds=job.seconds * scale)
    return scaled


def _groups(name: str) -> tuple[str, str, str]:
    """Return the groups of a job, the widest first: all jobs, its rule, and its kind.

    The kind is, for instance, `train/joint-classification`.
    """
    rule, _, rest = name.partition("/")
    return "", rule, f"{rule}/{rest.partition('/')[0]}"


def _waiting(state: RunState) -> Iterator[str]:
    """Yield the jobs that have not begun. Of a resumed run, Snakemake tells only their number.

    Jobs without a log of an earlier run come first.
    """
    begun = Counter(name.partition("/")[0] for name in (*state.ended, *state.running))
    left = state.to_run - begun
    for name in sorted(state.planned, key=lambda name: name in state.earlier):
        rule = state.planned[name].rule
        if name not in state.ended and name not in state.running and left[rule] > 0:
            left[rule] -= 1
            yield name
