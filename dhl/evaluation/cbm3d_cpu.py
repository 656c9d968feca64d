"""One stage of CBM3D on a CPU: each group is filtered alone, by loops that Numba compiles.

All that a group needs stays in the core's cache, so memory does not limit the speed. Numba keeps
the compiled code in `__pycache__`: only the first call on a machine compiles.

A group of K blocks is kept as the rows of its blocks: for each of the eight rows, the blocks, each
with its eight columns of three channels. Rows are `ROW` numbers apart. A transform swaps rows and
columns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from dhl.evaluation.cbm3d_stages import (
    BIOR_SCALE,
    BLOCK,
    HARD,
    REACH,
    THRESHOLD,
    WIENER,
    WIENER_NOISE,
    WINDOW,
    Stage,
    reference_blocks,
)

CHANNELS = 3
LINE = BLOCK * CHANNELS  # numbers in a row of a block
LANES = 40  # the columns of a window, and one more: a multiple of the width of vector registers
STRIP = 64  # columns of reference blocks; the spectra around them stay close together in memory
ONE, TWO, THREE = np.uint64(1), np.uint64(2), np.uint64(3)
# Coefficients of a block by frequency: the low ones tell most of the distance of two blocks.
ORDER = np.argsort(np.argsort(np.add.outer(np.arange(BLOCK), np.arange(BLOCK)).ravel())).reshape(
    BLOCK, BLOCK
)
NO_LIMIT = np.float32(1e30)
LARGE = np.float32(1e18)  # a coefficient so large that any filter keeps it
# Numbers of a group between rows of its blocks. This is a constant, so that the compiler can prove
# that loops over a row may change it in place; it leaves a gap for `_transpose`.
ROW = max(HARD.largest_group, WIENER.largest_group) * LINE + 8
GROUP = BLOCK * ROW
# Coefficients of the DCT, and of bior1.5; see `Stage.transform`.
C1, C2, C3, C4, C5, C6, C7 = (np.float32(math.cos(math.pi * k / 16) / 2) for k in range(1, BLOCK))
ROOT_HALF = np.float32(math.sqrt(0.5))
BIOR, INVERSE_BIOR = np.float32(22 / 256 * math.sqrt(2)), np.float32(22 / 128)
COARSE, INVERSE_COARSE = np.float32(0.5 / BIOR_SCALE), np.float32(math.sqrt(0.5) * BIOR_SCALE / 2)
MIDDLE, INVERSE_MIDDLE = np.float32(math.sqrt(0.5) / BIOR_SCALE), np.float32(BIOR_SCALE / 2)

# Numba compiles again if this file changes, but not for a change of imported constants.
inlined = numba.njit(fastmath=True, error_model="numpy")
compiled = numba.njit(cache=True, fastmath=True, error_model="numpy")


class Constants(NamedTuple):
    """A stage for the compiled loops, in float32."""

    hard: bool  # thresholding, or the Wiener filter
    noise: np.float32  # squared threshold, or noise of the Wiener filter, in variances of the noise
    transform: np.ndarray  # of the luminance, shape (8, 8)
    window: np.ndarray  # weights of the pixels, shape (8,)
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
        window=WINDOW.astype(np.float32),
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
                coefficient = spectra[y, ORDER[vertical, horizontal]]
                for pixel in range(BLOCK):
                    factor = transform[horizontal, pixel]
                    for x in range(columns):
                        coefficient[x] += factor * line[x + pixel]
    return spectra


@compiled
def _filter(image: Image, references: np.ndarray, largest: int, constants: Constants) -> None:
    """Filter the group of each reference block of an image, and add its blocks to the sums."""
    blocks = np.empty((largest, 2), np.int64)
    noisy, pilot, spare = (
        np.empty(GROUP, np.float32),
        np.empty(GROUP, np.float32),
        np.empty(GROUP, np.float32),
    )
    weights = np.empty(largest * LINE, np.float32)
    for r in range(len(references)):
        size = _similar(image, references[r], blocks)
        group = blocks[:size]
        _gather(image.noisy, group, noisy)
        _haar(noisy, spare, size)
        _transform(spare, noisy, size, constants)
        if constants.hard:
            _shrink(noisy, noisy, weights, size, constants)
        else:
            _gather(image.pilot, group, pilot)
            _haar(pilot, spare, size)
            _transform(spare, pilot, size, constants)
            _shrink(noisy, pilot, weights, size, constants)
        _inverse_haar(noisy, spare, size)
        _inverse_transform(spare, noisy, size, constants)
        _add(noisy, weights, group, image.total, image.weights)


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

    It ends early if all distances are above the limit without the next coefficients.
    """
    lanes[:] = 0
    smallest = lanes[0]
    end = first + LANES
    for start in range(0, BLOCK * BLOCK, 16):
        for k in range(start, start + 16, 4):
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
def _four(numbers: np.ndarray, start: int) -> tuple[np.float32, ...]:
    """Read four numbers; the index is unsigned, so that they become one vector."""
    at = np.uint64(start)
    return numbers[at], numbers[at + ONE], numbers[at + TWO], numbers[at + THREE]


