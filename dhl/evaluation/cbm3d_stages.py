"""What both implementations of CBM3D share: constants, transforms and reference blocks."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

BLOCK = 8  # side of a block in px
STEP = 3  # px between reference blocks
REACH = 19  # px; similar blocks are searched in a window of 39 x 39 positions
THRESHOLD = 3.0  # lambda of hard thresholding in standard deviations; Dabov et al. have 2.7
WIENER_NOISE = 0.4  # mu^2, the factor of the noise variance in the Wiener filter; 1 in the papers
BIOR_SCALE = 1.0291  # by which the package divides the coarse coefficients of bior1.5
# Weights of the pixels of a block: the outer product of this window with itself.
WINDOW = np.kaiser(BLOCK, 2.0)


class Stage(NamedTuple):
    """Constants of hard thresholding, or of the Wiener filter."""

    transform: np.ndarray  # of a column of pixels, shape (8, 8)
    largest_group: int  # blocks
    distance: float  # of similar blocks: largest mean squared difference on the 0-255 scale

    @property
    def variances(self) -> np.ndarray:
        """Variances of the coefficients of a block of white noise of variance 1, shape (8, 8)."""
        energy = (self.transform**2).sum(1)
        return np.outer(energy, energy)

    def distance_limit(self, contrast: float) -> float:
        """Return the largest squared distance of similar blocks, for the range of the luminance."""
        return max(1e-12, self.distance * BLOCK**2 * (contrast / 255) ** 2)

    def group_limit(self, rows: int, columns: int) -> int:
        """Return how many blocks a group has at most, in an image of so many block positions."""
        window = min(rows, 2 * REACH + 1) * min(columns, 2 * REACH + 1)
        return min(self.largest_group, 2 ** int(math.log2(window)))


def _dct() -> np.ndarray:
    """Return the orthonormal DCT-II."""
    frequency, pixel = np.mgrid[:BLOCK, :BLOCK]
    rows = np.cos(np.pi * (2 * pixel + 1) * frequency / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows


def _bior() -> np.ndarray:
    """Return the biorthogonal wavelet transform bior1.5, periodic, three levels."""
    average = np.array([3, -3, -22, 22, 128, 128, 22, -22, -3, 3]) / 256 * math.sqrt(2)
    difference = np.array([1, -1]) / math.sqrt(2)
    rows: list[np.ndarray] = []
    coarse = np.eye(BLOCK)
    while (count := len(coarse) // 2) > 0:
        averages = np.zeros((count, 2 * count))
        for row in range(count):
            pixels = (2 * row - 4 + np.arange(len(average))) % (2 * count)
            np.add.at(averages[row], pixels, average)
        rows.insert(0, np.kron(np.eye(count), difference) @ coarse)
        coarse = averages @ coarse
    matrix = np.vstack([coarse, *rows])
    matrix[: BLOCK // 2] /= BIOR_SCALE
    return matrix


HARD = Stage(_bior(), largest_group=16, distance=3000)
WIENER = Stage(_dct(), largest_group=32, distance=400)


@functools.lru_cache(maxsize=8)
def reference_blocks(rows: int, columns: int) -> np.ndarray:
    """Return the reference blocks: every third column, and every third row, staggered by column.

    Parameters
    ----------
    rows, columns : int
        Of the positions of blocks in an image.

    Returns
    -------
    ndarray of int64, shape (R, 2)
        Row and column of each block's first pixel.
    """
    positions = [
        (y, x)
        for index, x in enumerate(sorted({*range(0, columns, STEP), columns - 1}))
        for y in sorted({0, *range(STEP - index % STEP, rows, STEP), rows - 1})
    ]
    return np.array(positions)
