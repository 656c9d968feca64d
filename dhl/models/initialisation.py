"""How the weights of denoisers begin."""

from __future__ import annotations

from torch import nn


def begin_as_identity(out: nn.Conv2d) -> None:
    """Start a residual's last layer near zero: the network begins by returning its input.

    Filled as the other layers, it begins with an error a hundred times the noise's, whose gradients
    stay in Adam's second moment for a thousand steps.
    """
    nn.init.normal_(out.weight, std=1e-3)
    if out.bias is not None:
        nn.init.zeros_(out.bias)


def initialise(network: nn.Module) -> None:
    """Fill convolutions as Caffe's `xavier` does (uniform, by fan-in), biases with zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            # Caffe's fan-in of either kind: the weight's count over its first dimension.
            bound = (3 * layer.weight.shape[0] / layer.weight.numel()) ** 0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