@inlined
def _put(numbers: np.ndarray, start: int, four: tuple[np.float32, ...]) -> None:
    """Write four numbers."""
    at = np.uint64(start)
    numbers[at], numbers[at + ONE], numbers[at + TWO], numbers[at + THREE] = four


@inlined
def _gather(image: np.ndarray, blocks: np.ndarray, group: np.ndarray) -> None:
    """Copy the blocks of a group."""
    pixels, width = image.ravel(), image.shape[1]
    for n in range(len(blocks)):
        first = blocks[n, 0] * width + CHANNELS * blocks[n, 1]
        for i in range(BLOCK):
            for j in range(0, LINE, 4):
                _put(group, ROW * i + LINE * n + j, _four(pixels, first + width * i + j))


@inlined
def _haar(group: np.ndarray, out: np.ndarray, size: int) -> None:
    """Transform a group to sums and differences of halves, without normalisation."""
    for i in range(BLOCK):
        sums = group[ROW * i : ROW * i + size * LINE]
        line = out[ROW * i : ROW * i + size * LINE]
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
def _inverse_haar(group: np.ndarray, out: np.ndarray, size: int) -> None:
    """Return the blocks of `_haar`, multiplied by the size of the group."""
    for i in range(BLOCK):
        spectrum = group[ROW * i : ROW * i + size * LINE]
        line = out[ROW * i : ROW * i + size * LINE]
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
def _transform(group: np.ndarray, out: np.ndarray, size: int, constants: Constants) -> None:
    """Transform columns, and then rows, of blocks, and transpose them; `group` is overwritten."""
    if constants.hard:
        _bior(group, size)
        _transpose(group, out, size)
        _bior(out, size)
    else:
        _dct(group, size)
        _transpose(group, out, size)
        _dct(out, size)


@inlined
def _inverse_transform(group: np.ndarray, out: np.ndarray, size: int, constants: Constants) -> None:
    """Undo `_transform`, and multiply the pixels by the window."""
    if constants.hard:
        _inverse_bior(group, size, constants.window)
        _transpose(group, out, size)
        _inverse_bior(out, size, constants.window)
    else:
        _inverse_dct(group, size, constants.window)
        _transpose(group, out, size)
        _inverse_dct(out, size, constants.window)


@inlined
def _transpose(group: np.ndarray, out: np.ndarray, size: int) -> None:
    """Swap rows and columns of each block.

    Four numbers are moved at once; the next pixel, or the gap after a row, overwrites the last one.
    """
    for n in range(size):
        for i in range(BLOCK):
            for j in range(BLOCK):
                four = _four(group, ROW * j + LINE * n + CHANNELS * i)
                _put(out, ROW * i + LINE * n + CHANNELS * j, four)


