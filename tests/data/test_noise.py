"""The moments of the noise, compared with scipy, and its dependence on the seed."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from dhl.data.image_set import load_split
from dhl.data.noise import (
    add_gaussian_noise,
    evaluation_noise,
    evaluation_seed,
    noisy_image,
    pixel_digest,
    read_noise,
    recorded_noisy_image,
)
from dhl.errors import UserError
from dhl.sigma import format_sigma, noise_std

NAMES = {"base_seed": 1706, "dataset": "kodak", "image_id": "kodim01", "sigma": 30.0}
SHAPE = (200, 300, 3)


def assert_white_gaussian(noise: np.ndarray, std: float) -> None:
    """Compare moments and distribution with N(0, std), within four standard errors."""
    count = noise.size
    assert abs(noise.mean()) < 4 * std / count**0.5
    assert abs(noise.std() / std - 1) < 4 / (2 * count) ** 0.5
    assert abs(stats.skew(noise, axis=None)) < 4 * (6 / count) ** 0.5
    assert abs(stats.kurtosis(noise, axis=None)) < 4 * (24 / count) ** 0.5
    assert stats.kstest(noise.ravel() / std, "norm").pvalue > 0.001
    for axis in range(noise.ndim):  # white: neighbours are not correlated
        first, second = (noise.take(np.arange(noise.shape[axis] - 1) + i, axis) for i in (0, 1))
        correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
        assert abs(correlation) < 4 / first.size**0.5


@pytest.mark.parametrize("sigma", [1, 15, 30, 60, 255])
def test_evaluation_noise_is_white_gaussian_with_this_sigma(sigma):
    noise = evaluation_noise(SHAPE, sigma=sigma, seed=evaluation_seed(**NAMES | {"sigma": sigma}))
    assert_white_gaussian(noise.astype(float) * 255, sigma)


@pytest.mark.parametrize("sigma", [15, 60])
def test_training_noise_is_white_gaussian_with_this_sigma(sigma):
    clean = torch.full((8, 3, 64, 80), 0.5)
    noisy = add_gaussian_noise(clean, sigma=sigma, generator=torch.Generator().manual_seed(1))
    assert_white_gaussian(((noisy - clean) * 255).double().numpy(), sigma)


@pytest.mark.parametrize(("level", "beyond"), [(0, np.less), (255, np.greater)])
def test_noise_is_neither_clipped_nor_quantised(level, beyond):
    noisy = noisy_image(np.full(SHAPE, level, np.uint8), sigma=30, seed=1)
    clean = torch.full((4, 3, 64, 64), level / 255)
    noisy_batch = add_gaussian_noise(clean, sigma=30, generator=torch.Generator().manual_seed(1))
    for image in (noisy, noisy_batch.numpy()):
        assert image.dtype == np.float32
        assert beyond(image, level / 255).mean() == pytest.approx(0.5, abs=0.02)
        assert len(np.unique(image)) > 0.9 * image.size


def test_noisy_image_is_clean_plus_noise():
    clean = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    draw = np.random.default_rng(5).standard_normal(clean.shape, dtype=np.float32)
    expected = clean / 255 + 30 / 255 * draw
    np.testing.assert_allclose(noisy_image(clean, sigma=30, seed=5), expected, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"base_seed": 1}, {"dataset": "kodak/other"}, {"image_id": "kodim02"}, {"sigma": 31.0}],
)
def test_each_name_changes_the_draw(change):
    seeds = [evaluation_seed(**names) for names in (NAMES, NAMES | change)]
    draws = [evaluation_noise((8, 8, 3), sigma=30, seed=seed) for seed in seeds]
    assert abs(np.corrcoef(draws[0].ravel(), draws[1].ravel())[0, 1]) < 0.3


@pytest.mark.parametrize("sigma", [0.1, 0.999, -1, -0.0001, 255.5, 300, float("nan"), float("inf")])
def test_a_sigma_off_the_255_scale_is_refused(sigma):
    with pytest.raises(UserError, match=rf"0-255 scale[\s\S]*sigma {sigma:g}\n"):
        noise_std(sigma)
    with pytest.raises(UserError, match="0-255 scale"):
        evaluation_noise((8, 8, 3), sigma=sigma, seed=0)
    for given in (sigma, (sigma, 50.0), (15.0, sigma)):
        with pytest.raises(UserError, match="0-255 scale"):
            add_gaussian_noise(
                torch.zeros(1, 3, 4, 4), sigma=given, generator=torch.Generator().manual_seed(0)
            )


@pytest.mark.parametrize(("sigma", "std"), [(0, 0.0), (1, 1 / 255), (51, 0.2), (255, 1.0)])
def test_noise_std_is_sigma_over_255(sigma, std):
    assert noise_std(sigma) == pytest.approx(std, abs=1e-12)


@pytest.mark.parametrize(("sigma", "text"), [(30.0, "30"), (25.5, "25.5"), (15, "15")])
def test_sigma_in_file_names(sigma, text):
    assert format_sigma(sigma) == text


def test_a_range_draws_one_sigma_per_image_uniformly():
    clean = torch.zeros(400, 3, 24, 24)
    noisy = add_gaussian_noise(
        clean, sigma=(10.0, 60.0), generator=torch.Generator().manual_seed(2)
    )
    sigmas = 255 * noisy.double().std(dim=(1, 2, 3)).numpy()
    assert stats.kstest(sigmas, stats.uniform(10, 50).cdf).pvalue > 0.01
    halves = [255 * noisy[:, :, rows].double().std(dim=(1, 2, 3)).numpy()
              for rows in (slice(12), slice(12, 24))]  # fmt: skip
    np.testing.assert_allclose(*halves, rtol=0.2)  # one level within an image


def test_training_noise_repeats_with_its_generator_and_not_with_another():
    clean = torch.zeros(2, 3, 8, 8)
    draws = [
        add_gaussian_noise(clean, sigma=30, generator=torch.Generator().manual_seed(seed))
        for seed in (7, 7, 8)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_recorded_noise_returns_the_recorded_pixels_and_refuses_changed_ones():
    clean = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    noisy = noisy_image(clean, sigma=30, seed=11)
    record = SimpleNamespace(image_id="kodim07", seed=11, sha256=pixel_digest(noisy))
    np.testing.assert_array_equal(recorded_noisy_image(clean, sigma=30, record=record), noisy)
    changed = clean.copy()
    changed[3, 4, 1] ^= 1
    other = SimpleNamespace(**vars(record) | {"seed": 12})
    for image, sigma, row in ((changed, 30, record), (clean, 31, record), (clean, 30, other)):
        with pytest.raises(UserError, match=f"`kodim07` at sigma {sigma} differs"):
            recorded_noisy_image(image, sigma=sigma, record=row)


def drop_last(lines: list[str]) -> list[str]:
    return lines[:-1]


@pytest.mark.parametrize(
    "change",
    [
        drop_last,
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0], *lines[:0:-1]],
        lambda lines: [lines[0], re.sub(r"(?<=,)[0-9]{6,}(?=,)", "abc", lines[1]), *lines[2:]],
        lambda lines: [lines[0], re.sub(r"(?<=,)[0-9]{6,}(?=,)", "1.5", lines[1]), *lines[2:]],
        lambda lines: [lines[0], re.sub("[0-9a-f]{64}", "hello", lines[1]), *lines[2:]],
    ],
)
def test_a_record_of_noise_that_does_not_fit_the_images_is_refused(data_copy, change):
    path = data_copy.noise("denoising", 30)
    ids = load_split(data_copy.data("denoising"), "test").ids
    assert read_noise(path, ids)["image_id"].tolist() == list(ids)
    lines = path.read_text().splitlines()
    assert change(lines) != lines
    path.write_text("\n".join(change(lines)) + "\n")
    with pytest.raises(UserError) as caught:
        read_noise(path, ids)
    assert str(path) in caught.value.mistake
