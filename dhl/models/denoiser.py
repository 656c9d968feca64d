"""The paper's denoiser: three scales of residual blocks, fused by concatenation, and a long skip.

Two forms: `released`, layer by layer as in the authors' published network definition, and `paper`,
as in the paper's Figure 2, which has an encoding module at full resolution and a decoding module at
each fusion. `width` is the number of channels of the first scale; 64 is the published one. `input`
is the scale that the first layer expects: `unit` is [0, 1], `authors` is the scale of weights
imported from Caffe.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dhl.models.authors_input import INPUTS
from dhl.models.initialisation import begin_as_identity, initialise
from dhl.models.padded_denoiser import PaddedDenoiser


def released(width: int = 64, input: str = "unit") -> nn.Module:
    """Build the authors' released network; 1,033,443 learnable parameters at width 64."""
    return INPUTS[input](ReleasedDenoiser(width))


def paper(width: int = 64, input: str = "unit") -> nn.Module:
    """Build the network of the paper's Figure 2."""
    return INPUTS[input](PaperDenoiser(width))


def conv_bn(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, bias: bool = False
) -> nn.Sequential:
    """Build a same-size (or halving) convolution followed by BatchNorm."""
    padding = (kernel - 1) // 2
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out, eps=1e-5))


class ResidualBlock(nn.Module):
    """A bottleneck of 1x1, 3x3 and 1x1 convolutions, added to the input, then ReLU."""

    def __init__(self, channels: int, narrow: int):
        super().__init__()
        self.a = conv_bn(channels, narrow, 1)
        self.b = conv_bn(narrow, narrow, 3)
        self.c = conv_bn(narrow, channels, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, channels, H, W) to the same shape."""
        return F.relu(features + self.c(F.relu(self.b(F.relu(self.a(features))))))


class FeatureModule(nn.Module):
    """Figure 2's feature encoding or decoding module: one convolution, then a residual block."""

    def __init__(self, channels_in: int, channels: int, *, stride: int = 1):
        super().__init__()
        self.conv = conv_bn(channels_in, channels, 3, stride=stride, bias=True)
        self.residual = ResidualBlock(channels, channels // 4)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, channels_in, H, W) to (N, channels, H / stride, W / stride)."""
        return self.residual(F.relu(self.conv(features)))


class ReleasedDenoiser(PaddedDenoiser):
    """The network of the authors' released code.

    Without padding, as in the authors' training, sides must be multiples of 4, and the output is
    6 px smaller.
    """

    border = 3
    receptive_field = 39  # px; stated, because it takes seconds to measure

    def __init__(self, width: int):
        super().__init__()
        self.conv0 = nn.Conv2d(3, width, 5)
        self.encode1 = FeatureModule(width, 2 * width, stride=2)
        self.encode2 = FeatureModule(2 * width, 2 * width, stride=2)
        self.up2 = nn.ConvTranspose2d(2 * width, width // 2, 4, 2, 1)
        self.decode = FeatureModule(2 * width + width // 2, 4 * width)
        self.up1 = nn.ConvTranspose2d(4 * width, width, 4, 2, 1)
        self.out = nn.Conv2d(2 * width, 3, 3)
        initialise(self)
        if self.conv0.bias is not None:
            nn.init.constant_(self.conv0.bias, 0.2)
        begin_as_identity(self.out)

    def forward_unpadded(self, noisy: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W), H and W multiples of 4, to (N, 3, H - 6, W - 6)."""
        scale0 = self.conv0(noisy)
        scale1 = self.encode1(scale0)
        scale2 = self.encode2(scale1)
        scale1 = self.decode(torch.cat([scale1, self.up2(scale2)], 1))
        residual = self.out(torch.cat([scale0, self.up1(scale1)], 1))
        return noisy[..., 3:-3, 3:-3] + residual


class PaperDenoiser(PaddedDenoiser):
    """The paper's Figure 2: an encoding module at each scale, a decoding module at each fusion."""

    receptive_field = 55

    def __init__(self, width: int):
        super().__init__()
        wide = 2 * width
        self.encode0 = FeatureModule(3, wide)
        self.down1 = conv_bn(wide, wide, 3, stride=2, bias=True)
        self.encode1 = FeatureModule(wide, wide)
        self.down2 = conv_bn(wide, wide, 3, stride=2, bias=True)
        self.encode2 = FeatureModule(wide, wide)
        self.up2 = nn.ConvTranspose2d(wide, width // 2, 4, 2, 1)
        self.decode1 = FeatureModule(wide + width // 2, 2 * wide)
        self.up1 = nn.ConvTranspose2d(2 * wide, width, 4, 2, 1)
        self.decode0 = FeatureModule(wide + width, 2 * wide)
        self.out = nn.Conv2d(2 * wide, 3, 3, padding=1)
        initialise(self)
        begin_as_identity(self.out)

    def forward_unpadded(self, noisy: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W), H and W multiples of 4, to the same shape."""
        scale0 = self.encode0(noisy)
        scale1 = self.encode1(F.relu(self.down1(scale0)))
        scale2 = self.encode2(F.relu(self.down2(scale1)))
        scale1 = self.decode1(torch.cat([scale1, self.up2(scale2)], 1))
        scale0 = self.decode0(torch.cat([scale0, self.up1(scale1)], 1))
        return noisy + self.out(scale0)
