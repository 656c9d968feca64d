"""lambda = 0: the denoiser alone, for the mean squared error."""

from __future__ import annotations

import torch
from torch import nn

from dhl.config.sigma import GAUSSIAN
from dhl.data.noise import add_noise
from dhl.models.centre_crop import middle, middle_of_denoised
from dhl.training.losses import reconstruction_loss


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
    noise : str
        The configuration's noise model.
    """

    def __init__(
        self, network: nn.Module, *, sigma: float | tuple[float, float], output: int | None,
        noise: str = GAUSSIAN,
    ):  # fmt: skip
        self.network, self.sigma, self.output, self.noise = network, sigma, output, noise

    def losses(
        self, images: torch.Tensor, targets: None, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return `loss` and `reconstruction_loss` of clean images (N, 3, H, W) in [0, 1]."""
        noisy = add_noise(images, sigma=self.sigma, generator=generator, model=self.noise)
        denoised = middle_of_denoised(self.network, noisy, self.output)
        loss = reconstruction_loss(denoised=denoised, clean=middle(images, self.output))
        return {"loss": loss, "reconstruction_loss": loss.detach()}
