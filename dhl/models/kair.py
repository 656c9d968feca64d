"""Denoisers for colour with the layers, and the names of layers, of KAIR's files of weights.

KAIR [1]_ is the collection of the authors of DnCNN, IRCNN, FFDNet and DRUNet. Its networks have no
BatchNorm: it is merged into the convolutions. Images are RGB on [0, 1].

References
----------
.. [1] github.com/cszn/KAIR, under the MIT licence; files at its releases/tag/v1.0.
.. [2] K. Zhang et al. Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image
   Denoising. IEEE TIP 26(7), 2017.
.. [3] K. Zhang, W. Zuo, S. Gu, L. Zhang. Learning Deep CNN Denoiser Prior for Image Restoration.
   CVPR 2017.
.. [4] K. Zhang, W. Zuo, L. Zhang. FFDNet. IEEE TIP 27(9), 2018.
.. [5] K. Zhang et al. Plug-and-Play Image Restoration with Deep Denoiser Prior. IEEE TPAMI 44(10),
   2022.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

from dhl.models.padded_denoiser import PaddedDenoiser
from dhl.sigma import noise_std


def _convolutions(channels: list[int], dilations: list[int]) -> nn.Sequential:
    """Build 3x3 convolutions with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after, dilation in zip(channels[:-1], channels[1:], dilations, strict=True):
        layers += [nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class _PredictsNoise(nn.Module):
    """Convolutions that predict the noise."""

    model: nn.Sequential

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale, unclipped, to the same shape."""
        return noisy - self.model(noisy)


class KairDnCNN(_PredictsNoise):
    """DnCNN [2]_; `dncnn_color_blind.pth` has 20 layers of 64 channels."""

    def __init__(self, width: int = 64, depth: int = 20):
        super().__init__()
        self.model = _convolutions([3, *[width] * (depth - 1), 3], [1] * depth)


class KairIRCNN(_PredictsNoise):
    """IRCNN [3]_: seven layers with dilations 1 to 4.

    `ircnn_color.pth` has 25 networks, for sigma 2, 4, ..., 50; that of the next even sigma is read.
    """

    def __init__(self, sigma: float, width: int = 64):
        super().__init__()
        self.member = str(math.ceil(sigma / 2) - 1)  # its key in the file
        self.model = _convolutions([3, *[width] * 6, 3], [1, 2, 3, 4, 3, 2, 1])


class KairFFDNet(PaddedDenoiser):
    """FFDNet [4]_: denoises four half-size images, given the noise level as a thirteenth channel.

    `ffdnet_color.pth` has 12 layers of 96 channels.
    """

    multiple = 2

    def __init__(self, sigma: float, width: int = 96, depth: int = 12):
        super().__init__()
        self.noise_level = noise_std(sigma)
        self.model = _convolutions([13, *[width] * (depth - 1), 12], [1] * depth)

    def forward_unpadded(self, noisy: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W), H and W even, to the same shape."""
        small = F.pixel_unshuffle(noisy, 2)
        level = torch.full_like(small[:, :1], self.noise_level)
        return F.pixel_shuffle(self.model(torch.cat([small, level], 1)), 2)


class _Residual(nn.Module):
    """Two convolutions without bias, added to the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.res = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, channels, H, W) to the same shape."""
        return features + self.res(features)


class KairDRUNet(PaddedDenoiser):
    """DRUNet [5]_: a U-Net of residual blocks, given the noise level as a fourth channel.

    `drunet_color.pth` has four blocks a scale, and 64, 128, 256 and 512 channels.
    """

    multiple = 8

    def __init__(self, sigma: float, width: int = 64):
        super().__init__()
        self.noise_level = noise_std(sigma)
        scales = [width, 2 * width, 4 * width, 8 * width]
        self.m_head = nn.Conv2d(4, width, 3, padding=1, bias=False)
        for number, (fine, coarse) in enumerate(itertools.pairwise(scales), 1):
            down = nn.Conv2d(fine, coarse, 2, 2, bias=False)
            up = nn.ConvTranspose2d(coarse, fine, 2, 2, bias=False)
            setattr(self, f"m_down{number}", nn.Sequential(*_blocks(fine), down))
            setattr(self, f"m_up{number}", nn.Sequential(up, *_blocks(fine)))
        self.m_body = nn.Sequential(*_blocks(scales[-1]))
        self.m_tail = nn.Conv2d(width, 3, 3, padding=1, bias=False)

    def forward_unpadded(self, noisy: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W), H and W multiples of 8, to the same shape."""
        level = torch.full_like(noisy[:, :1], self.noise_level)
        features = self.m_head(torch.cat([noisy, level], 1))
        skipped = [features]
        for number in (1, 2, 3):
            features = getattr(self, f"m_down{number}")(features)
            skipped.append(features)
        features = self.m_body(features)
        for number in (3, 2, 1):
            features = getattr(self, f"m_up{number}")(features + skipped.pop())
        return self.m_tail(features + skipped.pop())


def _blocks(channels: int) -> list[_Residual]:
    """Build the residual blocks of a scale."""
    return [_Residual(channels) for _ in range(4)]
