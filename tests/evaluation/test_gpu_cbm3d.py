"""CBM3D on a GPU has the result of the CPU, and repeats to the bit."""

from __future__ import annotations

import pytest
import torch

from dhl.evaluation.cbm3d import cbm3d

pytestmark = pytest.mark.gpu


@pytest.fixture
def noisy() -> torch.Tensor:
    """Return eight ramps with noise."""
    noise = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return torch.linspace(0.2, 0.8, 64).view(64, 1) + 25 / 255 * noise


def test_cbm3d_repeats_to_the_bit(gpu, noisy):
    first = cbm3d(noisy.to(gpu), sigma=25)
    assert torch.equal(first, cbm3d(noisy.to(gpu), sigma=25))


def test_cbm3d_has_the_result_of_the_cpu(gpu, noisy):
    pytest.importorskip("numba")
    difference = (cbm3d(noisy.to(gpu), sigma=25).cpu() - cbm3d(noisy, sigma=25)).abs()
    assert difference.max() < 0.02
    assert difference.mean() < 1e-4
