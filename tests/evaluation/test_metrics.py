"""Metrics against scikit-image, scikit-learn and counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from dhl.evaluation.metrics import clean_reference, confusion_matrix, finish, psnr, ssim, top_k


def pair(sigma: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Return clean images (3, 24, 30, 3) and noisy ones."""
    generator = np.random.default_rng(0)
    clean = generator.random((3, 24, 30, 3))
    return clean, clean + generator.normal(0, sigma, clean.shape)


@pytest.mark.parametrize("sigma", [0.001, 0.05, 0.5])
def test_psnr_equals_scikit_image(sigma):
    clean, noisy = pair(sigma)
    expected = [
        peak_signal_noise_ratio(one, other, data_range=1)
        for one, other in zip(clean, noisy, strict=True)
    ]
    np.testing.assert_allclose(psnr(clean=clean, denoised=noisy), expected)


def test_psnr_takes_one_mean_over_all_channels():
    clean = np.zeros((1, 2, 2, 3))
    noisy = clean.copy()
    noisy[..., 0] = 0.3  # MSE 0.09 in one channel of three
    assert psnr(clean=clean, denoised=noisy)[0] == pytest.approx(-10 * np.log10(0.03))


def test_ssim_equals_the_published_definition_by_scikit_image_per_channel():
    clean, noisy = pair()
    expected = np.mean([
        structural_similarity(
            clean[0, ..., channel], noisy[0, ..., channel], data_range=1.0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for channel in range(3)
    ])  # fmt: skip
    assert ssim(clean=clean[0], denoised=noisy[0]) == pytest.approx(expected)
    assert ssim(clean=clean[0], denoised=clean[0]) == pytest.approx(1)


def test_ssim_of_constant_images_is_the_luminance_term():
    one, other = np.full((20, 20, 3), 0.4), np.full((20, 20, 3), 0.6)
    c1 = 0.01**2
    expected = (2 * 0.4 * 0.6 + c1) / (0.4**2 + 0.6**2 + c1)
    assert ssim(clean=one, denoised=other) == pytest.approx(expected)


def test_the_authors_protocol_rounds_clips_and_drops_three_pixels():
    raw = np.zeros((1, 8, 9, 3))
    raw[0, 3, 3] = [0.5, 100.4 / 255, 100.6 / 255]
    raw[0, 3, 4] = [-0.2, 1.7, 1.0]
    raw[0, 2, 3] = 0.9  # within the border
    done = finish(raw, protocol="authors")
    assert done.shape == (1, 2, 3, 3)
    np.testing.assert_allclose(done[0, 0, 0] * 255, [128, 100, 101])  # 127.5 goes to even
    np.testing.assert_array_equal(done[0, 0, 1], [0, 1, 1])
    assert done.sum() == pytest.approx((128 + 100 + 101) / 255 + 2)
    np.testing.assert_array_equal(done * 255, np.rint(done * 255))


def test_the_authors_protocol_is_independent_of_the_number_of_leading_axes():
    _, noisy = pair()
    np.testing.assert_array_equal(
        finish(noisy, protocol="authors")[1], finish(noisy[1], protocol="authors")
    )


def test_the_plain_protocol_only_clips():
    raw = np.array([-0.3, 0.123456, 1.2]).reshape(1, 1, 1, 3)
    np.testing.assert_array_equal(
        finish(raw, protocol="plain"), np.array([0, 0.123456, 1]).reshape(1, 1, 1, 3)
    )


@pytest.mark.parametrize("protocol", ["authors", "plain"])
def test_a_perfect_denoiser_has_infinite_psnr_under_each_protocol(protocol):
    clean = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    raw = clean.astype(np.float32) / 255 if protocol == "authors" else clean / 255
    truth = clean_reference(clean, protocol=protocol)
    assert (psnr(clean=truth, denoised=finish(raw, protocol=protocol)) == np.inf).all()


def test_top_k_by_hand():
    logits = np.array([[0.1, 0.9, 0.5, 0.2], [3.0, 2.0, 1.0, 0.0], [-1.0, -2.0, -3.0, -0.5]])
    target = np.array([2, 3, 3])
    assert top_k(logits=logits, target=target, k=1).tolist() == [False, False, True]
    assert top_k(logits=logits, target=target, k=2).tolist() == [True, False, True]
    assert top_k(logits=logits, target=target, k=4).tolist() == [True, True, True]


def test_top_k_breaks_ties_by_the_lower_class_and_takes_few_classes():
    logits = np.zeros((2, 3))
    assert top_k(logits=logits, target=np.array([0, 1]), k=1).tolist() == [True, False]
    assert top_k(logits=logits, target=np.array([0, 2], np.uint8), k=5).tolist() == [True, True]


@pytest.mark.parametrize("classes", [2, 11, 21])
def test_confusion_matrix_equals_scikit_learn(classes):
    generator = np.random.default_rng(classes)
    target = generator.integers(0, classes, (40, 50), dtype=np.uint8)
    predicted = generator.integers(0, classes, (40, 50), dtype=np.uint8)
    target[generator.random(target.shape) < 0.2] = 255
    kept = target != 255
    expected = sklearn_confusion_matrix(target[kept], predicted[kept], labels=range(classes))
    counts = confusion_matrix(target=target, predicted=predicted, classes=classes)
    np.testing.assert_array_equal(counts, expected)
    assert counts.sum() == kept.sum()


def test_a_map_of_ignored_pixels_counts_nothing():
    ignored = np.full((3, 3), 255, np.uint8)
    counts = confusion_matrix(target=ignored, predicted=np.zeros((3, 3), int), classes=4)
    np.testing.assert_array_equal(counts, np.zeros((4, 4)))
