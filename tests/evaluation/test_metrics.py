"""Metrics against scikit-image, scikit-learn and counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d
from scipy.special import log_softmax
from skimage import data as pictures
from skimage.color import rgb2yiq
from skimage.filters import prewitt_h, prewitt_v
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from sklearn.metrics import log_loss

from dhl.evaluation.metrics import (
    clean_reference,
    confusion_matrix,
    cross_entropy,
    finish,
    gmsd,
    gradient,
    image_psnr,
    psnr,
    ssim,
    top_k,
)


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


def distorted(height: int, width: int) -> dict[str, np.ndarray]:
    """Return a clean photograph (1, H, W, 3) on 256 levels, and it blurred and noisy."""
    clean = pictures.astronaut()[100 : 100 + height, 180 : 180 + width] / 255
    noise = np.random.default_rng(0).normal(0, 25 / 255, clean.shape)
    images = {"clean": clean, "blurred": gaussian_filter(clean, (1, 1, 0)), "noisy": clean + noise}
    return {name: finish(one, protocol="plain")[None] for name, one in images.items()}


# `piq.gmsd` of piq 0.8.0, reduction="none", of these images rounded to 256 levels. It divides the
# variance by the number of pixels, the authors by one less.
PIQ_GMSD = {
    (48, 60): {"blurred": 0.021388742801587573, "noisy": 0.05395657539252311},
    (47, 61): {"blurred": 0.02123298105970694, "noisy": 0.06215011727790051},
}


@pytest.mark.parametrize(("height", "width"), PIQ_GMSD)
@pytest.mark.parametrize("name", ["blurred", "noisy"])
def test_gmsd_equals_piq_and_the_authors_matlab_code(height, width, name):
    images = {key: np.rint(one * 255) / 255 for key, one in distorted(height, width).items()}
    value = gmsd(clean=images["clean"], denoised=images[name])
    pixels = ((height + 1) // 2) * ((width + 1) // 2)
    expected = PIQ_GMSD[height, width][name] * np.sqrt(pixels / (pixels - 1))
    np.testing.assert_allclose(value, expected, rtol=1e-6)

    def gradients(image):  # Matlab's conv2(..., 'same') of a 2 x 2 kernel drops the first line
        grey = 255 * rgb2yiq(image)[..., 0]
        small = convolve2d(grey, np.full((2, 2), 0.25))[1:, 1:][::2, ::2]
        kernel = np.array([[1, 0, -1]] * 3) / 3
        parts = (convolve2d(small, one, "same") for one in (kernel, kernel.T))
        return np.sqrt(sum(np.square(one) for one in parts))

    first, second = gradients(images["clean"][0]), gradients(images[name][0])
    similarity = (2 * first * second + 170) / (first**2 + second**2 + 170)
    np.testing.assert_allclose(value, similarity.std(ddof=1), rtol=1e-6)


def test_gradient_equals_prewitts_by_scikit_image():
    images = distorted(48, 60)

    def mean_gradient(image):
        grey = rgb2yiq(image[0])[..., 0]
        return np.hypot(prewitt_h(grey), prewitt_v(grey))[1:-1, 1:-1].mean()

    ratio = {
        name: gradient(clean=images["clean"], denoised=image).item()
        for name, image in images.items()
    }
    for name, image in images.items():
        expected = mean_gradient(image) / mean_gradient(images["clean"])
        assert ratio[name] == pytest.approx(expected, rel=1e-6)
    assert ratio["blurred"] < 0.9 < ratio["clean"] == 1 < 1.1 < ratio["noisy"]


def test_half_the_contrast_has_half_the_gradient_and_a_constant_image_none():
    clean = distorted(20, 20)["clean"]
    pair = np.concatenate([clean, np.full_like(clean, 0.4)])
    np.testing.assert_allclose(gradient(clean=pair, denoised=pair / 2), [0.5, np.nan])
    np.testing.assert_array_equal(gmsd(clean=pair, denoised=pair), [0, 0])


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


@pytest.mark.parametrize(("protocol", "inner"), [("plain", slice(None)), ("authors", slice(3, -3))])
def test_the_psnr_of_an_image_equals_scikit_image_under_each_protocol(protocol, inner):
    _, noisy = pair()
    clean = np.rint(pair()[0][0] * 255).astype(np.uint8)
    seen = noisy[0].clip(0, 1) if protocol == "plain" else np.rint(noisy[0].clip(0, 1) * 255) / 255
    expected = peak_signal_noise_ratio(clean[inner, inner] / 255, seen[inner, inner], data_range=1)
    found = image_psnr(clean=clean, denoised=noisy[0], protocol=protocol)
    assert found == pytest.approx(expected)


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


def test_cross_entropy_of_classes_equals_scikit_learn():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 5, (7, 300)).astype(np.float32)
    target = generator.integers(0, 300, 7)
    target[2] = 255  # a class like any other
    probabilities = np.exp(log_softmax(logits.astype(float), axis=1))
    expected = [
        log_loss([label], one[None], labels=range(300))
        for label, one in zip(target, probabilities, strict=True)
    ]
    np.testing.assert_allclose(cross_entropy(logits=logits, target=target), expected, rtol=1e-5)


def test_cross_entropy_of_label_maps_is_the_mean_over_labelled_pixels():
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 3, (3, 4, 5, 6)).astype(np.float32)
    target = generator.integers(0, 4, (3, 5, 6), dtype=np.uint8)
    target[generator.random(target.shape) < 0.3] = 255
    target[1] = 255
    logarithms = log_softmax(logits.astype(float), axis=1)
    expected = [
        -np.mean([maps[label, *pixel] for pixel, label in np.ndenumerate(labels) if label != 255])
        for maps, labels in zip(logarithms[[0, 2]], target[[0, 2]], strict=True)
    ]
    result = cross_entropy(logits=logits, target=target)
    np.testing.assert_allclose(result[[0, 2]], expected, rtol=1e-6)
    assert np.isnan(result[1])


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_number_of_classes():
    logits, target = np.zeros((2, 10), np.float32), np.array([3, 9])
    np.testing.assert_allclose(cross_entropy(logits=logits, target=target), np.log(10), rtol=1e-6)
