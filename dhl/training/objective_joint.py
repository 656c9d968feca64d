"""The paper's joint loss: reconstruction plus lambda times the task, through a frozen network."""

from __future__ import annotations

import torch
from torch import nn

from dhl.config.sigma import GAUSSIAN
from dhl.data.noise import add_noise
from dhl.models.cascade import Cascade, labels_for_loss
from dhl.models.centre_crop import middle
from dhl.training.losses import reconstruction_loss, task_loss


def joint_loss(
    *, reconstruction: torch.Tensor, task: torch.Tensor, task_weight: float
) -> torch.Tensor:
    """Return MSE on [0, 1] plus `task_weight` times the mean cross-entropy.

    Notes
    -----
    In these units the authors' released configurations have a `task_weight` of 0.0041
    (classification) and 0.0198 (segmentation).
    """
    return reconstruction + task_weight * task


class Objective:
    """Trains the denoiser of a cascade; the task network stays as it is.

    Parameters
    ----------
    network, task_network : nn.Module
    sigma : float
        On the 0-255 scale.
    task_weight : float
        The paper's lambda.
    output : int or None
        Side of the middle of each crop that the task network reads, as in `denoise.Objective`.
    noise : str
        The configuration's noise model.
    """

    def __init__(
        self, network: nn.Module, *, task_network: nn.Module, sigma: float, task_weight: float,
        output: int | None = None, noise: str = GAUSSIAN,
    ):  # fmt: skip
        self.network = network
        self.cascade = Cascade(network, task_network, output)
        self.sigma, self.task_weight, self.output = sigma, task_weight, output
        self.noise = noise

    def losses(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return `loss`, `reconstruction_loss` and `task_loss` of clean images and targets."""
        noisy = add_noise(images, sigma=self.sigma, generator=generator, model=self.noise)
        denoised, logits = self.cascade(noisy)
        reconstruction = reconstruction_loss(denoised=denoised, clean=middle(images, self.output))
        target = labels_for_loss(self.cascade.task_network, targets)
        task = task_loss(logits=logits, target=target)
        loss = joint_loss(reconstruction=reconstruction, task=task, task_weight=self.task_weight)
        return {
            "loss": loss,
            "reconstruction_loss": reconstruction.detach(),
            "task_loss": task.detach(),
        }
