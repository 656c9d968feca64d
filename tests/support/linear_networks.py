"""A linear denoiser and a linear classifier, whose losses and gradients have formulas."""

from __future__ import annotations

import torch
from torch import nn

SIDE, CLASSES, SIGMA = 3, 4, 30


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return repeatable numbers in [0, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class LinearDenoiser(nn.Module):
    """Mixes the channels of each pixel."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)

    def forward(self, noisy):
        return self.mix(noisy)


def linear_networks() -> tuple[LinearDenoiser, nn.Sequential]:
    """Return a linear denoiser and a linear classifier with random weights."""
    task = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES))
    denoiser = LinearDenoiser()
    for index, weight in enumerate([*denoiser.parameters(), *task.parameters()]):
        weight.data = 2 * uniform(*weight.shape, seed=index) - 1
    return denoiser, task
