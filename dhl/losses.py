"""Loss functions on tensors; float32 whatever autocast does."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dhl import processes
from dhl.metrics import IGNORED_LABEL


def reconstruction_loss(*, denoised: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error over everything, on the [0, 1] scale.

    Parameters
    ----------
    denoised, clean : Tensor of shape (N, 3, H, W)

    Notes
    -----
    The authors' code has half of it on the 0-255 scale: multiply by 255**2 / 2.
    """
    return F.mse_loss(denoised.float(), clean.float())


def task_loss(*, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy over images or pixels; the label 255 is left out.

    Parameters
    ----------
    logits : Tensor of shape (N, C) or (N, C, H, W)
    target : Tensor of int64, shape (N,) or (N, H, W)

    Notes
    -----
    Of several processes each has the mean over the labels of all, of which it holds a part.
    """
    total = F.cross_entropy(logits.float(), target, ignore_index=IGNORED_LABEL, reduction="sum")
    return total / processes.mean((target != IGNORED_LABEL).sum().float())
