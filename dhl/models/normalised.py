"""Published networks, preceded by the normalisation with which they were trained."""

from __future__ import annotations

import torch
from torch import nn

# RGB statistics of ImageNet's training images on [0, 1], as for torchvision's weights.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Subtract a mean and divide by a standard deviation for each channel.

    Both are constants of the architecture, and model files do not contain them.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale to the network's scale."""
        return (images - self.mean) / self.std


class Normalised(nn.Module):
    """A classifier of another package that reads images on the [0, 1] scale."""

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale to logits (N, classes)."""
        return self.network(self.normalise(images))

    def pretrained_part(self) -> dict[str, torch.Tensor]:
        """Return the weights that a published file contains, by their names in the file."""
        return self.network.state_dict()
