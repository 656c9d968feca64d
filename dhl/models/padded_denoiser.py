"""A denoiser that pads its input, so that its output has the size of the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class PaddedDenoiser(nn.Module):
    """Base of networks that lose a border or need certain sizes: pads images by reflection.

    Attributes
    ----------
    border : int
        Pixels that `forward_unpadded` loses on each side.
    multiple : int
        `forward_unpadded` needs sides that are multiples of this.
    """

    border = 0
    multiple = 4

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Denoise images of any size.

        Parameters
        ----------
        noisy : Tensor of shape (N, 3, H, W), on the [0, 1] scale, unclipped

        Returns
        -------
        Tensor of shape (N, 3, H, W)
        """
        height, width = noisy.shape[-2:]
        bottom, right = (-(side + 2 * self.border) % self.multiple for side in (height, width))
        padding = (self.border, self.border + right, self.border, self.border + bottom)
        if not any(padding):
            return self.forward_unpadded(noisy)
        # Reflection padding must be smaller than the image.
        mode = "reflect" if max(padding) < min(height, width) else "replicate"
        return self.forward_unpadded(F.pad(noisy, padding, mode))[..., :height, :width]

    def forward_unpadded(self, noisy: torch.Tensor) -> torch.Tensor:
        """Denoise without padding: loses `border` pixels on each side."""
        raise NotImplementedError


def border_of(denoiser: nn.Module) -> int:
    """Return how many pixels a denoiser loses on each side without padding; 0 by default.

    It is the attribute `border` of a denoiser that has a method `forward_unpadded`.
    """
    return getattr(denoiser, "border", 0) if hasattr(denoiser, "forward_unpadded") else 0
