"""The scale of the authors' Caffe networks: BGR, 0-255, minus a mean colour."""

from __future__ import annotations

import torch
from torch import nn

from dhl.models.padded_denoiser import PaddedDenoiser

MEAN_BGR = (104.0, 117.0, 123.0)


class AuthorsInput(nn.Module):
    """A denoiser that reads and writes the authors' scale, for images on the [0, 1] scale.

    Both directions are one linear map, so that the long skip of the network stays the identity.

    Attributes
    ----------
    border, multiple : int
        As the network's, see `PaddedDenoiser`.
    """

    mean: torch.Tensor

    def __init__(self, network: PaddedDenoiser):
        super().__init__()
        self.network = network
        self.border, self.multiple = network.border, network.multiple
        mean = torch.tensor(MEAN_BGR).view(-1, 1, 1)
        self.register_buffer("mean", mean, persistent=False)  # a constant, not a weight

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Denoise images (N, 3, H, W) of any size."""
        return self._leave(self.network(self._enter(noisy)))

    def forward_unpadded(self, noisy: torch.Tensor) -> torch.Tensor:
        """Denoise without padding: loses `border` pixels on each side."""
        return self._leave(self.network.forward_unpadded(self._enter(noisy)))

    def _enter(self, images: torch.Tensor) -> torch.Tensor:
        """Map RGB on [0, 1] to BGR on 0-255 without its mean."""
        return 255 * images.flip(1) - self.mean

    def _leave(self, images: torch.Tensor) -> torch.Tensor:
        """Map BGR on 0-255 without its mean to RGB on [0, 1]."""
        return ((images + self.mean) / 255).flip(1)


INPUTS = {"unit": lambda network: network, "authors": AuthorsInput}
