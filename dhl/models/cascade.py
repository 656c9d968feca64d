"""The paper's Figure 3: a denoiser in front of a task network that never changes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dhl.config.class_names import IGNORED_LABEL
from dhl.models.centre_crop import middle_of_denoised


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


def logits_for_loss(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return a task network's logits where its loss is taken: DeepLab's before the upsampling."""
    return getattr(network, "forward_coarse", network)(images)


def labels_for_loss(network: nn.Module, target: torch.Tensor) -> torch.Tensor:
    """Return the targets that belong to `logits_for_loss`."""
    return shrink_labels(target, network.stride) if hasattr(network, "stride") else target


def shrink_labels(target: torch.Tensor, stride: int) -> torch.Tensor:
    """Sample label maps at the positions of a coarse grid.

    Parameters
    ----------
    target : Tensor of int64, shape (N, H, W)
    stride : int
        Pixels between positions; the first is on the first pixel.

    Returns
    -------
    Tensor of int64, shape (N, ceil((H - 1) / stride) + 1, ceil((W - 1) / stride) + 1)
        The label 255, which no loss counts, where a position lies beyond the image.

    Notes
    -----
    DeepLab's Caffe code shrinks labels by an aligned interpolation, (H - 1) / stride + 1 positions
    a side. For the sides that its training has, k * stride + 1, every position is a pixel and its
    label is taken over: 321 px at stride 8 give 41 labels, those of pixels 0, 8, ..., 320.
    """
    bottom, right = (-(side - 1) % stride for side in target.shape[-2:])
    return F.pad(target, (0, right, 0, bottom), value=IGNORED_LABEL)[..., ::stride, ::stride]
