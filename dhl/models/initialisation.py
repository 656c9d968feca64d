"""Initial weights of denoisers."""

from __future__ import annotations

from torch import nn


def begin_as_identity(out: nn.Conv2d) -> None:
    """Initialise a residual's last layer near zero, so that the network first returns its input.

    If it is initialised like the other layers, the first error is a hundred times that of the
    noise, and its gradients stay in Adam's second moment for a thousand steps.
    """
    nn.init.normal_(out.weight, std=1e-3)
    if out.bias is not None:
        nn.init.zeros_(out.bias)


def initialise(network: nn.Module) -> None:
    """Initialise convolutions like Caffe's `xavier` (uniform, by fan-in), and biases with zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            # Caffe's fan-in for both kinds: number of weights over the first dimension.
            bound = (3 * layer.weight.shape[0] / layer.weight.numel()) ** 0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
