"""Compare the speed of number formats and memory layouts: `python benchmarks/number_formats.py`.

Prints milliseconds of one step (forward, backward, AdamW) on 32 patches of 32 px, in one thread.
"""

from __future__ import annotations

import itertools
import time

import torch

from dhl.config.recipes import Optimizer
from dhl.models.build import build_network
from dhl.training.device import autocast
from dhl.training.objectives import reconstruction_loss
from dhl.training.optimizers import build_optimizer

NETWORKS = (
    ("released", {"width": 24}),
    ("released", {"width": 32}),
    ("released", {"width": 64}),
    ("dncnn", {"width": 32, "depth": 8}),
    ("dncnn", {"width": 64, "depth": 17}),
)
FORMATS = tuple(
    itertools.product(
        (torch.float32, torch.bfloat16), (torch.contiguous_format, torch.channels_last)
    )
)


def milliseconds(name, options, precision, layout, *, steps=10) -> float:
    """Return the mean time of a training step."""
    network = build_network("denoiser", name, **options).to(memory_format=layout)
    optimizer = build_optimizer(network, Optimizer(name="adamw"))
    images = torch.rand(32, 3, 32, 32).contiguous(memory_format=layout)

    def step() -> None:
        with autocast(images.device, precision):
            loss = reconstruction_loss(denoised=network(images), clean=images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    step()
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    return 1e3 * (time.perf_counter() - begin) / steps


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("| network | float32 | float32, channels_last | bfloat16 | bfloat16, channels_last |")
    print("| --- | --- | --- | --- | --- |")
    for name, options in NETWORKS:
        times = [f"{milliseconds(name, options, *one):.0f}" for one in FORMATS]
        title = ", ".join([name, *(f"{key} {value}" for key, value in options.items())])
        print(f"| {title} | {' | '.join(times)} |", flush=True)


if __name__ == "__main__":
    main()
