"""TNRD against a computation with NumPy and SciPy, and against published numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import idctn
from scipy.signal import convolve2d, correlate2d

from dhl.config.architectures import NETWORKS
from dhl.models.build import build_network
from dhl.models.receptive_field import receptive_field
from dhl.models.tnrd import TNRD, Stage, dct_basis


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Give filters and influence functions random values."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim:
            parameter.data.normal_(std=0.3, generator=generator)
    return network


def grey(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Return a grey image with noise on the 0-255 scale, (1, 1, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.linspace(20, 230, width).expand(height, width)
    return (levels + 25 * torch.randn(height, width, generator=generator))[None, None]


def step_by_hand(stage: Stage, image: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """Compute a stage by its formula: exact Gaussians, one filter after the other."""
    coefficients, weights = (
        one.detach().double().numpy() for one in (stage.coefficients, stage.weights)
    )
    pairs = sorted(((i, j) for i in range(7) for j in range(7)), key=sum)[1:]
    blocks = [idctn(np.eye(49)[7 * i + j].reshape(7, 7), norm="ortho") for i, j in pairs]
    result = image - np.exp(stage.log_reaction.item()) * (image - noisy)
    for row, heights in zip(coefficients, weights, strict=True):
        kernel = np.tensordot(row / np.linalg.norm(row), blocks, 1)
        response = correlate2d(np.pad(image, 6, mode="reflect"), kernel, mode="valid")
        distances = response[..., None] - np.arange(-310, 311, 10)
        influence = (5 * heights * np.exp(-(distances**2) / (2 * 10**2))).sum(-1)
        result = result - convolve2d(influence, kernel, mode="valid")
    return result


def test_a_stage_computes_its_formula():
    stage, image, noisy = randomised(Stage(5)), grey(20, 23), grey(20, 23, seed=1)
    with torch.no_grad():
        moved = stage(image, noisy) - image
    expected = step_by_hand(stage, image[0, 0].double().numpy(), noisy[0, 0].double().numpy())
    difference = moved[0, 0].numpy() - (expected - image[0, 0].numpy())
    assert np.abs(moved.numpy()).mean() > 3
    assert np.abs(difference).max() < 0.03  # grey levels


def test_the_published_network_has_26645_parameters():
    network = build_network("denoiser", "tnrd")
    assert sum(one.numel() for one in network.parameters()) == 26_645  # Chen and Pock, 5 stages
    basis = dct_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(48), rtol=0, atol=1e-5)
    torch.testing.assert_close(basis.sum(1), torch.zeros(48), rtol=0, atol=1e-5)


def test_each_channel_is_denoised_alone_and_alike(monkeypatch):
    network = randomised(TNRD(width=4, depth=3))
    noisy = torch.rand(2, 3, 16, 19, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(noisy)
        torch.testing.assert_close(network(noisy[:, [2, 0, 1]]), expected[:, [2, 0, 1]])
        monkeypatch.setattr("dhl.models.tnrd.RESPONSES", 1)  # channel after channel
        torch.testing.assert_close(network(noisy), expected)


def test_bfloat16_rounds_no_grey_level():
    network = randomised(TNRD(width=4, depth=3))
    noisy = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = network(noisy)
    torch.testing.assert_close(rounded, network(noisy).detach(), rtol=0, atol=0)


@pytest.mark.parametrize(("depth", "field"), [(3, 37), (5, 61)])
def test_the_receptive_field_is_that_of_the_gradient(depth, field):
    network = randomised(TNRD(width=4, depth=depth)).double()
    noisy = torch.rand(1, 3, 81, 81, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    noisy.requires_grad_()
    network(noisy)[0, 0, 40, 40].backward()
    reached = noisy.grad[0, 0].nonzero()
    extent = reached.max(0).values - reached.min(0).values + 1
    assert extent.tolist() == [field, field]
    assert receptive_field(network) == field


def test_the_largest_width_is_the_number_of_filters_of_the_basis():
    assert NETWORKS["denoiser"]["tnrd"].widest == len(dct_basis())
