"""A task network on clean images, or retrained on noisy ones."""

from __future__ import annotations

import torch
from torch import nn

from dhl.config.sigma import GAUSSIAN
from dhl.data.noise import add_noise
from dhl.models.cascade import labels_for_loss, logits_for_loss
from dhl.training.losses import task_loss


class Objective:
    """Images in, cross-entropy out; `sigma` None means clean images, others have the `noise`."""

    def __init__(self, network: nn.Module, *, sigma: float | None, noise: str = GAUSSIAN):
        self.network, self.sigma, self.noise = network, sigma, noise

    def losses(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return `loss` and `task_loss` of images (N, 3, H, W) in [0, 1] and their targets."""
        if self.sigma is not None:
            images = add_noise(images, sigma=self.sigma, generator=generator, model=self.noise)
        logits = logits_for_loss(self.network, images)
        loss = task_loss(logits=logits, target=labels_for_loss(self.network, targets))
        return {"loss": loss, "task_loss": loss.detach()}
