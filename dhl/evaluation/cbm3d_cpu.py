"""One stage of CBM3D on a CPU: each group is filtered alone, by loops that Numba compiles.

All that a group needs stays in the core's cache, so memory does not limit the speed. Numba keeps
the compiled code in `__pycache__`: only the first call on a machine compiles.

A group of K blocks has the shape (8, K, 24): the rows of the blocks, the blocks, and the columns
with their three channels. A transform swaps rows and columns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from dhl.evaluation.cbm3d_stages import (
    BLOCK,
    HARD,
    REACH,
    THRESHOLD,
    WIENER_NOISE,
    WINDOW,
    Stage,
    reference_blocks,
)

CHANNELS = 3
LINE = BLOCK * CHANNELS  # numbers in a row of a block
LANES = 40  # the columns of a window, and one more: a multiple of the width of vector registers
STRIP = 64  # columns of reference blocks; the spectra around them stay close together in memory
NO_LIMIT = np.float32(1e30)
LARGE = np.float32(1e18)  # a coefficient so large that any filter keeps it

# Numba compiles again if this file changes, but not for a change of imported constants.
inlined = numba.njit(fastmath=True, error_model="numpy")
compiled = numba.njit(cache=True, fastmath=True, error_model="numpy")


class Constants(NamedTuple):
    """A stage for the compiled loops, in float32."""

    hard: bool  # thresholding, or the Wiener filter
    noise: np.float32  # squared threshold, or noise of the Wiener filter, in variances of the noise
    transform: np.ndarray  # shape (8, 8)
    inverse: np.ndarray  # with the window of the pixels, shape (8, 8)
    variances: np.ndarray  # of the coefficients of noise, shape (8, 24)


class Image(NamedTuple):
    """An image of height H and width W, with its pilot, and the sums of its filtered blocks."""

    limit: np.float32  # the largest squared distance of similar blocks
    noisy: np.ndarray  # shape (H, 3 * W)
    pilot: np.ndarray  # shape (H, 3 * W)
    spectra: np.ndarray  # of blocks of the pilot's luminance, shape (H - 7, 64, columns)
    left: int  # the column of their first blocks
    total: np.ndarray  # weighted sum of the filtered blocks, shape (H, 3 * W)
    weights: np.ndarray  # sum of the weights of each block, shape (H - 7, W - 7, 3)


def filter_groups(noisy: np.ndarray, pilot: np.ndarray, stage: Stage) -> np.ndarray:
    """Filter images in groups of similar blocks, which are found in the pilot's luminance.

    Parameters
    ----------
    noisy, pilot : ndarray of float32, shape (N, C, H, W)
        One channel, or luminance and two more; the noise has the standard deviation 1.
    stage : Stage

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
    """
    constants = Constants(
        hard=stage is HARD,
        noise=np.float32(THRESHOLD**2 if stage is HARD else WIENER_NOISE),
        transform=stage.transform.astype(np.float32),
        inverse=(WINDOW[:, None] * np.linalg.inv(stage.transform)).astype(np.float32),
        variances=np.repeat(stage.variances, CHANNELS, axis=1).astype(np.float32),
    )
    pairs = zip(noisy, pilot, strict=True)
    return np.stack([_filter_image(*pair, stage, constants) for pair in pairs])


def _filter_image(
    noisy: np.ndarray, pilot: np.ndarray, stage: Stage, constants: Constants
) -> np.ndarray:
    """Filter an image (C, H, W) in strips, so that the spectra of a strip fit into the cache."""
    channels, height, width = noisy.shape
    rows, columns = height - BLOCK + 1, width - BLOCK + 1
    lines, pilots = _lines(noisy), _lines(pilot)
    total = np.zeros_like(lines)
    weights = np.zeros((rows, columns, CHANNELS), np.float32)
    limit = np.float32(stage.distance_limit(np.ptp(pilot[0])))
    references = reference_blocks(rows, columns)
    for start in range(0, columns, STRIP):
        inside = (references[:, 1] >= start) & (references[:, 1] < start + STRIP)
        left = max(0, start - REACH)
        luminance = np.ascontiguousarray(pilot[0, :, left : start + STRIP + LANES + BLOCK])
        spectra = _luminance_spectra(luminance, constants.transform)
        image = Image(limit, lines, pilots, spectra, left, total, weights)
        _filter(image, references[inside], stage.group_limit(rows, columns), constants)
    result = (total / _windowed(weights)).reshape(height, width, CHANNELS)
    return np.ascontiguousarray(result.transpose(2, 0, 1)[:channels])


def _lines(image: np.ndarray) -> np.ndarray:
    """Return an image (C, H, W) as (H, 3 * W); a grey image gets two empty channels."""
    channels, height, width = image.shape
    lines = np.zeros((height, width, CHANNELS), np.float32)
    lines[..., :channels] = image.transpose(1, 2, 0)
    return lines.reshape(height, -1)


def _windowed(weights: np.ndarray) -> np.ndarray:
    """Add the windows of all blocks times their weights: (H - 7, W - 7, 3) to (H, 3 * W)."""
    rows, columns, _ = weights.shape
    window = WINDOW.astype(np.float32)
    down = np.zeros((rows + BLOCK - 1, columns, CHANNELS), np.float32)
    across = np.zeros((rows + BLOCK - 1, columns + BLOCK - 1, CHANNELS), np.float32)
    for offset in range(BLOCK):
        down[offset : offset + rows] += window[offset] * weights
    for offset in range(BLOCK):
        across[:, offset : offset + columns] += window[offset] * down
    return across.reshape(len(across), -1)


@compiled
def _luminance_spectra(luminance: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Transform all blocks of (H, W): (H - 7, 64, W - 7 + LANES), with zeros at the end.

    Coefficients of neighbouring blocks lie side by side: their distances are computed at once.
    """
    height, width = luminance.shape
    rows, columns = height - BLOCK + 1, width - BLOCK + 1
    spectra = np.zeros((rows, BLOCK * BLOCK, columns + LANES), np.float32)
    line = np.empty(width, np.float32)
    for y in range(rows):
        for vertical in range(BLOCK):
            line[:] = 0
            for pixel in range(BLOCK):
                factor = transform[vertical, pixel]
                for x in range(width):
                    line[x] += factor * luminance[y + pixel, x]
            for horizontal in range(BLOCK):
                coefficient = spectra[y, BLOCK * vertical + horizontal]
                for pixel in range(BLOCK):
                    factor = transform[horizontal, pixel]
                    for x in range(columns):
                        coefficient[x] += factor * line[x + pixel]
    return spectra


