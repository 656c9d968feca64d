"""Measure the speed of this machine with a run's own networks; a program: `python -m`.

On a CPU it measures CPU time, which other work on the machine changes little. As many of these
processes run at once as jobs do, because jobs slow each other down.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import pickle
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from dhl.config.methods import BASELINES
from dhl.config.schema import Config
from dhl.evaluation.evaluate import forward
from dhl.evaluation.untrained import cbm3d
from dhl.models.build import build_network
from dhl.planning.operations import TrainingStep, Workload, network_flops
from dhl.run.model_graph import ModelSpec
from dhl.training.device import autocast, device_name, reserved_device, resolve_precision
from dhl.training.optimizers import build_optimizer
from dhl.training.train import build_objective

ALL_STEPS_SECONDS = 10.0  # for all kinds of models; the rest is estimated from operations
STEP_SECONDS = 0.2  # steps are repeated for at least so long
FORWARD_SECONDS = 0.5
CBM3D_SIDE = 128  # of the largest image that is measured; the time grows with the pixels


def main() -> None:
    """Read the request from standard input, and print the measurements as JSON."""
    workload, with_networks = pickle.load(sys.stdin.buffer)
    with reserved_device(workload.config) as device:
        torch.empty(1, device=device)  # starts CUDA
        measured = {"start_seconds": time.process_time(), "device": device_name(device)}
        measured["cbm3d_seconds"] = cbm3d_seconds(workload)
        if with_networks:
            measured |= network_speed(workload, device)
    print(json.dumps(measured))


def network_speed(workload: Workload, device: torch.device) -> dict:
    """Measure a forward pass and training steps, from the cheapest kind of model on.

    Returns
    -------
    dict
        `step_seconds` by kind of model; `training_flops` and `evaluation_flops` per second.
    """
    rate = evaluation_flops = forward_flops(workload, device)
    seconds: dict[str, float] = {}
    spent = 0.0
    for step in sorted(workload.steps.values(), key=lambda step: step.flops):
        if step.arithmetic in seconds:
            continue
        expected = step.flops / rate
        if seconds and spent + 2 * expected > ALL_STEPS_SECONDS:
            seconds[step.arithmetic] = expected
            continue
        seconds[step.arithmetic] = step_seconds(workload.config, step, device)
        rate = step.flops / seconds[step.arithmetic]
        spent += max(STEP_SECONDS, 2 * seconds[step.arithmetic])
    return {
        "step_seconds": {kind: seconds[step.arithmetic] for kind, step in workload.steps.items()},
        "training_flops": rate,
        "evaluation_flops": evaluation_flops,
    }


def timed(function: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a function takes: CPU time of this thread, or time on a GPU."""
    if device.type == "cpu":
        clock = time.thread_time
    else:
        accelerator = torch.cuda if device.type == "cuda" else torch.mps

        def clock() -> float:
            accelerator.synchronize()
            return time.perf_counter()

    begin = clock()
    function()
    return clock() - begin


def step_seconds(config: Config, step: TrainingStep, device: torch.device) -> float:
    """Measure a training step on random images: forward, backward and optimizer."""
    spec, frozen = step.spec, step.frozen and _network(step.frozen, device)
    objective = build_objective(_network(spec, device).train(), spec, task_network=frozen)
    optimizer = build_optimizer(objective.network, spec.recipe.optimizer)
    size = (spec.recipe.batch, step.height, step.width)
    images = torch.rand(size[0], 3, *size[1:], device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    shape = {"classification": size[:1], "segmentation": size}.get(spec.part)
    targets = None if shape is None else torch.zeros(shape, dtype=torch.long, device=device)
    generator = torch.Generator(device)

    def take_step() -> None:
        with autocast(device, resolve_precision(config, device)):
            losses = objective.losses(images, targets, generator)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()

    take_step()  # the first one allocates memory
    times: list[float] = []
    while sum(times) < STEP_SECONDS:
        times.append(timed(take_step, device))
    return sum(times) / len(times)


def _network(spec: ModelSpec, device: torch.device) -> nn.Module:
    """Build a model's network with random weights."""
    network = build_network(spec.role, **spec.build_options)
    return network.to(device, memory_format=torch.channels_last)


def forward_flops(workload: Workload, device: torch.device) -> float:
    """Measure the operations per second of the run's denoiser on test images, in float32."""
    config, test = workload.config, workload.counts["denoising"].test
    denoiser = config.parts.denoising.denoiser
    options = {"name": denoiser.name, **denoiser.builder_options()}
    network = build_network("denoiser", **options).eval()
    network.to(device, memory_format=torch.channels_last)

    def seconds(count: int) -> float:
        images = np.zeros((count, test.height, test.width, 3), np.float32)
        return timed(lambda: forward(network, images, device), device)

    seconds(1)  # the first one allocates memory
    affordable = max(1, int(FORWARD_SECONDS / seconds(1)))
    count = min(affordable, config.evaluation.batch, test.count)
    return count * network_flops("denoiser", options, test.height, test.width) / seconds(count)


def cbm3d_seconds(workload: Workload) -> dict[str, float]:
    """Measure CBM3D on one image, by method and part, if the run uses it and it is installed."""
    measured: dict[str, float] = {}
    if importlib.util.find_spec("bm3d") is None:
        return measured
    for part, count in workload.counts.items():
        height, width = (min(side, CBM3D_SIDE) for side in (count.test.height, count.test.width))
        noisy = np.random.default_rng(0).random((height, width, 3))
        for method in set(BASELINES) & set(workload.config.parts[part].methods):
            denoise = functools.partial(cbm3d, noisy, sigma=30, profile=method)
            if not measured:
                denoise()  # the first one imports the package
            begin = time.process_time()
            denoise()
            relative_size = count.test.height * count.test.width / (height * width)
            measured[f"{method}, {part}"] = (time.process_time() - begin) * relative_size
    return measured


if __name__ == "__main__":
    main()
