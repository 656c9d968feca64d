"""The size of a network, and the receptive field of a denoiser, measured."""

from __future__ import annotations

import copy

import torch
from torch import nn

SIDES = (64, 128, 256)  # px, of the images that are tried


def receptive_field(denoiser: nn.Module) -> int | None:
    """Measure how many pixels in a row or column decide one pixel of the output.

    Parameters
    ----------
    denoiser : nn.Module
        Maps (N, 3, H, W) to the same shape. It is not changed.

    Returns
    -------
    int or None
        The extent in px of the gradient of an output pixel; for a network with strides, the largest
        over its phases. None if it reaches the borders of an image of 256 px.

    Notes
    -----
    The weights of a copy become positive averages, so that no ReLU and no cancellation hides a
    path. A network in which such averages would hide a path states its field itself, in the
    attribute `receptive_field`.
    """
    if (stated := getattr(denoiser, "receptive_field", None)) is not None:
        return stated
    network = copy.deepcopy(denoiser).cpu().eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            is_filter, is_bias = weight.ndim > 1, name.endswith("bias")
            weight.fill_(weight.shape[0] / weight.numel() if is_filter else not is_bias)
        for name, statistic in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                statistic.fill_(name.endswith("running_var"))
    for side in SIDES:
        fields = []
        for phase in range(getattr(network, "multiple", 1)):  # strides repeat after these pixels
            low, high = _field(network, side, phase)
            if low <= 0 or high >= side - 1:
                break
            fields.append(high - low + 1)
        else:
            return max(fields)
    return None


def _field(network: nn.Module, side: int, phase: int) -> tuple[int, int]:
    """Return the first and last row or column that reaches a pixel near an image's centre."""
    image = torch.full((1, 3, side, side), 2.0, requires_grad=True)  # positive on every scale
    pixel = side // 2 + phase
    (gradient,) = torch.autograd.grad(network(image)[0, :, pixel, pixel].sum(), image)
    reached = gradient.abs().sum((0, 1)).nonzero()
    return int(reached.min()), int(reached.max())


def network_size(network: nn.Module, role: str) -> dict[str, int | None]:
    """Return the number of `parameters`, and the `receptive_field` of a denoiser in px."""
    return {
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "receptive_field": receptive_field(network) if role == "denoiser" else None,
    }
