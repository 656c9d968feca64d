"""Jobs side by side on the cores and GPUs of a machine. Imports no torch: the live view uses it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from dhl.config.methods import BATCHED

# As in `workflow/rules`: the preview, the trainings (the longest chain first), and the rest.
PRIORITIES = {"data": 20, "noise": 20, "baseline": 20, "preview": 20, "train": 10}


@dataclass(frozen=True)
class Job:
    """One job of Snakemake."""

    name: str  # the path of its log below `logs/`, such as `train/separate/sigma30`
    seconds: float
    parents: tuple[str, ...] = ()  # names of the jobs that must end first
    amount: int = 0  # steps of a training, or images of the other jobs
    threads: int = 1
    flops: float = 0
    disk_bytes: int = 0

    @property
    def rule(self) -> str:
        """The rule of the workflow."""
        return self.name.partition("/")[0]


def uses_torch(name: str) -> bool:
    """Return whether a job imports torch, and uses a GPU if there is one."""
    batched = any(f"/{method}-sigma" in name for method in BATCHED)
    return batched or name.partition("/")[0] in ("train", "evaluate")


def wall_seconds(jobs: Sequence[Job], *, cores: int, gpu_jobs: int) -> float:
    """Estimate the wall time of all jobs; with the priorities of the workflow.

    A job with more threads than `cores` uses all cores. At most `gpu_jobs` jobs use GPUs at once;
    with 0, all run on the CPU.
    """
    priorities = {job.name: PRIORITIES.get(job.rule, 0) for job in jobs}
    trainings = [job for job in jobs if job.rule == "train"]
    for job in reversed(trainings):  # parents are listed first
        for parent in set(job.parents) & priorities.keys():
            if parent.startswith("train/"):
                priorities[parent] = max(priorities[parent], priorities[job.name] + 1)
    waiting = sorted(jobs, key=lambda job: -priorities[job.name])
    running: list[tuple[float, str, int, int]] = []  # end, name, cores and GPUs
    ended: set[str] = set()
    now, free, free_gpus = 0.0, cores, gpu_jobs
    while waiting or running:
        for job in waiting.copy():
            if not free:
                break
            threads = min(job.threads, cores)
            gpus = int(uses_torch(job.name) and gpu_jobs > 0)
            if threads <= free and gpus <= free_gpus and ended.issuperset(job.parents):
                waiting.remove(job)
                heapq.heappush(running, (now + job.seconds, job.name, threads, gpus))
                free, free_gpus = free - threads, free_gpus - gpus
        now, name, threads, gpus = heapq.heappop(running)
        ended.add(name)
        free, free_gpus = free + threads, free_gpus + gpus
    return now
