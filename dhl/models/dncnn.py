"""DnCNN (Zhang et al., IEEE TIP 2017) for colour, with which the paper's Table 1 compares."""

from __future__ import annotations

import torch
from torch import nn

from dhl.models.initialisation import begin_as_identity


class DnCNN(nn.Module):
    """Predicts the noise: `depth` convolutions, ReLU between them, BatchNorm after the inner ones.

    The published network for a known sigma has 17 layers of 64 channels.
    """

    def __init__(self, width: int = 64, depth: int = 17):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        out = nn.Conv2d(width, 3, 3, padding=1)
        self.layers = nn.Sequential(*layers, out)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        begin_as_identity(out)

    @property
    def receptive_field(self) -> int:
        """Pixels in a row that decide a pixel of the output."""
        convolutions = [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
        return 1 + 2 * len(convolutions)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale, unclipped, to the same shape."""
        return noisy - self.layers(noisy)
