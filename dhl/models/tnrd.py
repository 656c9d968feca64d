"""TNRD (Chen and Pock, IEEE TPAMI 2017), with which the paper's Table 1 compares.

Each stage takes one step of a diffusion of the image u, drawn back to the noisy image f:

    u  <-  u - sum_i k'_i * phi_i(k_i * u) - lambda (u - f)

with its own filters k_i (k'_i is turned by 180 degrees), influence functions phi_i and lambda.
Filters are combinations of the DCT basis without the constant, of norm 1; an influence function is
a sum of Gaussians on a grid of grey levels.

The published network denoises grey images. Here it denoises each colour channel alone, with the
same weights: channels are further images of the batch.
"""

from __future__ import annotations

import itertools
import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 7  # of a filter in px
NODES, SPACING = 63, 10.0  # Gaussians from -310 to 310 grey levels; their width is the spacing
END = 350.0  # grey levels beyond which the Gaussians are zero
PER_LEVEL = 2  # entries of the table of an influence function for each grey level
UNIT = 5.0  # grey levels of a Gaussian of weight 1: fits the learning rates of other networks
# Initial influence function: START · x / (1 + (x / STUDENT)²), as for Student's t; x is a filter
# response in grey levels.
START, STUDENT = 0.05, 20.0
RESPONSES = 2**25  # of filters in memory at once


class TNRD(nn.Module):
    """Denoises by `depth` stages of `width` filters; the published network has 5 stages of 48.

    The DCT basis without the constant has 48 filters, so `width` is at most 48.
    """

    def __init__(self, width: int = SIDE**2 - 1, depth: int = 5):
        super().__init__()
        self.width = width
        self.stages = nn.ModuleList(Stage(width) for _ in range(depth))

    @property
    def receptive_field(self) -> int:
        """Pixels in a row that decide a pixel of the output."""
        return 1 + 2 * (SIDE - 1) * len(self.stages)

    def forward(self, noisy: Tensor) -> Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale, unclipped, to the same shape, in float32."""
        channels = 255 * noisy.reshape(-1, 1, *noisy.shape[2:])
        filters = self.width
        at_once = max(1, RESPONSES // (filters * noisy[0, 0].numel()))
        # Rounded to bfloat16, grey levels would have an error of a whole level. The meta device, on
        # which operations are counted, has no autocast.
        device = noisy.device.type
        autocasts = torch.amp.is_autocast_available(device)
        with torch.autocast(device, enabled=False) if autocasts else nullcontext():
            parts = [self._denoised(part) for part in channels.split(at_once)]
        return torch.cat(parts).view(noisy.shape) / 255

    def _denoised(self, noisy: Tensor) -> Tensor:
        """Denoise grey images (N, 1, H, W) on the 0-255 scale."""
        image = noisy
        for stage in self.stages:
            image = stage(image, noisy)
        return image


class Stage(nn.Module):
    """One step of the diffusion.

    Attributes
    ----------
    coefficients : Parameter of shape (filters, 48)
        Of each filter in the DCT basis; the norm of a row has no effect.
    weights : Parameter of shape (filters, 63)
        Heights of the Gaussians of each influence function, in `UNIT` grey levels.
    log_reaction : Parameter of shape ()
        Logarithm of lambda.
    """

    basis: Tensor
    gaussians: Tensor

    def __init__(self, filters: int):
        super().__init__()
        self.coefficients = nn.Parameter(torch.eye(SIDE**2 - 1)[:filters])
        nodes = SPACING * (torch.arange(NODES) - NODES // 2)
        start = START / SIDE**2 * nodes / (1 + (nodes / STUDENT) ** 2)  # 49 patches have a pixel
        # Gaussians of this spacing add up to sqrt(2 pi).
        weights = start / (UNIT * math.sqrt(2 * math.pi))
        self.weights = nn.Parameter(weights.repeat(filters, 1))
        self.log_reaction = nn.Parameter(torch.tensor(math.log(START)))
        levels = torch.linspace(-END, END, int(2 * END * PER_LEVEL) + 1)
        gaussians = torch.exp(-(((nodes[:, None] - levels) / SPACING) ** 2) / 2)
        self.register_buffer("basis", dct_basis(), persistent=False)
        self.register_buffer("gaussians", UNIT * gaussians, persistent=False)

    def forward(self, image: Tensor, noisy: Tensor) -> Tensor:
        """Map grey images (N, 1, H, W) and the noisy ones, on the 0-255 scale, to the next."""
        filters = (F.normalize(self.coefficients) @ self.basis).view(-1, 1, SIDE, SIDE)
        border = SIDE - 1
        mode = "reflect" if border < min(image.shape[2:]) else "replicate"
        responses = F.conv2d(F.pad(image, 4 * (border,), mode), filters)
        # The transposed convolution turns the filters, and its padding cuts off the border.
        diffusion = F.conv_transpose2d(self.influence(responses), filters, padding=border)
        return image - diffusion - self.log_reaction.exp() * (image - noisy)

    def influence(self, responses: Tensor) -> Tensor:
        """Apply each filter's influence function to its responses (N, filters, H, W).

        As in the authors' training, between the entries of a table, which is 0.0003 of a Gaussian's
        height from it: 63 exponentials of each response take far longer.
        """
        table = self.weights @ self.gaussians
        last = table.shape[1] - 1
        position = (responses.clamp(-END, END) + END) * PER_LEVEL
        entry = position.detach().long().clamp(max=last - 1)
        row = (last + 1) * torch.arange(len(table), device=table.device).view(-1, 1, 1)
        low, high = (
            table.flatten().index_select(0, one.flatten()).view_as(entry)
            for one in (entry + row, entry + row + 1)
        )
        return low + (position - entry) * (high - low)


def dct_basis() -> Tensor:
    """Return the orthonormal DCT without the constant, low frequencies first: (48, 49)."""
    pixel = torch.arange(SIDE)
    rows = torch.cos(math.pi * (2 * pixel + 1) * pixel[:, None] / (2 * SIDE)) * math.sqrt(2 / SIDE)
    rows[0] /= math.sqrt(2)
    _, *pairs = sorted(itertools.product(range(SIDE), repeat=2), key=sum)
    return torch.stack([torch.outer(rows[down], rows[across]).flatten() for down, across in pairs])
