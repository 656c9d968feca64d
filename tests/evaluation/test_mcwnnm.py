"""MCWNNM has the result of its authors' public code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from skimage import data as pictures

from dhl.errors import UserError
from dhl.evaluation import mcwnnm as module
from dhl.evaluation.mcwnnm import mcwnnm
from dhl.evaluation.untrained import mcwnnm_batch

# PSNR in dB of github.com/csjunxu/MCWNNM-ICCV2017, commit e6db69b, in GNU Octave 7.3:
# MCWNNM_ADMM1_Denoising with the constants of Demo_MCWNNM_ADMM1.m, on the images of `noisy_crop` in
# single precision, with sigma in each channel. Results were clipped to [0, 255]; cal_ssim.m, which
# needs a toolbox, was replaced by a zero.
OCTAVE = [
    ("astronaut", (90, 200, 32, 24), 25, 28.588495),
    ("coffee", (120, 300, 24, 32), 50, 25.421701),
    *(
        pytest.param(*row, marks=pytest.mark.slow)
        for row in (
            ("astronaut", (90, 200, 48, 48), 25, 29.539847),
            ("astronaut", (90, 200, 48, 48), 50, 26.138736),
            ("coffee", (120, 300, 40, 56), 25, 32.789387),
            ("coffee", (120, 300, 40, 56), 50, 29.234219),
        )
    ),
]


def noisy_crop(name: str, box: tuple[int, ...], sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a crop on 0-255 (top, left, height, width), and the same with noise."""
    top, left, height, width = box
    clean = getattr(pictures, name)()[top : top + height, left : left + width]
    return clean, clean + sigma * np.random.default_rng(0).normal(size=clean.shape)


@pytest.mark.parametrize(("name", "box", "sigma", "expected"), OCTAVE)
def test_the_psnr_is_that_of_the_authors_code(name, box, sigma, expected):
    clean, noisy = noisy_crop(name, box, sigma)
    (denoised,) = mcwnnm_batch([noisy / 255], sigma=sigma)
    assert denoised.shape == clean.shape
    error = np.clip(255 * denoised.astype(float), 0, 255) - clean
    assert 10 * np.log10(255**2 / np.square(error).mean()) == pytest.approx(expected, abs=0.002)


def test_equal_patches_are_finite():
    image = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    image[..., 8:36] = 0  # black: noise of some models leaves it black
    assert mcwnnm(image, sigma=25).isfinite().all()


def test_an_image_is_the_same_in_any_batch_and_in_any_chunks(monkeypatch):
    monkeypatch.setattr(module, "GROUP_SIZES", (20, 10))
    images = torch.rand(2, 3, 14, 15, generator=torch.Generator().manual_seed(0))
    expected = mcwnnm(images, sigma=25)
    assert expected.dtype == torch.float32
    torch.testing.assert_close(mcwnnm(images[1:], sigma=25), expected[1:], rtol=0, atol=1e-6)
    monkeypatch.setitem(module.CHUNKS, "cpu", 2**16)
    torch.testing.assert_close(mcwnnm(images[1:], sigma=25), expected[1:], rtol=0, atol=1e-5)


def test_a_singular_value_is_shrunk_to_the_minimum_of_its_objective():
    """The weight of a singular value is `strength` over its result, as in reweighting."""
    values, strength = torch.tensor([9.0, 5.0, 3.9, 0.5]), 4.0
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 4, generator=generator))[0] for n in (7, 5))
    matrix = left @ torch.diag(values) @ right.T
    shrunk = module._shrink_singular_values(matrix[None], torch.tensor([[strength]]))[0]
    found = torch.linalg.svdvals(shrunk)[:4].tolist()
    for value, got in zip(values.tolist(), found, strict=True):
        # (x - s)^2 / 2 + strength * log x has its local minimum where x + strength / x = s.
        best = minimize_scalar(
            lambda x, s=value: (x - s) ** 2 / 2 + strength * math.log(x), bounds=(2, 10)
        )
        assert got == pytest.approx(float(best.x) if value > 4 else 0, abs=1e-3)


def test_every_position_behind_the_last_step_has_a_group():
    """Rows 0, 5 and 6, columns 0, 5, 10, 11 and 12 of 7 x 13 positions."""
    keys = module._key_patches(7, 13, torch.device("cpu"))
    rows, columns = np.unravel_index(keys.numpy(), (7, 13))
    assert sorted(set(rows.tolist())) == [0, 5, 6]
    assert sorted(set(columns.tolist())) == [0, 5, 10, 11, 12]
    assert len(keys) == 15


@pytest.mark.parametrize(("side", "sigma", "came"), [(12, 25, "20 x 12 px"), (20, 0, "sigma 0")])
def test_what_it_cannot_denoise_is_refused(side, sigma, came):
    with pytest.raises(UserError) as caught:
        mcwnnm(torch.zeros(1, 3, side, 20), sigma=sigma)
    assert caught.value.came == came
