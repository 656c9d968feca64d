"""The receptive field: published extents, and closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dhl.models.build import build_network
from dhl.models.receptive_field import receptive_field


@pytest.mark.parametrize("options", [{}, {"input": "authors"}])
def test_the_released_network_sees_39_pixels(options):
    assert receptive_field(build_network("denoiser", "released", width=4, **options)) == 39


def test_dncnn_with_17_layers_sees_35_pixels_as_published():
    assert receptive_field(build_network("denoiser", "dncnn", width=4)) == 35


@pytest.mark.parametrize("depth", [3, 8, 40])
def test_each_convolution_adds_two_pixels(depth):
    network = build_network("denoiser", "dncnn", width=4, depth=depth)
    assert receptive_field(network) == 1 + 2 * depth


class Mean(nn.Module):
    """A network whose pixels all depend on the complete image."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, noisy):
        return noisy - noisy.mean((2, 3), keepdim=True) * self.gain


def test_a_network_that_sees_everything_has_no_number():
    assert receptive_field(Mean()) is None


def test_the_network_is_not_changed():
    network = build_network("denoiser", "released", width=4).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    receptive_field(network)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
