"""Quality of images and predictions, on NumPy arrays; `cross_entropy` uses the training's loss."""

from __future__ import annotations

import numpy as np

from dhl.data.class_names import IGNORED_LABEL

BORDER = 3  # pixels that the authors' evaluation ignores on each side
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
_GMSD_CONSTANT = 170  # for grey levels from 0 to 255


def finish(denoised: np.ndarray, *, protocol: str) -> np.ndarray:
    """Convert a denoiser's output to the image that the metrics compare.

    Parameters
    ----------
    denoised : ndarray of float, shape (..., H, W, 3), on the [0, 1] scale, unclipped
    protocol : {"authors", "plain"}
        `authors` rounds to 256 levels and clips, and drops a border of 3 px; `plain` only clips.

    Returns
    -------
    ndarray of float64, shape (..., H - 6, W - 6, 3) or (..., H, W, 3)
    """
    if protocol == "plain":
        return np.clip(denoised, 0, 1).astype(np.float64)
    levels = np.rint(np.clip(denoised, 0, 1).astype(np.float64) * 255) / 255
    return levels[..., BORDER:-BORDER, BORDER:-BORDER, :]


def clean_reference(clean: np.ndarray, *, protocol: str) -> np.ndarray:
    """Return the clean image (uint8) cropped as `finish` crops, float64 on [0, 1]."""
    return finish(clean.astype(np.float64) / 255, protocol=protocol)


def psnr(*, clean: np.ndarray, denoised: np.ndarray) -> np.ndarray:
    """Return the PSNR in dB of each image: one MSE over all pixels and channels.

    Parameters
    ----------
    clean, denoised : ndarray of shape (N, H, W, 3), on [0, 1]

    Returns
    -------
    ndarray of shape (N,)
        Infinite where both are equal.
    """
    mse = np.square(clean - denoised).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mse)


def image_psnr(*, clean: np.ndarray, denoised: np.ndarray, protocol: str) -> float:
    """Return the PSNR in dB of one image under a protocol of `finish`.

    Parameters
    ----------
    clean : ndarray of uint8, shape (H, W, 3)
    denoised : ndarray of float, shape (H, W, 3), on the [0, 1] scale, unclipped
    protocol : {"authors", "plain"}
    """
    reference = clean_reference(clean, protocol=protocol)
    (score,) = psnr(clean=reference[None], denoised=finish(denoised, protocol=protocol)[None])
    return float(score)


def ssim(*, clean: np.ndarray, denoised: np.ndarray) -> float:
    """Return the SSIM of one image as published: Gaussian window of sigma 1.5, no N - 1 correction.

    Parameters
    ----------
    clean, denoised : ndarray of shape (H, W, 3), on [0, 1]

    References
    ----------
    .. [1] Wang et al., Image Quality Assessment, IEEE TIP 13(4), 2004.
    """
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            clean, denoised, data_range=1.0, channel_axis=-1,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
    )  # fmt: skip


def gradient(*, clean: np.ndarray, denoised: np.ndarray) -> np.ndarray:
    """Return the mean gradient magnitude of each image, relative to that of the clean image.

    Gradients are those of Prewitt's operator on the grey image, at the pixels with eight
    neighbours. A blurred image is below 1, a noisy one above.

    Parameters
    ----------
    clean, denoised : ndarray of shape (N, H, W, 3), on [0, 1]

    Returns
    -------
    ndarray of shape (N,)
        NaN where the clean image has no gradient.
    """
    images, truth = (
        _gradient_magnitude(_grey_levels(one))[:, 1:-1, 1:-1].mean(axis=(1, 2))
        for one in (denoised, clean)
    )
    return np.divide(images, truth, out=np.full(truth.shape, np.nan), where=truth > 0)


def gmsd(*, clean: np.ndarray, denoised: np.ndarray) -> np.ndarray:
    """Return the gradient magnitude similarity deviation of each image, as published [1]_.

    Parameters
    ----------
    clean, denoised : ndarray of shape (N, H, W, 3), on [0, 1]

    Returns
    -------
    ndarray of shape (N,)
        0 where both are equal; lower is better.

    References
    ----------
    .. [1] Xue et al., Gradient Magnitude Similarity Deviation, IEEE TIP 23(2), 2014. Grey levels,
       constant, filter and borders are those of the authors' Matlab code.
    """
    first, second = (_gradient_magnitude(_halve(_grey_levels(one))) for one in (clean, denoised))
    similarity = (2 * first * second + _GMSD_CONSTANT) / (first**2 + second**2 + _GMSD_CONSTANT)
    return similarity.std(axis=(1, 2), ddof=1)


def _grey_levels(images: np.ndarray) -> np.ndarray:
    """Return the luminance of images (N, H, W, 3) on [0, 1] as (N, H, W), on the 0-255 scale."""
    return 255 * images @ _LUMINANCE


def _halve(images: np.ndarray) -> np.ndarray:
    """Average 2 x 2 px of images (N, H, W); an odd side gets a line of zeros."""
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, height % 2), (0, width % 2)))
    return padded.reshape(count, (height + 1) // 2, 2, (width + 1) // 2, 2).mean(axis=(2, 4))


def _gradient_magnitude(images: np.ndarray) -> np.ndarray:
    """Return the magnitude of Prewitt's gradient of images (N, H, W), with zeros around them."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    across = rows[:, :, 2:] - rows[:, :, :-2]
    down = columns[:, 2:] - columns[:, :-2]
    return np.hypot(across, down) / 3


def top_k(*, logits: np.ndarray, target: np.ndarray, k: int) -> np.ndarray:
    """Return for each image whether its class is among the `k` highest logits.

    Parameters
    ----------
    logits : ndarray of shape (N, C)
    target : ndarray of int, shape (N,)

    Returns
    -------
    ndarray of bool, shape (N,)
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return (best == np.asarray(target)[:, None]).any(axis=1)


def confusion_matrix(*, target: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by true class (rows) and predicted class (columns), without the label 255.

    Parameters
    ----------
    target, predicted : ndarray of int, same shape

    Returns
    -------
    ndarray of int64, shape (classes, classes)
    """
    counted = target != IGNORED_LABEL
    pairs = classes * target[counted].astype(np.int64) + predicted[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def cross_entropy(*, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the cross-entropy of each image, with the natural logarithm.

    Parameters
    ----------
    logits : ndarray of shape (N, C) or (N, C, H, W)
    target : ndarray of int, shape (N,) or (N, H, W)

    Returns
    -------
    ndarray of shape (N,)
        For label maps, the mean over the pixels without the label 255; NaN if there are none.
    """
    import torch

    from dhl.training.objectives import task_loss

    targets = torch.from_numpy(np.asarray(target, np.int64))
    pairs = zip(torch.from_numpy(logits), targets, strict=True)
    losses = np.array([task_loss(logits=one[None], target=label[None]).item()
                       for one, label in pairs])  # fmt: skip
    if targets.dim() == 1:
        return losses
    labelled = (targets != IGNORED_LABEL).flatten(1).any(1).numpy()
    return np.where(labelled, losses, np.nan)
