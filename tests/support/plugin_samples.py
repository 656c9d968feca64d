"""Plug-ins that tests write."""

from __future__ import annotations

import textwrap
from pathlib import Path

METHOD = '''
def halved_noise(noisy, *, sigma):
    """Half of what is too much.

    More words.
    """
    return (noisy + noisy.mean()) / 2
'''
CLASSIFIER = """
from torch import nn

def build(classes, width=4, *, bias=True):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=bias), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, classes),
    )
"""
DENOISER = """
from torch import nn

def build(width=4):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1)
    )
"""
NOISE = """
import torch

def brighter(clean, *, noise_std, generator):
    draw = torch.randn(clean.shape, generator=generator, device=clean.device)
    return clean + noise_std * (0.5 + clean) * draw
"""
DATA = """
import numpy as np

def squares(part, *, seed, count=6, size=32):
    generator = np.random.default_rng(seed)
    splits = {}
    for split in ("train", "test"):
        images = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        splits[split] = {"images": images}
        if part == "classification":
            splits[split]["targets"] = np.arange(count) % 3
        if part == "segmentation":
            splits[split]["targets"] = np.full((count, size, size), 2)
    return splits
"""


def write(folder: Path, name: str, source: str) -> str:
    """Write a file of plug-ins and return its path as text."""
    path = folder / name
    path.write_text(textwrap.dedent(source))
    return str(path)
