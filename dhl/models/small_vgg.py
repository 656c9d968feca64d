"""A small classifier of the VGG family."""

from __future__ import annotations

import torch
from torch import nn


def vgg_block(channels_in: int, channels: int, convolutions: int = 2) -> nn.Sequential:
    """Build 3x3 convolutions, each with BatchNorm and ReLU."""
    layers: list[nn.Module] = []
    for index in range(convolutions):
        layers += [
            nn.Conv2d(channels if index else channels_in, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def vgg_features(width: int) -> nn.Sequential:
    """Build three blocks of 1, 2 and 4 times `width` channels, with output stride 4."""
    return nn.Sequential(
        vgg_block(3, width),
        nn.MaxPool2d(2),
        vgg_block(width, 2 * width),
        nn.MaxPool2d(2),
        vgg_block(2 * width, 4 * width),
    )


class SmallVGG(nn.Module):
    """Three VGG blocks with pooling between them, global max pooling, a linear layer.

    For images of about 32 px.
    """

    def __init__(self, width: int = 32, classes: int = 10):
        super().__init__()
        self.features = vgg_features(width)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale to logits (N, classes)."""
        return self.head(self.features(4 * (images - 0.5)).amax((2, 3)))
