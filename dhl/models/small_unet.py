"""A small U-Net: an encoder, and a decoder with a skip connection at each finer scale.

References
----------
.. [1] Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image
   Segmentation, MICCAI 2015.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dhl.models.small_vgg import vgg_block


class SmallUNet(nn.Module):
    """Two convolutions at each of three scales, then a score for each class.

    For images of about 64 px.
    """

    def __init__(self, width: int = 32, classes: int = 11):
        super().__init__()
        self.down = nn.ModuleList(
            [
                vgg_block(3, width, 1),
                vgg_block(width, 2 * width, 1),
                vgg_block(2 * width, 4 * width, 1),
            ]
        )
        self.bottom = vgg_block(4 * width, 4 * width, 1)
        self.up = nn.ModuleList(
            [vgg_block(6 * width, 2 * width, 1), vgg_block(3 * width, width, 1)]
        )
        self.score = nn.Conv2d(width, classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale to logits (N, classes, H, W)."""
        fine = self.down[0](4 * (images - 0.5))
        middle = self.down[1](F.max_pool2d(fine, 2))
        coarse = self.bottom(self.down[2](F.max_pool2d(middle, 2)))
        for layer, skipped in zip(self.up, (middle, fine), strict=True):
            grown = F.interpolate(coarse, size=skipped.shape[-2:], mode="nearest")
            coarse = layer(torch.cat([skipped, grown], dim=1))
        return self.score(coarse)
