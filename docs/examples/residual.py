"""A task network of your own: a small residual classifier."""

import torch
from torch import nn


def residual(classes: int, width: int = 16, blocks: int = 2) -> nn.Module:
    """Build a classifier of residual blocks with a stem and an average."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1),
        *(Block(width) for _ in range(blocks)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


class Block(nn.Module):
    """Two convolutions, added to what they read."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, width, H, W) to the same shape."""
        return torch.relu(features + self.layers(features))