@compiled
def _filter(image: Image, references: np.ndarray, largest: int, constants: Constants) -> None:
    """Filter the group of each reference block of an image, and add its blocks to the sums."""
    blocks = np.empty((largest, 2), np.int64)
    memory = np.empty((4, BLOCK * largest * LINE), np.float32)
    remaining = np.empty((largest, LINE), np.float32)
    for r in range(len(references)):
        size = _similar(image, references[r], blocks)
        shape = BLOCK, size, LINE
        used = BLOCK * size * LINE
        noisy, spare = memory[0, :used].reshape(shape), memory[1, :used].reshape(shape)
        _gather(image.noisy, blocks[:size], noisy)
        _haar(noisy, spare)
        _transform(constants.transform, spare, noisy)
        guide = noisy
        if not constants.hard:
            guide, spare_guide = memory[2, :used].reshape(shape), memory[3, :used].reshape(shape)
            _gather(image.pilot, blocks[:size], guide)
            _haar(guide, spare_guide)
            _transform(constants.transform, spare_guide, guide)
        _shrink(noisy, guide, remaining, constants)
        _inverse_haar(noisy, spare)
        _transform(constants.inverse, spare, noisy)
        _add(noisy, remaining, blocks[:size], image.total, image.weights)


@inlined
def _similar(image: Image, reference: np.ndarray, blocks: np.ndarray) -> int:
    """Find the blocks most similar to a reference, in the order that `_haar` needs.

    Their number is a power of two, and at least two if the image has two.
    """
    distances = np.empty(len(blocks), np.float32)
    count = _nearest(image, reference, image.limit, blocks, distances)
    if count == 1 and len(blocks) > 1:
        count = _nearest(image, reference, NO_LIMIT, blocks[:2], distances)
    size = 1
    while 2 * size <= count:
        size *= 2
    _reverse_bits(blocks[:size])
    return size


