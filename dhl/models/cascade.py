"""The paper's Figure 3: a denoiser in front of a task network that never changes."""

from __future__ import annotations

import torch
from torch import nn

from dhl.losses import logits_for_loss
from dhl.models.middle import middle_of_denoised


class Cascade(nn.Module):
    """A denoiser D followed by a frozen task network H.

    H is in evaluation mode whatever mode the cascade is put in, and needs no gradients of its own;
    gradients pass through it to D.

    Parameters
    ----------
    denoiser, task_network : nn.Module
    output : int or None
        Side of the middle of D's output that H reads; None for all of it.
    """

    def __init__(self, denoiser: nn.Module, task_network: nn.Module, output: int | None = None):
        super().__init__()
        self.output = output
        self.denoiser = denoiser
        self.task_network = task_network.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Cascade:
        """Put D in the mode, and H in evaluation mode: its BatchNorm statistics are frozen too."""
        super().train(mode)
        self.task_network.eval()
        return self

    def forward(self, noisy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map noisy images (N, 3, H, W) to denoised ones and the task's logits for the loss.

        H reads D's output as it is, neither clipped nor rounded.
        """
        denoised = middle_of_denoised(self.denoiser, noisy, self.output)
        return denoised, logits_for_loss(self.task_network, denoised)
