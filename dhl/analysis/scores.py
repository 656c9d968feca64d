"""Metrics as functions of features that are averaged over images.

Features have shape (n, ..., k), per image and training; a score maps mean features (..., k) to
(...): the mean itself, the mean over the images that have a value, or mIoU from pooled counts.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

Value = TypeVar("Value", float, np.ndarray)

# Sums in another order leave rounding errors of about 1e-13 pixels for an absent class.
_RARE = 1e-9


def confusion_margins(confusions: np.ndarray) -> np.ndarray:
    """Reduce confusion matrices to the counts that mIoU needs.

    Parameters
    ----------
    confusions : ndarray of shape (..., C, C)
        Pixel counts, rows are the truth.

    Returns
    -------
    ndarray of float, shape (..., 3 * C)
        Per class: hits, pixels in the truth, pixels in the prediction.
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    margins = [hits, confusions.sum(axis=-1), confusions.sum(axis=-2)]
    return np.concatenate(margins, axis=-1).astype(float)


def known_margins(confusions: np.ndarray) -> np.ndarray:
    """Return the margins (n, 3 * c) of the c classes that have pixels in the truth of an image.

    `confusions` has shape (n, C, C). One pixel that a method takes for another class would lower
    its mIoU as if it were a mean over one more class.
    """
    occurs = confusions.sum(axis=2).any(axis=0)
    return confusion_margins(confusions)[:, np.tile(occurs, 3)]


def mean_score(features: np.ndarray) -> np.ndarray:
    """Return the score of metrics that are a mean over images: shape (..., 1) to (...)."""
    return features[..., 0]


def known_features(values: np.ndarray) -> np.ndarray:
    """Return the features of a metric that some images do not have.

    Parameters
    ----------
    values : ndarray of shape (...)
        NaN where an image has no value.

    Returns
    -------
    ndarray of shape (..., 2)
        The value, and 1; or 0 and 0.
    """
    known = ~np.isnan(values)
    return np.stack([np.where(known, values, 0), known], axis=-1)


def known_score(features: np.ndarray) -> np.ndarray:
    """Return the mean over the images with a value, from means of `known_features`.

    The shape (..., 2) becomes (...); NaN if no image has a value.
    """
    total, known = features[..., 0], features[..., 1]
    return np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0)


def miou_score(margins: np.ndarray) -> np.ndarray:
    """Compute mIoU from pooled margins.

    Parameters
    ----------
    margins : ndarray of shape (..., 3 * C)
        Sums or means over images of `confusion_margins`.

    Returns
    -------
    ndarray of shape (...)
        Mean of intersection over union, a fraction, over the classes that occur in truth or
        prediction; NaN if none does.
    """
    hits, truth, predicted = np.split(margins, 3, axis=-1)
    union = truth + predicted - hits
    occurs = union > _RARE
    iou = np.divide(hits, union, out=np.zeros_like(union), where=occurs)
    classes = occurs.sum(axis=-1)
    return np.divide(
        iou.sum(axis=-1), classes, out=np.full(classes.shape, np.nan), where=classes > 0
    )


def miou(confusions: np.ndarray) -> float:
    """Compute mIoU of per-image confusion matrices, shape (n, C, C), pooled over the images.

    Classes without a pixel in the truth of any image are left out.
    """
    return float(miou_score(known_margins(confusions).sum(axis=0)))


def influence(features: np.ndarray, metric: str) -> np.ndarray:
    """Return how far each image moves a score, to first order, times the number of images.

    Parameters
    ----------
    features : ndarray of shape (n, ..., k)
    metric : str
        A key of `SCORES`.

    Returns
    -------
    ndarray of shape (n, ...)
        The sum over the images is 0.

    References
    ----------
    .. [1] Hampel, The Influence Curve and Its Role in Robust Estimation, JASA 69, 1974.
    """
    mean = features.mean(axis=0)
    if SCORES[metric] is mean_score:
        return mean_score(features - mean)
    if SCORES[metric] is known_score:
        share = np.where(mean[..., 1] > 0, mean[..., 1], np.nan)
        return (features[..., 0] - known_score(mean) * features[..., 1]) / share
    hits, truth, predicted = np.split(mean, 3, axis=-1)
    union = truth + predicted - hits
    occurs = union > _RARE
    by_union = np.divide(1, union, out=np.zeros_like(union), where=occurs)
    by_margin = -hits * by_union**2  # the derivative of IoU by truth and by prediction
    gradient = np.concatenate([by_union - by_margin, by_margin, by_margin], axis=-1)
    total = np.sum((features - mean) * gradient, axis=-1)
    classes = occurs.sum(axis=-1)
    return np.divide(total, classes, out=np.full(total.shape, np.nan), where=classes > 0)


SCORES = {
    "psnr": mean_score,
    "ssim": mean_score,
    "top1": mean_score,
    "top5": mean_score,
    "miou": miou_score,
    "cross_entropy": known_score,  # a label map may have no labelled pixel
    "gmsd": mean_score,
    "gradient": known_score,  # a constant image has no gradient
}
# The values that a metric can have.
BOUNDS = {
    **dict.fromkeys(SCORES, (0.0, 1.0)),
    **dict.fromkeys(("psnr", "cross_entropy", "gradient"), (0.0, float("inf"))),
    "ssim": (-1.0, 1.0),
}
# The sign of a difference that is an improvement. For a metric with a `TARGET`, it is that of a
# difference of `goodness`.
DIRECTION = {
    "psnr": 1, "ssim": 1, "top1": 1, "top5": 1, "miou": 1, "cross_entropy": -1, "gmsd": -1,
    "gradient": 1,
}  # fmt: skip
# The best value of a metric that can be too high: a blurred image has less gradient than the clean
# one, and an image with noise left has more.
TARGET = {"gradient": 1.0}


def comparative(metric: str) -> str:
    """Return how a better method relates to a worse one: `above`, `below`, `nearer to 1 than`."""
    if metric in TARGET:
        return f"nearer to {TARGET[metric]:g} than"
    return "above" if DIRECTION[metric] > 0 else "below"


def compared_features(features: np.ndarray, metric: str) -> np.ndarray:
    """Return the features that comparisons of methods are made of.

    Parameters
    ----------
    features : ndarray of shape (n, ..., k)
        For a metric with a `TARGET`, from `known_features`.
    metric : str
        A key of `SCORES`.

    Returns
    -------
    ndarray of shape (n, ..., k)
        The features themselves; for a metric with a `TARGET`, those of each image's `goodness`. The
        mean of the metric itself would let a blurred image make up for one with noise left.
    """
    if metric not in TARGET:
        return features
    known = features[..., 1] > 0
    return known_features(np.where(known, goodness(features[..., 0], metric), np.nan))


def goodness(value: Value, metric: str) -> Value:
    """Return a number that is higher for a better value of a metric.

    For a metric with a `TARGET` it is the distance from the target, negative.
    """
    if metric in TARGET:
        return -abs(value - TARGET[metric])
    return DIRECTION[metric] * value
