"""How fast this machine runs the jobs of a run."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from dhl.errors import UserError
from dhl.planning.operations import Workload
from dhl.training.device import uses_cuda
from dhl.training.gpu_slots import gpus_of_this_machine

MOST_PROCESSES = 4  # that measure at once
# What a job without networks imports.
IMPORTS = "import time, dhl.cli.parser, dhl.analysis.tables; print(time.process_time())"


@dataclass(frozen=True)
class Machine:
    """What runs the jobs, and how fast.

    Attributes
    ----------
    device : str
        The model of the processor or GPU that trains.
    cores : int
        CPU cores that jobs may use.
    gpu_jobs : int
        Jobs that may use GPUs at once; 0 without a GPU.
    source : {"measured", "given"}
        Where the rates of networks come from.
    start_seconds, start_without_torch_seconds : float
        To start a job that imports torch, and another one.
    training_flops, evaluation_flops : float
        Operations a second of one job.
    step_seconds : dict of str to float
        A training step, by kind of model; kinds that are missing have `training_flops`.
    cbm3d_seconds : dict of str to float
        An image, by method and part, such as `cbm3d, denoising`.
    """

    device: str
    cores: int
    gpu_jobs: int
    source: str
    start_seconds: float
    start_without_torch_seconds: float
    training_flops: float
    evaluation_flops: float
    step_seconds: dict[str, float] = field(default_factory=dict)
    cbm3d_seconds: dict[str, float] = field(default_factory=dict)


def measure_machine(
    workload: Workload, *, cores: int | None = None, tflops: float | None = None
) -> Machine:
    """Measure this machine with the networks and image sizes of a run, in some seconds.

    Parameters
    ----------
    workload : Workload
    cores : int, optional
        Cores that jobs may use; default: all that this process may use.
    tflops : float, optional
        The sustained rate of one training; networks are not measured then.

    Raises
    ------
    UserError
        If a rate is not positive, the device is missing, or a measurement fails.
    """
    if tflops is not None and not 0 < tflops < float("inf"):
        raise UserError(
            "The rate is not positive.", came=f"--tflops {tflops:g}", do="give a positive number."
        )
    config = workload.config
    cores = cores or _all_cores()
    gpus = 0
    if uses_cuda(config):
        gpus = 1 if ":" in config.device else gpus_of_this_machine()
    gpu_jobs = gpus * config.jobs_per_gpu
    side_by_side = min(max(1, cores // config.threads), gpu_jobs or cores, MOST_PROCESSES)
    request = pickle.dumps((workload, tflops is None))
    with ThreadPoolExecutor(side_by_side) as pool:
        outputs = list(pool.map(_measure, [request] * side_by_side))
        start = list(pool.map(lambda _: _run("-c", IMPORTS), range(side_by_side)))
    rates = _average([json.loads(output) for output in outputs])
    if tflops is not None:
        rates |= {"training_flops": 1e12 * tflops, "evaluation_flops": 1e12 * tflops}
    return Machine(
        cores=cores, gpu_jobs=gpu_jobs, source="given" if tflops else "measured",
        start_without_torch_seconds=mean(map(float, start)), **rates,
    )  # fmt: skip


def _all_cores() -> int:
    """Count the cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)  # Linux
    return len(usable(0)) if usable else os.cpu_count() or 1


def _measure(request: bytes) -> bytes:
    """Run the benchmark in a fresh process, and return what it prints."""
    return _run("-m", "dhl.planning.benchmark", request=request)


def _run(*arguments: str, request: bytes = b"") -> bytes:
    """Run Python with these arguments."""
    done = subprocess.run([sys.executable, *arguments], input=request, capture_output=True)
    if done.returncode:
        raise UserError(
            "The speed of this machine could not be measured.",
            came=done.stderr.decode(errors="replace").strip() or f"status {done.returncode}",
            do="correct that, or give the rate of one training: `--tflops`.",
        )
    return done.stdout


def _average(measured: list[Any]) -> Any:
    """Average the numbers of several measurements, key by key."""
    first = measured[0]
    if isinstance(first, dict):
        return {key: _average([one[key] for one in measured]) for key in first}
    return first if isinstance(first, str) else mean(measured)
