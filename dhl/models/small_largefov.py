"""A small segmenter like DeepLab-LargeFOV."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dhl.models.small_vgg import vgg_features


class SmallLargeFOV(nn.Module):
    """VGG blocks with output stride 4, then a dilated fc6, fc7 and a score for each class.

    For images of about 64 px.
    """

    def __init__(self, width: int = 32, classes: int = 11):
        super().__init__()
        self.features = vgg_features(width)
        # The large field of view: a dilated 3x3 kernel, as in DeepLab's fc6.
        self.fc6 = nn.Conv2d(4 * width, 4 * width, 3, padding=3, dilation=3)
        self.fc7 = nn.Conv2d(4 * width, 4 * width, 1)
        self.score = nn.Conv2d(4 * width, classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale to logits (N, classes, H, W)."""
        features = self.features(4 * (images - 0.5))
        scores = self.score(F.relu(self.fc7(F.relu(self.fc6(features)))))
        return F.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=False)
