"""Quality of images and predictions; pure functions on NumPy arrays."""

from __future__ import annotations

import numpy as np

from dhl.data.class_names import IGNORED_LABEL

BORDER = 3  # pixels that the authors' evaluation ignores on each side


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
