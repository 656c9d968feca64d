"""lambda = 0: the denoiser alone, for the mean squared error."""

from __future__ import annotations

import torch
from torch import nn

from dhl.losses import reconstruction_loss
from dhl.noise import add_gaussian_noise


class Objective:
    """Noisy in, clean out.

    Parameters
    ----------
    network : nn.Module
        A denoiser.
    sigma : float or pair of float
        Noise level, or a range of them, on the 0-255 scale.
    crops : bool
        Crops of larger images: the loss is taken on the valid region only, as in the authors'
        training; whole images are padded instead, as they are when the denoiser is used.
    """

    def __init__(self, network: nn.Module, *, sigma: float | tuple[float, float], crops: bool):
        self.network = network
        self.sigma = sigma
        self.border = network.border if crops else 0

    def losses(
        self, images: torch.Tensor, targets: None, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return `loss` and `reconstruction_loss` of clean images (N, 3, H, W) in [0, 1]."""
        noisy = add_gaussian_noise(images, sigma=self.sigma, generator=generator)
        if self.border:
            denoised = self.network.forward_unpadded(noisy)
            images = images[..., self.border : -self.border, self.border : -self.border]
        else:
            denoised = self.network(noisy)
        loss = reconstruction_loss(denoised=denoised, clean=images)
        return {"loss": loss, "reconstruction_loss": loss.detach()}
