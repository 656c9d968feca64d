"""The receptive field: published extents, and closed forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dhl.evaluation import inference
from dhl.models.build import build_network
from dhl.models.receptive_field import receptive_field, tile_margin


def measured(network: nn.Module) -> int | None:
    """Measure a network; without its attributes, of which one may state the receptive field."""
    return receptive_field(nn.Sequential(network))


@pytest.mark.parametrize("options", [{}, {"input": "authors"}])
def test_the_released_network_sees_39_pixels(options):
    network = build_network("denoiser", "released", width=4, **options)
    assert receptive_field(network) == measured(network) == 39


def test_the_papers_network_states_what_is_measured():
    network = build_network("denoiser", "paper", width=4)
    assert receptive_field(network) == measured(network) == 55


def test_dncnn_with_17_layers_sees_35_pixels_as_published():
    assert receptive_field(build_network("denoiser", "dncnn", width=4)) == 35


def test_dncnn_states_what_is_measured():
    network = build_network("denoiser", "dncnn", width=4, depth=6)
    assert receptive_field(network) == measured(network) == 13


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
    assert tile_margin(Mean()) is None


class Plain(nn.Module):
    """Eight 3x3 convolutions with something after each, and after the skip."""

    def __init__(self, after: Callable[[Tensor], Tensor], last: Callable[[Tensor], Tensor]):
        super().__init__()
        ends = [(3, 4), *[(4, 4)] * 6, (4, 3)]
        self.layers = nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in ends)
        self.after, self.last = after, last

    def forward(self, noisy):
        features = noisy
        for layer in self.layers:
            features = self.after(layer(features))
        return self.last(noisy - features)


def clamped(image: Tensor) -> Tensor:
    return image.clamp(0, 1)


def layer_norm(features: Tensor) -> Tensor:
    """Normalise the channels of each pixel."""
    return F.layer_norm(features.movedim(1, -1), features.shape[1:2]).movedim(-1, 1)


def without_nan(features: Tensor) -> Tensor:
    """Replace NaN by zero, as a ReLU does that is written with a condition."""
    return torch.where(features > 0, features, 0.1 * features).nan_to_num()


@pytest.mark.parametrize(
    ("after", "last"),
    [(F.relu, clamped), (layer_norm, nn.Identity()), (F.hardtanh, torch.sigmoid)],
)
def test_clamps_and_normalisation_of_channels_hide_no_path(after, last):
    torch.manual_seed(0)
    assert receptive_field(Plain(after, last)) == 17
    assert tile_margin(Plain(after, last)) == 32


def broken(image: Tensor) -> Tensor:
    raise ValueError("on a CPU")


@pytest.mark.parametrize("last", [torch.nan_to_num, broken])
def test_a_network_that_cannot_be_measured_has_no_number(last):
    torch.manual_seed(0)
    network = Plain(without_nan, last)
    assert receptive_field(network) is None
    assert tile_margin(network) is None


def test_a_path_that_replaces_nan_is_found():
    torch.manual_seed(0)
    network = Plain(without_nan, nn.Identity())  # the skip lets NaN pass, the layers do not
    assert receptive_field(network) is None
    assert tile_margin(network) is None


class Strided(nn.Module):
    """Averages squares; pads the bottom and right, or all sides, to a multiple of their side."""

    def __init__(self, side: int, *, both: bool = False):
        super().__init__()
        self.side, self.both = side, both

    def forward(self, noisy):
        height, width = noisy.shape[2:]
        bottom, right = -height % self.side, -width % self.side
        top, left = (bottom // 2, right // 2) if self.both else (0, 0)
        padded = F.pad(noisy, (left, right - left, top, bottom - top), "replicate")
        average = F.interpolate(F.avg_pool2d(padded, self.side), scale_factor=self.side)
        return average[..., top : top + height, left : left + width]


@pytest.mark.parametrize(("side", "field"), [(2, 2), (16, 16), (32, 32)])
def test_all_phases_of_strides_are_measured(side, field):
    assert receptive_field(Strided(side)) == field
    assert tile_margin(Strided(side)) == 0  # tiles start where squares do


@pytest.mark.parametrize("network", [Strided(24), Strided(64), Strided(16, both=True)])
def test_strides_that_do_not_fit_the_grid_of_tiles_have_no_number(network):
    assert receptive_field(network) is None
    assert tile_margin(network) is None


class UNet(nn.Module):
    """A U-Net of four scales below the first, each with two 3x3 convolutions on either side."""

    def __init__(self, width: int = 2):
        super().__init__()
        self.down = nn.ModuleList(self.pair(n, width) for n in [3, *[width] * 4])
        self.up = nn.ModuleList(self.pair(2 * width, width) for _ in range(4))
        self.out = nn.Conv2d(width, 3, 3, padding=1)

    @staticmethod
    def pair(before: int, after: int) -> nn.Sequential:
        first, second = (nn.Conv2d(n, after, 3, padding=1) for n in (before, after))
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    def forward(self, noisy):
        height, width = noisy.shape[2:]
        features = F.pad(noisy, (0, -width % 16, 0, -height % 16), "replicate")
        skipped = []
        for layers in self.down[:-1]:
            skipped.append(layers(features))
            features = F.max_pool2d(skipped[-1], 2)
        features = self.down[-1](features)
        for layers in self.up:
            features = F.interpolate(features, scale_factor=2)
            features = layers(torch.cat([features, skipped.pop()], 1))
        return noisy - self.out(features)[..., :height, :width]


def seen_by_u_net(pixel: int) -> tuple[int, int]:
    """Follow the first and last pixel that decide a pixel through the layers, from the output."""
    first, last = pixel - 1, pixel + 1
    for _ in range(4):
        first, last = (first - 2) // 2, (last + 2) // 2
    first, last = first - 2, last + 2
    for _ in range(4):
        first, last = 2 * first - 2, 2 * last + 1 + 2
    return first, last


def test_the_field_of_a_u_net_is_longer_on_one_side():
    seen = [(pixel, *seen_by_u_net(pixel)) for pixel in range(16)]
    field = max(last - first + 1 for _, first, last in seen)
    reach = max(max(pixel - first, last - pixel) for pixel, first, last in seen)
    assert (field, reach) == (204, 108)
    torch.manual_seed(0)
    assert receptive_field(UNet()) == field
    # Rows 0 to 15 see no row before -94, and tiles start at multiples of 16.
    assert min(first for _, first, _ in seen) == -94
    assert tile_margin(UNet()) == 96


@pytest.mark.parametrize("column", [0, 2])
def test_tiles_of_a_u_net_that_carries_pixels_far_equal_the_complete_image(monkeypatch, column):
    monkeypatch.setattr(inference, "TILE", 96)
    network = UNet(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
            if weight.ndim > 1:
                weight[:, -1 if column else 0, 1, column] = 1
    noisy = torch.rand(1, 3, 40, 400, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(noisy)[0].permute(1, 2, 0).numpy()
    image = noisy[0].permute(1, 2, 0).numpy()
    bands = inference.tile_bands(
        network, lambda top, end: image[top:end], (40, 400), device=torch.device("cpu")
    )
    result = np.concatenate([rows for _, rows in bands])
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_stated_field_is_believed():
    network = nn.Conv2d(3, 3, 3, padding=1)
    network.receptive_field = 131
    assert receptive_field(network) == 131
    assert tile_margin(network) == 96


def test_the_network_is_not_changed():
    network = build_network("denoiser", "released", width=4).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    receptive_field(network)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_tiles_have_a_margin_where_the_field_is_too_wide_to_measure():
    class Wide(nn.Module):
        def forward(self, images):
            return images + nn.functional.avg_pool2d(images, 357, 1, padding=178)  # as DRUNet's

    assert tile_margin(Wide()) == 192
    assert receptive_field(Wide()) is None
