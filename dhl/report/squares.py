"""Squares of images that are worth a look."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dhl.data.class_names import IGNORED_LABEL

SHOWN_SIDE = 128  # px: larger images are cropped to a square of this side


def busiest_square(image: np.ndarray, side: int | None = None) -> tuple[slice, slice]:
    """Find the square of an image (H, W, 3) with the highest variance of brightness.

    Its side in px is a third of the shorter side of the image by default. Returns rows and columns.
    """
    gray = image.astype(float).mean(axis=2)
    return _best_square(gray.shape, lambda square: float(gray[square].var()), side=side)


def square_to_show(clean: np.ndarray) -> tuple[slice, slice]:
    """Return the busiest square of an image that is larger than `SHOWN_SIDE`, else all of it."""
    if max(clean.shape) <= SHOWN_SIDE:
        return slice(None), slice(None)
    return busiest_square(clean, min(SHOWN_SIDE, *clean.shape[:2]))


def disagreement_square(
    truth: np.ndarray, *, separate: np.ndarray, joint: np.ndarray
) -> tuple[slice, slice] | None:
    """Find the square with most pixels where only joint is right; None if there is no such pixel.

    The label maps have the shape (H, W); pixels with the label 255 in `truth` are ignored.
    """
    rescued = (separate != truth) & (joint == truth) & (truth != IGNORED_LABEL)
    if not rescued.any():
        return None
    return _best_square(rescued.shape, lambda square: float(rescued[square].sum()))


def _best_square(
    shape: tuple[int, ...], score: Callable, *, side: int | None = None
) -> tuple[slice, slice]:
    """Return the first square with the highest score on a coarse grid."""
    height, width = shape
    side = side or max(1, min(height, width) // 3)
    step = max(1, side // 4)
    squares = [
        (slice(top, top + side), slice(left, left + side))
        for top in range(0, height - side + 1, step)
        for left in range(0, width - side + 1, step)
    ]
    return max(squares, key=score)
