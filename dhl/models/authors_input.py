"""The scale of the authors' Caffe networks: BGR, 0-255, minus a mean colour."""

from __future__ import annotations

import torch

from dhl.models.padded_denoiser import PaddedDenoiser

MEAN_BGR = (104.0, 117.0, 123.0)


class AuthorsInput(PaddedDenoiser):
    """A denoiser for images on the [0, 1] scale whose network works on the authors' scale.

    The output conversion inverts that of the input, so the long skip stays the identity.
    """

    mean: torch.Tensor

    def __init__(self, network: PaddedDenoiser):
        super().__init__()
        self.network = network
        self.border, self.multiple = network.border, network.multiple
        mean = torch.tensor(MEAN_BGR).view(-1, 1, 1)
        self.register_buffer("mean", mean, persistent=False)  # a constant, not a weight

    def forward_unpadded(self, noisy: torch.Tensor) -> torch.Tensor:
        """Denoise without padding: loses `border` pixels on each side."""
        denoised = self.network.forward_unpadded(255 * noisy.flip(1) - self.mean)
        return ((denoised + self.mean) / 255).flip(1)


INPUTS = {"unit": lambda network: network, "authors": AuthorsInput}
