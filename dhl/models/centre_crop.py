"""The centre of a denoised crop, which no padding has influenced."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import nn

Denoise = Callable[[torch.Tensor], torch.Tensor]


def centre_crop(images: torch.Tensor, side: int | None) -> torch.Tensor:
    """Cut the central `side` x `side` px out of images (N, C, H, W); None keeps them whole."""
    if side is None:
        return images
    top, left = ((length - side) // 2 for length in images.shape[-2:])
    return images[..., top : top + side, left : left + side]


def border_of(denoiser: nn.Module) -> int:
    """Return how many pixels a denoiser loses on each side without padding; 0 by default.

    A denoiser with an attribute `border` also has a method `forward_unpadded`.
    """
    return getattr(denoiser, "border", 0)


def denoise_centre(denoiser: nn.Module, noisy: torch.Tensor, side: int | None) -> torch.Tensor:
    """Denoise images (N, 3, H, W) and return the central `side` x `side` px.

    None denoises whole images with padding. Otherwise no padding is used, if the denoiser can work
    without.
    """
    unpadded = side is not None and border_of(denoiser) > 0
    denoise = cast(Denoise, denoiser.forward_unpadded) if unpadded else denoiser
    return centre_crop(denoise(noisy), side)
