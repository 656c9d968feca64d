"""What it saves that the C library keeps freed memory: `python benchmarks/freed_memory.py`.

On one core, in a new process each: the authors' denoiser at a quarter of its width, on four images
of Kodak's size as in an evaluation, and a step of training on eight patches of 160 px.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

from dhl.models.build import build_network
from dhl.training.device import keep_freed_memory

REPEATS = 8
SHAPES = {"evaluation": (4, 3, 512, 768), "training": (8, 3, 160, 160)}


def measure(work: str, *, kept: bool) -> dict[str, object]:
    """Run a kind of work several times, the first not counted, and return its mean cost."""
    torch.set_num_threads(1)
    if kept:
        keep_freed_memory()
    network = build_network("denoiser", "released", width=16).to(memory_format=torch.channels_last)
    images = torch.rand(SHAPES[work]).contiguous(memory_format=torch.channels_last)

    def once() -> None:
        with torch.set_grad_enabled(work == "training"):
            loss = (network(images) - images).square().mean()
        if work == "training":
            loss.backward()

    once()
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(REPEATS):
        once()
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "work": work,
        "memory kept": kept,
        "seconds": round(seconds / REPEATS, 2),
        "of them in the kernel": round((after.ru_stime - before.ru_stime) / REPEATS, 2),
        "page faults": (after.ru_minflt - before.ru_minflt) // REPEATS,
        "peak MiB": after.ru_maxrss // 1024,
    }


def main() -> None:
    """Print one JSON line per kind of work, with and without kept memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", nargs="?", choices=SHAPES)
    parser.add_argument("--kept", action="store_true")
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(measure(arguments.work, kept=arguments.kept)))
        return
    for work in SHAPES:
        for flags in ([], ["--kept"]):
            subprocess.run([sys.executable, __file__, work, *flags], check=True)


if __name__ == "__main__":
    main()