@inlined
def _dct(group: np.ndarray, size: int) -> None:
    """Transform columns by the DCT-II, in place."""
    for k in range(size * LINE):
        a, b, c, d = group[k], group[ROW + k], group[2 * ROW + k], group[3 * ROW + k]
        e, f, g, h = group[4 * ROW + k], group[5 * ROW + k], group[6 * ROW + k], group[7 * ROW + k]
        p, q, r, s = a + h, b + g, c + f, d + e
        a, b, c, d = a - h, b - g, c - f, d - e
        group[k] = C4 * (p + s + q + r)
        group[4 * ROW + k] = C4 * (p + s - q - r)
        group[2 * ROW + k] = C2 * (p - s) + C6 * (q - r)
        group[6 * ROW + k] = C6 * (p - s) - C2 * (q - r)
        group[ROW + k] = C1 * a + C3 * b + C5 * c + C7 * d
        group[3 * ROW + k] = C3 * a - C7 * b - C1 * c - C5 * d
        group[5 * ROW + k] = C5 * a - C1 * b + C7 * c + C3 * d
        group[7 * ROW + k] = C7 * a - C5 * b + C3 * c - C1 * d


@inlined
def _inverse_dct(group: np.ndarray, size: int, window: np.ndarray) -> None:
    """Undo `_dct` in place, and multiply by the window, which is symmetric."""
    w, x, y, z = window[0], window[1], window[2], window[3]
    for k in range(size * LINE):
        a, b, c, d = group[k], group[ROW + k], group[2 * ROW + k], group[3 * ROW + k]
        e, f, g, h = group[4 * ROW + k], group[5 * ROW + k], group[6 * ROW + k], group[7 * ROW + k]
        sums, differences = C4 * (a + e), C4 * (a - e)
        outer, inner = C2 * c + C6 * g, C6 * c - C2 * g
        p, q, r, s = sums + outer, differences + inner, differences - inner, sums - outer
        a = C1 * b + C3 * d + C5 * f + C7 * h
        c = C3 * b - C7 * d - C1 * f - C5 * h
        e = C5 * b - C1 * d + C7 * f + C3 * h
        g = C7 * b - C5 * d + C3 * f - C1 * h
        group[k] = w * (p + a)
        group[ROW + k] = x * (q + c)
        group[2 * ROW + k] = y * (r + e)
        group[3 * ROW + k] = z * (s + g)
        group[4 * ROW + k] = z * (s - g)
        group[5 * ROW + k] = y * (r - e)
        group[6 * ROW + k] = x * (q - c)
        group[7 * ROW + k] = w * (p - a)


@inlined
def _bior(group: np.ndarray, size: int) -> None:
    """Transform columns by bior1.5, in place.

    On eight pixels, periodic, the wavelet is that of Haar, but the finest differences also change
    the averages from which the coarser levels are made.
    """
    for k in range(size * LINE):
        a, b, c, d = group[k], group[ROW + k], group[2 * ROW + k], group[3 * ROW + k]
        e, f, g, h = group[4 * ROW + k], group[5 * ROW + k], group[6 * ROW + k], group[7 * ROW + k]
        p, q, r, s = a - b, c - d, e - f, g - h
        even, odd = BIOR * (q - s), BIOR * (r - p)
        a, b = ROOT_HALF * (a + b) + even, ROOT_HALF * (c + d) + odd
        c, d = ROOT_HALF * (e + f) - even, ROOT_HALF * (g + h) - odd
        group[k] = COARSE * (a + b + c + d)
        group[ROW + k] = COARSE * (a + b - c - d)
        group[2 * ROW + k] = MIDDLE * (a - b)
        group[3 * ROW + k] = MIDDLE * (c - d)
        group[4 * ROW + k] = ROOT_HALF * p
        group[5 * ROW + k] = ROOT_HALF * q
        group[6 * ROW + k] = ROOT_HALF * r
        group[7 * ROW + k] = ROOT_HALF * s


