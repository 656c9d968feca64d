"""The calibration: crops of the literature, and PSNR in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from dhl.data.image_set import ImageSet
from dhl.evaluation.calibration import centre_crop, denoise_with, measure
from dhl.models.build import build_network


@pytest.mark.parametrize(("shape", "corner"), [((512, 768), (6, 134)), ((768, 512), (134, 6))])
def test_the_crop_begins_where_that_of_ffdnets_kodak24_does(shape, corner):
    image = np.arange(np.prod(shape) * 3).reshape(*shape, 3)
    crop = centre_crop(image)
    assert crop.shape == (500, 500, 3)
    np.testing.assert_array_equal(crop[0, 0], image[corner])


@pytest.mark.parametrize("region", ["full", "crop"])
def test_without_a_denoiser_the_psnr_is_that_of_the_noise(region):
    grey = np.full((512, 520, 3), 128, np.uint8)  # so far from black and white that nothing clips
    found = measure(
        lambda noisy: noisy, ImageSet(["a", "b"], [grey, grey]),
        sigma=10, base_seed=1, region=region,
    )  # fmt: skip
    assert found["plain"] == pytest.approx(20 * np.log10(255 / 10), abs=0.02)
    rounded = -10 * np.log10((10**2 + 1 / 12) / 255**2)  # rounding adds 1/12 to the MSE
    assert found["authors"] == pytest.approx(rounded, abs=0.02)


def test_a_network_denoises_complete_images_in_their_layout():
    noisy = np.random.default_rng(0).random((20, 31, 3)).astype(np.float32)
    network = build_network("denoiser", "dncnn", width=4, depth=3).eval()
    network.layers[-1].weight.data.zero_()
    network.layers[-1].bias.data.fill_(0.25)
    np.testing.assert_allclose(denoise_with(network)(noisy), noisy - 0.25, rtol=1e-6)
