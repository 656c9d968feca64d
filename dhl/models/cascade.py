"""The paper's Figure 3: a denoiser in front of a task network that never changes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dhl.data.class_names import IGNORED_LABEL
from dhl.models.centre_crop import denoise_centre


class Cascade(nn.Module):
    """A denoiser D followed by a frozen task network H.

    H always stays in evaluation mode, and its weights get no gradients; gradients pass through it
    to D.

    Parameters
    ----------
    denoiser, task_network : nn.Module
    output_side : int or None
        H sees the central square of this side of D's output; None shows it all.
    """

    def __init__(
        self, denoiser: nn.Module, task_network: nn.Module, output_side: int | None = None
    ):
        super().__init__()
        self.output_side = output_side
        self.denoiser = denoiser
        self.task_network = task_network.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Cascade:
        """Set the mode of D; H stays in evaluation mode, its BatchNorm statistics frozen."""
        super().train(mode)
        self.task_network.eval()
        return self

    def forward(self, noisy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map noisy images (N, 3, H, W) to denoised ones and the task's logits for the loss.

        H sees D's output as it is, neither clipped nor rounded.
        """
        denoised = denoise_centre(self.denoiser, noisy, self.output_side)
        return denoised, logits_for_loss(self.task_network, denoised)


def logits_for_loss(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return a task network's logits where its loss is taken: DeepLab's before the upsampling."""
    return getattr(network, "forward_coarse", network)(images)


def labels_for_loss(network: nn.Module, target: torch.Tensor) -> torch.Tensor:
    """Return the targets that belong to `logits_for_loss`."""
    stride = getattr(network, "stride", None)
    return target if stride is None else shrink_labels(target, stride)


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
        Positions outside the image get the label 255, which no loss counts.

    Notes
    -----
    DeepLab's Caffe code shrinks labels by an aligned interpolation, (H - 1) / stride + 1 positions
    a side. Its training crops have sides of k * stride + 1, so every position is a pixel whose
    label is copied: 321 px at stride 8 give 41 labels, those of pixels 0, 8, ..., 320.
    """
    bottom, right = (-(side - 1) % stride for side in target.shape[-2:])
    return F.pad(target, (0, right, 0, bottom), value=IGNORED_LABEL)[..., ::stride, ::stride]
