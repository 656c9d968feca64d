"""Loss functions on tensors; float32 whatever autocast does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dhl.averaging import mean_over_processes
from dhl.class_names import IGNORED_LABEL


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


def logits_for_loss(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return a task network's logits where its loss is taken: DeepLab's before the upsampling."""
    return getattr(network, "forward_coarse", network)(images)


def labels_for_loss(network: nn.Module, target: torch.Tensor) -> torch.Tensor:
    """Return the targets that belong to `logits_for_loss`."""
    return shrink_labels(target, network.stride) if hasattr(network, "stride") else target


def shrink_labels(target: torch.Tensor, stride: int) -> torch.Tensor:
    """Sample label maps at the positions of a coarse grid.

    Parameters
    ----------
    target : Tensor of int64, shape (N, H, W)
    stride : int
        Pixels between positions; the first is on the first pixel.

    Returns
    -------
    Tensor of int64, shape (N, ceil((H - 1) / stride) + 1, ceil((W - 1) / stride) + 1)
        The label 255, which no loss counts, where a position lies beyond the image.

    Notes
    -----
    DeepLab's Caffe code shrinks labels by an aligned interpolation, (H - 1) / stride + 1 positions
    a side. For the sides that its training has, k * stride + 1, every position is a pixel and its
    label is taken over: 321 px at stride 8 give 41 labels, those of pixels 0, 8, ..., 320.
    """
    bottom, right = (-(side - 1) % stride for side in target.shape[-2:])
    return F.pad(target, (0, right, 0, bottom), value=IGNORED_LABEL)[..., ::stride, ::stride]
