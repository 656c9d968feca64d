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
from dhl.run.model_graph import all_models, model_spec
from dhl.training.batches import BatchSampler
from dhl.training.device import reserved_device, resolve_precision
from dhl.training.train import build_objective
from dhl.training.trainer import Trainer, TrainerSettings


def peak_rate(device: torch.device, precision: torch.dtype, *, seconds: float = 2.0) -> float:
    """Return the operations per second of a large matrix product."""
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


def step_seconds(config, spec, settings: TrainerSettings, *, steps: int) -> float:
    """Return the mean time of a step of the training loop."""
    device = settings.device
    network, frozen = (
        one
        and build_network(one.role, **one.build_options).to(
            device, memory_format=torch.channels_last
        )
        for one in (spec, model_spec(config, spec.frozen) if spec.frozen else None)
    )
    objective = build_objective(network, spec, task_network=frozen)
    recipe = spec.recipe.model_copy(update={"steps": steps})
    images = made_up_images(config, spec)
    sampler = BatchSampler(images, recipe, seed_names=("benchmark",), device=device)
    begin = time.perf_counter()
    Trainer(objective, sampler, recipe, settings).fit()
    return (time.perf_counter() - begin) / steps


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
    print("model kind | GFLOP a step | floor ms | loop ms | share of peak | steps | floor s")
    floor = loop = 0.0
    seen: dict[str, tuple[int, float]] = {}
    counts = count_all_images(config)
    for key in all_models(config):
        spec, kind = model_spec(config, key), key.partition("/")[0]
        if kind not in seen:
            flop = sum(step_flops(config, counts, spec).values())
            seconds = step_seconds(config, spec, settings, steps=steps)
            seen[kind] = flop, seconds
            print(
                f"{kind} | {flop / 1e9:.1f} | {1e3 * flop / peak:.1f} | {1e3 * seconds:.1f} | "
                f"{flop / seconds / peak:.0%} | {spec.recipe.steps} | "
                f"{flop * spec.recipe.steps / peak:.1f}",
                flush=True,
            )
        floor += seen[kind][0] * spec.recipe.steps / peak
        loop += seen[kind][1] * spec.recipe.steps
    print(f"all {len(all_models(config))} trainings: floor {floor:.0f} s, loop {loop:.0f} s")


if __name__ == "__main__":
    main()
