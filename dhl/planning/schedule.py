"""Simulate a run: a job starts when its parents have ended and enough cores are free."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from dhl.planning.jobs import Job


def wall_seconds(jobs: Mapping[str, Job], *, cores: int, gpu_jobs: int) -> float:
    """Return how long all jobs take together; trainings have priority, as in the workflow.

    Parameters
    ----------
    jobs : mapping of str to Job
        By name; a job stands after its parents.
    cores : int
        A job that wants more uses all.
    gpu_jobs : int
        Jobs that use GPUs at once; 0 runs them on the CPU.

    Returns
    -------
    float
        Seconds until the last job ends.
    """
    missing = {name: len(set(job.parents)) for name, job in jobs.items()}
    children: dict[str, list[str]] = {name: [] for name in jobs}
    for name, job in jobs.items():
        for parent in set(job.parents):
            children[parent].append(name)
    ready = [name for name, count in missing.items() if not count]
    running: list[tuple[float, str]] = []
    now, free, free_gpus = 0.0, cores, gpu_jobs
    while ready or running:
        for name in sorted(ready, key=lambda name: jobs[name].rule != "train"):
            job = jobs[name]
            threads, gpus = min(job.threads, cores), int(job.on_gpu and gpu_jobs > 0)
            if threads <= free and gpus <= free_gpus:
                ready.remove(name)
                heapq.heappush(running, (now + job.seconds, name))
                free, free_gpus = free - threads, free_gpus - gpus
            if not free:
                break
        now, ended = heapq.heappop(running)
        free += min(jobs[ended].threads, cores)
        free_gpus += int(jobs[ended].on_gpu and gpu_jobs > 0)
        for child in children[ended]:
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    return now