@inlined
def _inverse_bior(group: np.ndarray, size: int, window: np.ndarray) -> None:
    """Undo `_bior` in place, and multiply by the window, which is symmetric."""
    w, x, y, z = window[0], window[1], window[2], window[3]
    for k in range(size * LINE):
        a, b, c, d = group[k], group[ROW + k], group[2 * ROW + k], group[3 * ROW + k]
        p, q, r, s = (group[4 * ROW + k], group[5 * ROW + k], group[6 * ROW + k],
                      group[7 * ROW + k])  # fmt: skip
        p, q, r, s = ROOT_HALF * p, ROOT_HALF * q, ROOT_HALF * r, ROOT_HALF * s
        even, odd = INVERSE_BIOR * (q - s), INVERSE_BIOR * (r - p)
        first, second = INVERSE_COARSE * (a + b), INVERSE_COARSE * (a - b)
        c, d = INVERSE_MIDDLE * c, INVERSE_MIDDLE * d
        a, b = first + c - even, first - c - odd
        c, d = second + d + even, second - d + odd
        group[k] = w * (a + p)
        group[ROW + k] = x * (a - p)
        group[2 * ROW + k] = y * (b + q)
        group[3 * ROW + k] = z * (b - q)
        group[4 * ROW + k] = z * (c + r)
        group[5 * ROW + k] = y * (c - r)
        group[6 * ROW + k] = x * (d + s)
        group[7 * ROW + k] = w * (d - s)


@inlined
def _shrink(
    noisy: np.ndarray, guide: np.ndarray, weights: np.ndarray, size: int, constants: Constants
) -> None:
    """Shrink the spectrum of a group by the gains that follow from the guide's; keep its mean.

    `weights` gets the inverse of the variance of the noise that is left in each block, (K, 24), the
    same for all columns.
    """
    means = noisy[:CHANNELS].copy()
    for channel in range(CHANNELS):
        guide[channel] = LARGE
    support = size  # blocks of which a coefficient is the sum, or the difference of sums
    for n in range(size):
        if n > 1 and n & (n - 1) == 0:
            support //= 2
        scale = np.float32(1 / support)
        noise = np.float32(constants.noise * support)
        variance = weights[LINE * n : LINE * n + LINE]
        variance[:] = 0
        for i in range(BLOCK):
            line = noisy[ROW * i + LINE * n : ROW * i + LINE * n + LINE]
            if constants.hard:
                _threshold(line, noise, scale, constants.variances[i], variance)
            else:
                guiding = guide[ROW * i + LINE * n : ROW * i + LINE * n + LINE]
                _wiener(line, guiding, noise, scale, variance)
    for channel in range(CHANNELS):
        noisy[channel] = means[channel] / np.float32(size)
    _invert_sums(weights, size)


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
def _invert_sums(variances: np.ndarray, size: int) -> None:
    """Replace the variances of all coefficients by the inverse of their sum in each block."""
    for n in range(size):
        line = variances[LINE * n : LINE * n + LINE]
        for channel in range(CHANNELS):
            total = np.float32(0)
            for j in range(channel, LINE, CHANNELS):
                total += line[j]
            for j in range(channel, LINE, CHANNELS):
                line[j] = total
    half = LINE  # as in `_inverse_haar`, but a difference has the sum of the variances
    while half < size * LINE:
        for j in range(half):
            total = variances[j] + variances[half + j]
            variances[j] = total
            variances[half + j] = total
        half *= 2
    for j in range(size * LINE):
        variances[j] = np.float32(1) / variances[j]


@inlined
def _add(
    group: np.ndarray,
    group_weights: np.ndarray,
    blocks: np.ndarray,
    total: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Add the blocks of a group with their weights."""
    sums, width = total.ravel(), total.shape[1]
    for n in range(len(blocks)):
        y, x = blocks[n]
        first = y * width + CHANNELS * x
        for channel in range(CHANNELS):
            weights[y, x, channel] += group_weights[LINE * n + channel]
        for j in range(0, LINE, 4):
            p, q, r, s = _four(group_weights, LINE * n + j)
            for i in range(BLOCK):
                at = first + width * i + j
                a, b, c, d = _four(group, ROW * i + LINE * n + j)
                e, f, g, h = _four(sums, at)
                _put(sums, at, (e + p * a, f + q * b, g + r * c, h + s * d))
