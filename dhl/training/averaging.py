"""Averages over the processes of a training, through which gradients pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed

from dhl.data import processes


class _Mean(torch.autograd.Function):
    """The mean over processes; each one's gradient is the mean of the gradients of all."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return _averaged(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _averaged(gradient)


def _averaged(values: torch.Tensor) -> torch.Tensor:
    """Return the mean, without changing what was given."""
    total = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total / processes.count()


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Average values that each process has; alone, return them as they are."""
    return values if processes.count() == 1 else _Mean.apply(values)