@inlined
def _nearest(
    image: Image,
    reference: np.ndarray,
    limit: np.float32,
    blocks: np.ndarray,
    distances: np.ndarray,
) -> int:
    """Collect the nearest blocks up to a squared distance; return their number."""
    y, x = reference
    first = max(0, x - REACH)
    end = min(image.weights.shape[1], x + REACH + 1) - first
    spectra = image.spectra
    own = spectra[y, :, x - image.left].copy()
    lanes = np.empty(LANES, np.float32)
    count = 0
    # From the middle outwards: the nearest blocks are found early, and far rows end early.
    for turn in range(2 * REACH + 1):
        row = y + (turn // 2 + 1 if turn % 2 else -(turn // 2))
        if row < 0 or row >= len(spectra):
            continue
        if _row_distances(spectra[row], first - image.left, own, limit, lanes) > limit:
            continue
        if turn == 0:
            lanes[x - first] = -1  # the reference is first, whatever the rounding
        for lane in range(end):
            if lanes[lane] > limit:
                continue
            at = min(count, len(blocks) - 1)
            count = min(count + 1, len(blocks))
            while at > 0 and distances[at - 1] > lanes[lane]:
                distances[at] = distances[at - 1]
                blocks[at] = blocks[at - 1]
                at -= 1
            distances[at] = lanes[lane]
            blocks[at, 0], blocks[at, 1] = row, first + lane
            if count == len(blocks):
                limit = distances[count - 1]
    return count


@inlined
def _row_distances(
    spectra: np.ndarray, first: int, own: np.ndarray, limit: np.float32, lanes: np.ndarray
) -> np.float32:
    """Compute the squared distances to the blocks of a row; return the smallest.

    The second half of the coefficients is left out if all distances are above the limit without it.
    """
    lanes[:] = 0
    smallest = lanes[0]
    half, end = BLOCK * BLOCK // 2, first + LANES
    for start in (0, half):
        for k in range(start, start + half, 4):
            a, b = spectra[k, first:end], spectra[k + 1, first:end]
            c, d = spectra[k + 2, first:end], spectra[k + 3, first:end]
            for lane in range(LANES):
                lanes[lane] += (
                    (a[lane] - own[k]) ** 2
                    + (b[lane] - own[k + 1]) ** 2
                    + (c[lane] - own[k + 2]) ** 2
                    + (d[lane] - own[k + 3]) ** 2
                )
        smallest = lanes[0]
        for lane in range(LANES):
            smallest = min(smallest, lanes[lane])
        if smallest > limit:
            break
    return smallest


@inlined
def _reverse_bits(blocks: np.ndarray) -> None:
    """Move each block to the number with its bits reversed: similar ones are half a group apart."""
    size = len(blocks)
    for n in range(size):
        bits, reverse = n, 0
        for _ in range(int(math.log2(size))):
            reverse = 2 * reverse + bits % 2
            bits //= 2
        if n < reverse:
            for axis in range(2):
                first, second = blocks[n, axis], blocks[reverse, axis]
                blocks[n, axis], blocks[reverse, axis] = second, first


@inlined
def _gather(image: np.ndarray, blocks: np.ndarray, group: np.ndarray) -> None:
    """Copy the blocks of a group."""
    for n in range(len(blocks)):
        y, x = blocks[n]
        for i in range(BLOCK):
            source = image[y + i, CHANNELS * x : CHANNELS * x + LINE]
            line = group[i, n]
            for j in range(LINE):
                line[j] = source[j]


@inlined
def _haar(group: np.ndarray, out: np.ndarray) -> None:
    """Transform a group to sums and differences of halves, without normalisation."""
    for i in range(BLOCK):
        sums, line = group[i].ravel(), out[i].ravel()
        half = sums.size // 2
        while half >= LINE:
            for j in range(half):
                line[half + j] = sums[j] - sums[half + j]
            for j in range(half):
                sums[j] += sums[half + j]
            half //= 2
        for j in range(LINE):
            line[j] = sums[j]


@inlined
def _inverse_haar(group: np.ndarray, out: np.ndarray) -> None:
    """Return the blocks of `_haar`, multiplied by the size of the group."""
    for i in range(BLOCK):
        spectrum, line = group[i].ravel(), out[i].ravel()
        for j in range(LINE):
            line[j] = spectrum[j]
        half = LINE
        while half < line.size:
            for j in range(half):
                line[half + j] = line[j] - spectrum[half + j]
            for j in range(half):
                line[j] += spectrum[half + j]
            half *= 2


@inlined
def _transform(matrix: np.ndarray, group: np.ndarray, out: np.ndarray) -> None:
    """Multiply blocks by a matrix from both sides, and transpose them; `group` is overwritten."""
    _multiply(matrix, group, out)
    for n in range(group.shape[1]):
        for i in range(BLOCK):
            line = out[i, n]
            for j in range(BLOCK):
                column = group[j, n]
                for channel in range(CHANNELS):
                    column[CHANNELS * i + channel] = line[CHANNELS * j + channel]
    _multiply(matrix, group, out)


@inlined
def _multiply(matrix: np.ndarray, group: np.ndarray, out: np.ndarray) -> None:
    """Multiply by a matrix of shape (8, 8) along the first axis."""
    a, b, c, d = group[0].ravel(), group[1].ravel(), group[2].ravel(), group[3].ravel()
    e, f, g, h = group[4].ravel(), group[5].ravel(), group[6].ravel(), group[7].ravel()
    for i in range(BLOCK):
        line = out[i].ravel()
        ma, mb, mc, md, me, mf, mg, mh = matrix[i]
        for j in range(line.size):
            line[j] = (
                (ma * a[j] + mb * b[j] + mc * c[j] + md * d[j])
                + (me * e[j] + mf * f[j] + mg * g[j] + mh * h[j])
            )  # fmt: skip


@inlined
def _shrink(
    noisy: np.ndarray, guide: np.ndarray, remaining: np.ndarray, constants: Constants
) -> None:
    """Shrink the spectrum of a group by the gains that follow from the guide's; keep its mean.

    `remaining` gets the variance of the noise in each filtered block, (K, 24), the same for all
    columns.
    """
    size = noisy.shape[1]
    means = noisy[0, 0, :CHANNELS].copy()
    for channel in range(CHANNELS):
        guide[0, 0, channel] = LARGE
    support = size  # blocks of which a coefficient is the sum, or the difference of sums
    for n in range(size):
        if n > 1 and n & (n - 1) == 0:
            support //= 2
        scale = np.float32(1 / support)
        noise = np.float32(constants.noise * support)
        remaining[n] = 0
        for i in range(BLOCK):
            if constants.hard:
                variances = constants.variances[i]
                _threshold(noisy[i, n], noise, scale, variances, remaining[n])
            else:
                _wiener(noisy[i, n], guide[i, n], noise, scale, remaining[n])
    for channel in range(CHANNELS):
        noisy[0, 0, channel] = means[channel] / np.float32(size)
    _sum_variances(remaining[:size])


@inlined
def _threshold(
    line: np.ndarray,
    limit: np.float32,
    scale: np.float32,
    variances: np.ndarray,
    remaining: np.ndarray,
) -> None:
    """Keep the coefficients whose square is above the limit; add the variances of their noise."""
    for j in range(LINE):
        kept = np.float32(line[j] ** 2 > limit * variances[j]) * scale
        line[j] *= kept
        remaining[j] += kept * variances[j]


@inlined
def _wiener(
    line: np.ndarray, pilot: np.ndarray, noise: np.float32, scale: np.float32, remaining: np.ndarray
) -> None:
    """Multiply by the gains of the Wiener filter; add the variances of the remaining noise."""
    for j in range(LINE):
        power = pilot[j] ** 2
        gain = power / (power + noise)
        line[j] *= gain * scale
        remaining[j] += gain**2 * scale


@inlined
def _sum_variances(remaining: np.ndarray) -> None:
    """Sum the columns of each coefficient, and then the coefficients of each block, in place."""
    for line in remaining:
        for channel in range(CHANNELS):
            total = np.float32(0)
            for j in range(channel, LINE, CHANNELS):
                total += line[j]
            for j in range(channel, LINE, CHANNELS):
                line[j] = total
    half = 1  # as in `_inverse_haar`, but a difference has the sum of the variances
    while half < len(remaining):
        for n in range(half):
            for j in range(LINE):
                remaining[n, j] += remaining[half + n, j]
                remaining[half + n, j] = remaining[n, j]
        half *= 2


@inlined
def _add(
    group: np.ndarray,
    remaining: np.ndarray,
    blocks: np.ndarray,
    total: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Add the blocks of a group, weighted by the inverse of the noise that is left in them."""
    weight = np.empty(LINE, np.float32)
    for n in range(len(blocks)):
        y, x = blocks[n]
        for j in range(LINE):
            weight[j] = np.float32(1) / remaining[n, j]
        for channel in range(CHANNELS):
            weights[y, x, channel] += weight[channel]
        for i in range(BLOCK):
            sums = total[y + i, CHANNELS * x : CHANNELS * x + LINE]
            line = group[i, n]
            for j in range(LINE):
                sums[j] += weight[j] * line[j]
