"""Loss functions on tensors; float32 whatever autocast does."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dhl.config.class_names import IGNORED_LABEL
from dhl.training.averaging import mean_over_processes


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
    """Return the mean cross-entropy over images or pixels; of label maps 255 is left out.

    Parameters
    ----------
    logits : Tensor of shape (N, C) or (N, C, H, W)
    target : Tensor of int64, shape (N,) or (N, H, W)

    Notes
    -----
    Of several processes each has the mean over the labels of all, of which it holds a part.
    """
    # Of classes, 255 is one of ImageNet's as good as any other.
    ignored = IGNORED_LABEL if logits.dim() == 4 else -1
    total = F.cross_entropy(logits.float(), target, ignore_index=ignored, reduction="sum")
    return total / mean_over_processes((target != ignored).sum().float())
