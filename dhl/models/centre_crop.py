"""The middle of a denoised crop: what no padding has touched."""

from __future__ import annotations

import torch
from torch import nn


def middle(images: torch.Tensor, side: int | None) -> torch.Tensor:
    """Cut the middle of images (N, C, H, W) to `side` x `side` px; None leaves them whole."""
    if side is None:
        return images
    top, left = ((length - side) // 2 for length in images.shape[-2:])
    return images[..., top : top + side, left : left + side]


def border_of(denoiser: nn.Module) -> int:
    """Return how many pixels a denoiser loses on each side without padding; 0 unless it says so.

    A denoiser with such a `border` also has `forward_unpadded`.
    """
    return getattr(denoiser, "border", 0)


def middle_of_denoised(denoiser: nn.Module, noisy: torch.Tensor, side: int | None) -> torch.Tensor:
    """Denoise images, and cut the middle of what is computed without padding at their borders."""
    unpadded = side is not None and border_of(denoiser) > 0
    return middle((denoiser.forward_unpadded if unpadded else denoiser)(noisy), side)
