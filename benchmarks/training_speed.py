"""Compare the training loop with the machine's peak: `python benchmarks/training_speed.py`.

Prints for each kind of model in a configuration: the operations of one step, their time at the peak
(the floor), and the time of a step of the training loop, with the configuration's threads.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from dhl.config.parse import load_config
from dhl.data.image_set import ImageSet
from dhl.models.build import build_network
from dhl.planning.flops import step_flops
from dhl.planning.image_counts import count_all_images
from dhl.run.model_graph import ModelSpec, all_models, model_spec
from dhl.training.batches import BatchSampler
from dhl.training.device import reserved_device, resolve_precision
from dhl.training.train import build_objective
from dhl.training.trainer import Trainer, TrainerSettings


def synchronize(device: torch.device) -> None:
    """Wait for a GPU, which computes while Python continues."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_rate(
    device: torch.device, precision: torch.dtype, *, size: int = 2048, seconds: float = 2.0
) -> float:
    """Return the operations per second of a large matrix product."""
    left, right = (torch.rand(size, size, device=device, dtype=precision) for _ in range(2))
    left @ right
    synchronize(device)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        left @ right
        synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - begin))
    return best


def made_up_images(config, spec) -> ImageSet:
    """Return random images of the part's size, or of a crop, with targets for the tasks."""
    usual, patch = count_all_images(config)[spec.part].train, spec.recipe.patch or 0
    shape = 64, max(usual.height, patch), max(usual.width, patch)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    labels = {"classification": shape[:1], "segmentation": shape}.get(spec.part)
    targets = None
    if labels is not None:
        classes = config.parts[spec.part].data.classes_of(spec.part)
        targets = rng.integers(0, classes, labels).astype(np.min_scalar_type(classes))
    return ImageSet([str(index) for index in range(len(images))], images, targets)


def step_seconds(config, spec, settings: TrainerSettings, *, steps: int, warm_up: int = 2) -> float:
    """Return the mean time of a step of the training loop, after the first ones."""
    device = settings.device
    network, frozen = (
        one
        and build_network(one.role, **one.build_options).to(
            device, memory_format=torch.channels_last
        )
        for one in (spec, model_spec(config, spec.frozen) if spec.frozen else None)
    )
    objective = build_objective(network, spec, task_network=frozen)
    images = made_up_images(config, spec)
    sampler = BatchSampler(images, spec.recipe, seed_names=("benchmark",), device=device)
    trainer = Trainer(objective, sampler, spec.recipe, settings)
    return mean_step(trainer, device, steps=steps, warm_up=warm_up)


def mean_step(trainer: Trainer, device: torch.device, *, steps: int, warm_up: int = 2) -> float:
    """Return the mean seconds of the steps of a training after its first ones."""
    for _ in range(warm_up):
        trainer.step()
    synchronize(device)
    begin = time.perf_counter()
    for _ in range(steps):
        trainer.step()
    synchronize(device)
    return (time.perf_counter() - begin) / steps


def trained_kinds(config) -> dict[str, ModelSpec]:
    """Return the first model of each kind that is trained."""
    found: dict[str, ModelSpec] = {}
    for spec in (model_spec(config, key) for key in all_models(config)):
        if spec.recipe is not None:
            found.setdefault(spec.key.partition("/")[0], spec)
    return found


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
    size = 8192 if device.type == "cuda" else 2048
    peak = peak_rate(device, settings.precision, size=size)
    print(
        f"{device}, {config.threads} thread(s), {settings.precision}: {peak / 1e9:.0f} GFLOP/s peak"
    )
    print("model kind | GFLOP a step | floor ms | loop ms | share of peak | steps | floor s")
    floor = loop = 0.0
    seen: dict[str, tuple[int, float]] = {}
    counts = count_all_images(config)
    for kind, spec in trained_kinds(config).items():
        flop = sum(step_flops(config, counts, spec).values())
        seconds = step_seconds(config, spec, settings, steps=steps)
        seen[kind] = flop, seconds
        print(
            f"{kind} | {flop / 1e9:.1f} | {1e3 * flop / peak:.1f} | {1e3 * seconds:.1f} | "
            f"{flop / seconds / peak:.0%} | {spec.recipe.steps} | "
            f"{flop * spec.recipe.steps / peak:.1f}",
            flush=True,
        )
    trainings = [model_spec(config, key) for key in all_models(config)]
    for spec in (one for one in trainings if one.recipe is not None):
        flop, seconds = seen[spec.key.partition("/")[0]]
        floor += flop * spec.recipe.steps / peak
        loop += seconds * spec.recipe.steps
    print(f"all {len(trainings)} trainings: floor {floor:.0f} s, loop {loop:.0f} s")


if __name__ == "__main__":
    main()
