"""lambda = 0: the denoiser alone, for the mean squared error."""

from __future__ import annotations

import torch
from torch import nn

from dhl.losses import reconstruction_loss
from dhl.models.middle import middle, middle_of_denoised
from dhl.noise import add_gaussian_noise


class Objective:
    """Noisy in, clean out.

    Parameters
    ----------
    network : nn.Module
        A denoiser.
    sigma : float or pair of float
        Noise level, or a range of them, on the 0-255 scale.
    output : int or None
        Side of the middle of each crop that the loss is taken on, none of it made from padding, as
        in the authors' training; None takes whole images, padded as when the denoiser is used.
    """

    def __init__(
        self, network: nn.Module, *, sigma: float | tuple[float, float], output: int | None
    ):
        self.network, self.sigma, self.output = network, sigma, output

    def losses(
        self, images: torch.Tensor, targets: None, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return `loss` and `reconstruction_loss` of clean images (N, 3, H, W) in [0, 1]."""
        noisy = add_gaussian_noise(images, sigma=self.sigma, generator=generator)
        denoised = middle_of_denoised(self.network, noisy, self.output)
        loss = reconstruction_loss(denoised=denoised, clean=middle(images, self.output))
        return {"loss": loss, "reconstruction_loss": loss.detach()}
