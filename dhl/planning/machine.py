"""Measure how fast this machine runs the networks of a run.

On a CPU, CPU time is measured, which other work on the machine changes little.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.evaluation.evaluate import forward
from dhl.evaluation.untrained import BATCHES, PROFILE_NF, batch_pixels, cbm3d_package
from dhl.gpu_slots import parallel_gpu_jobs
from dhl.models.build import build_network
from dhl.planning.flops import forward_flops, network_name, step_flops, training_shape
from dhl.planning.image_counts import PartCounts
from dhl.run.manifest import usable_cores
from dhl.run.model_graph import ModelSpec, all_models, model_spec
from dhl.training.device import (
    autocast,
    device_name,
    reserved_device,
    resolve_precision,
    uses_cuda,
)
from dhl.training.train import build_objective, recipe_of
from dhl.training.trainer import explained_step

LEAST_SECONDS = 0.1  # a measurement is repeated for at least this long
CPU_FLOPS = 1e10  # operations of a measurement on a CPU; a GPU computes the full batch
BASELINE_SIDE = 64  # in pixels; a pixel of larger images takes up to a third more time
MOST_MEASUREMENTS = 4  # at once
# The imports of a job with networks; prints their CPU time.
START = (
    "import time, torch, dhl.training.train, dhl.evaluation.evaluate\n"
    "torch.empty(1, device='{}')\n"
    "print(time.process_time())"
)


class Rates(NamedTuple):
    """Operations per second of a network in one job."""

    training: float
    evaluation: float


@dataclass(frozen=True)
class Machine:
    """The processors that run the jobs, and their speed."""

    device: str  # model of the processor or GPU that trains
    cores: int
    gpu_jobs: int  # jobs that may use GPUs at once; 0 without a GPU
    source: str  # of the rates: `measured`, `given` or `reference`
    start_seconds: float  # of a job that imports torch
    rates: dict[str, Rates]  # by `network_name`
    baseline_seconds: dict[str, float]  # per pixel, by untrained method; of `bm3d`, if installed


def measure_machine(
    config: Config,
    counts: dict[str, PartCounts],
    *,
    cores: int | None = None,
    tflops: float | None = None,
) -> Machine:
    """Measure this machine with the networks and image sizes of a run, in some seconds.

    Jobs may use `cores`, by default all cores of this process. With `tflops`, the sustained rate of
    one training in 10^12 operations per second, networks are not measured.

    Raises
    ------
    UserError
        If the rate is not positive, or the device is missing.
    """
    if tflops is not None and not 0 < tflops < float("inf"):
        raise UserError(
            "The rate is not a positive number.",
            came=f"--tflops {tflops:g}",
            do="give the sustained rate of one training in 10^12 operations per second.",
        )
    cores = cores or usable_cores()
    gpu_jobs = _gpu_jobs(config)
    side_by_side = min(max(1, cores // config.threads), gpu_jobs or cores, MOST_MEASUREMENTS)
    given = None if tflops is None else Rates(1e12 * tflops, 1e12 * tflops)
    with reserved_device(config) as device, ThreadPoolExecutor(side_by_side) as pool:
        # Jobs slow each other down, so as many measurements as jobs run at once; the first counts.
        measure = partial(_measure, config, counts, given)
        (start_seconds, rates, baseline_seconds), *_ = pool.map(measure, [device] * side_by_side)
        name = device_name(device)
    source = "measured" if given is None else "given"
    return Machine(name, cores, gpu_jobs, source, start_seconds, rates, baseline_seconds)


def reference_machine(
    config: Config, *, cores: int | None = None, tflops: float | None = None
) -> Machine:
    """Return the speed of one core of an AMD EPYC (AVX2), to compare the jobs of a run at once.

    Raises
    ------
    UserError
        If a rate is given.
    """
    if tflops is not None:
        raise UserError(
            "`--no-measurement` and `--tflops` exclude each other.",
            came=f"--no-measurement with --tflops {tflops:g}",
            do="leave out one: without measurement, the rate is that of a core of an AMD EPYC.",
        )
    names = {network_name(model_spec(config, key)) for key in all_models(config)}
    rates = dict.fromkeys(names, Rates(3e10, 3e10))
    untrained = {"cbm3d": 7e-6, "cbm3d-package": 3e-5, "cbm3d-2020": 9e-4, "mcwnnm": 1.3e-3}
    return Machine("AMD EPYC", cores or usable_cores(), 0, "reference", 3.5, rates, untrained)


def _measure(
    config: Config, counts: dict[str, PartCounts], given: Rates | None, device: torch.device
) -> tuple[float, dict[str, Rates], dict[str, float]]:
    """Measure the start of a job, the networks and CBM3D."""
    command = [sys.executable, "-c", START.format(device)]
    start = float(subprocess.run(command, capture_output=True, check=True).stdout)
    rates: dict[str, Rates] = {}
    specs = [model_spec(config, key) for key in all_models(config)]
    for spec in sorted(specs, key=lambda one: one.recipe is None):  # else its training counts
        if (name := network_name(spec)) not in rates:
            rates[name] = given or _network_rates(config, counts, spec, device)
    return start, rates, _baseline_seconds(config, device)


def _gpu_jobs(config: Config) -> int:
    """Count the jobs that may use GPUs at once."""
    return parallel_gpu_jobs(config.device, config.jobs_per_gpu) if uses_cuda(config) else 0


def _network_rates(
    config: Config, counts: dict[str, PartCounts], spec: ModelSpec, device: torch.device
) -> Rates:
    """Measure a network; with published weights it is not trained, and both rates are equal."""
    network = build_network(spec.role, **spec.build_options).to(device)
    network.to(memory_format=torch.channels_last)
    test = counts[spec.part].test
    flops = forward_flops(spec, test.height, test.width)
    count = _images_at_once(min(config.evaluation.batch, test.count), flops, device)
    images = np.zeros((count, test.height, test.width, 3), np.float32)
    evaluate = torch.inference_mode()(partial(forward, network.eval(), images, device))
    evaluation = count * flops / _seconds(evaluate, device)
    if spec.recipe is None:
        return Rates(evaluation, evaluation)
    if spec.frozen:  # the task network has its own rate
        spec = replace(spec, objective="denoise", frozen=None)
    return Rates(_training_flops(config, counts, spec, network, device), evaluation)


def _training_flops(
    config: Config,
    counts: dict[str, PartCounts],
    spec: ModelSpec,
    network: nn.Module,
    device: torch.device,
) -> float:
    """Measure the operations per second of training steps, without the fast optimizer step."""
    objective = build_objective(network.train(), spec)
    batch, height, width = training_shape(config, counts, spec)
    flops = sum(step_flops(config, counts, spec).values()) / batch
    count = _images_at_once(batch, flops / 3, device)
    images = torch.rand(count, 3, height, width, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    sides = {"classification": (), "segmentation": (height, width)}.get(spec.part, ())
    targets = torch.zeros(count, *sides, dtype=torch.long, device=device)
    generator = torch.Generator(device)

    def train() -> None:
        with autocast(device, resolve_precision(config, device)):
            losses = objective.losses(images, targets, generator)
        losses["loss"].backward()

    with explained_step(recipe_of(spec), first_step=lambda: True):
        return count * flops / _seconds(train, device)


def _images_at_once(batch: int, flops: float, device: torch.device) -> int:
    """Limit a batch on a CPU; the forward pass of an image has `flops` operations."""
    return min(batch, max(2, int(CPU_FLOPS / flops))) if device.type == "cpu" else batch


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    """Measure the seconds of a call: CPU time of this thread, or wall time on a GPU."""
    if device.type == "cpu":
        clock = time.thread_time
    else:
        accelerator = torch.cuda if device.type == "cuda" else torch.mps

        def clock() -> float:
            accelerator.synchronize()
            return time.perf_counter()

    function()  # the first call allocates memory and imports packages
    begin, calls = clock(), 0
    while (seconds := clock() - begin) < LEAST_SECONDS:
        function()
        calls += 1
    return seconds / calls


def _baseline_seconds(config: Config, device: torch.device) -> dict[str, float]:
    """Measure each untrained method that the run uses, per pixel."""
    used = {method for part in config.parts for method in config.parts[part].methods}
    # Smooth images have the largest groups of similar blocks.
    clean = np.linspace(0.2, 0.8, BASELINE_SIDE)[:, None, None]
    shape = BASELINE_SIDE, BASELINE_SIDE, 3
    noisy = clean + np.random.default_rng(0).normal(0, 30 / 255, shape)
    pixels = noisy[..., 0].size
    seconds = {}
    for method in used & set(BATCHES):
        count = batch_pixels(device.type) // pixels if method == "cbm3d" else 1
        batch = partial(BATCHES[method], [noisy] * count, sigma=30, device=str(device))
        seconds[method] = _seconds(batch, device) / count / pixels
    if importlib.util.find_spec("bm3d") is not None:
        for method in used & set(PROFILE_NF):
            one = partial(cbm3d_package, noisy, sigma=30, profile=method)
            seconds[method] = _seconds(one, torch.device("cpu")) / pixels
    return seconds
