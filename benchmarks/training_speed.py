"""How near the training loop comes to the machine's rate: `python benchmarks/training_speed.py`.

For each model kind of a configuration: operations of one step (counted by torch), the time that
they take at the machine's measured peak (the floor), the time of the bare forward, backward and
optimizer step, and the time of a step of the real training loop with its sampling, noise and
progress. All in one run, side by side, with the configuration's number of threads.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from dhl.config.parse import load_config
from dhl.data.image_set import ImageSet
from dhl.models.build import build_network
from dhl.run.model_graph import all_models, model_spec
from dhl.training.batches import BatchSampler
from dhl.training.device import autocast, reserved_device, resolve_precision
from dhl.training.optimizers import build_optimizer
from dhl.training.train import build_objective
from dhl.training.trainer import Trainer, TrainerSettings


def peak_rate(device: torch.device, precision: torch.dtype, *, seconds: float = 2.0) -> float:
    """Return operations a second of a large matrix product."""
    size = 2048
    left, right = (torch.rand(size, size, device=device, dtype=precision) for _ in range(2))
    left @ right
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        left @ right
        best = max(best, 2 * size**3 / (time.perf_counter() - begin))
    return best


def made_up_images(config, spec) -> ImageSet:
    """Return random images of the part's size, with targets for the tasks."""
    data = config.parts[spec.part].data
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (128, data.size, data.size, 3), dtype=np.uint8)
    shape = {"classification": (128,), "segmentation": (128, data.size, data.size)}.get(spec.part)
    classes = data.classes_of(spec.part)
    targets = None if shape is None else rng.integers(0, classes, shape, dtype=np.uint8)
    return ImageSet([str(index) for index in range(128)], images, targets)


def fresh_objective(config, spec, device):
    """Build the objective of a model kind with fresh weights."""
    parent = model_spec(config, spec.frozen) if spec.frozen else None
    frozen = parent and build_network(parent.role, **parent.build_options).to(
        device, memory_format=torch.channels_last
    )
    network = build_network(spec.role, **spec.build_options)
    return build_objective(network, spec, task_network=frozen)


def measure(config, spec, settings: TrainerSettings, *, steps: int) -> tuple[float, float, float]:
    """Return operations, bare seconds and loop seconds of one step."""
    objective = fresh_objective(config, spec, settings.device)
    objective.network.to(settings.device, memory_format=torch.channels_last)
    sampler = BatchSampler(
        made_up_images(config, spec), spec.recipe, seed_names=("benchmark",), device=settings.device
    )
    images, targets = sampler(0, torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = build_optimizer(objective.network, spec.recipe.optimizer)
    generator = torch.Generator(device=settings.device).manual_seed(0)

    def step() -> None:
        with autocast(settings.device, settings.precision):
            losses = objective.losses(images, targets, generator)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()

    step()
    with FlopCounterMode(display=False) as counter:
        step()
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    bare = (time.perf_counter() - begin) / steps
    recipe = spec.recipe.model_copy(update={"steps": steps})
    begin = time.perf_counter()
    Trainer(objective, sampler, recipe, settings).fit()
    return counter.get_total_flops(), bare, (time.perf_counter() - begin) / steps


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, default=Path("config/mini.yaml"))
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    config = load_config(arguments.configfile)
    with reserved_device(config) as device:
        print_table(config, device, steps=arguments.steps)


def print_table(config, device, *, steps: int) -> None:
    """Measure each kind of model once, and print its row."""
    settings = TrainerSettings(("benchmark",), device, resolve_precision(config, device))
    peak = peak_rate(device, settings.precision)
    print(
        f"{device}, {config.threads} thread(s), {settings.precision}: {peak / 1e9:.0f} GFLOP/s peak"
    )
    print(
        "model kind | GFLOP a step | floor ms | bare ms | loop ms | share of peak | steps | floor s"
    )
    floor, seen = 0.0, {}
    for key in all_models(config):
        spec, kind = model_spec(config, key), key.partition("/")[0]
        if kind not in seen:
            seen[kind] = measure(config, spec, settings, steps=steps)
            flop, bare, loop = seen[kind]
            print(
                f"{kind} | {flop / 1e9:.1f} | {1e3 * flop / peak:.1f} | {1e3 * bare:.1f} | "
                f"{1e3 * loop:.1f} | {flop / loop / peak:.0%} | {spec.recipe.steps} | "
                f"{flop * spec.recipe.steps / peak:.1f}",
                flush=True,
            )
        floor += seen[kind][0] * spec.recipe.steps / peak
    total = sum(
        seen[key.partition("/")[0]][2] * model_spec(config, key).recipe.steps
        for key in all_models(config)
    )
    print(f"all {len(all_models(config))} trainings: floor {floor:.0f} s, loop {total:.0f} s")


if __name__ == "__main__":
    main()
