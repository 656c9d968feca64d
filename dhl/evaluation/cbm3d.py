"""CBM3D on tensors: BM3D for colour images, in batches, on a CPU or a GPU.

The algorithm is that of Dabov et al. [1]_ [2]_ with the constants of the authors' package `bm3d`
for white noise; the PSNR is that of the package within hundredths of a dB. As in the papers, hard
thresholding of the noisy image gives a pilot, by which a Wiener filter then shrinks the noisy image
again. Each stage groups similar blocks, shrinks the 3-D spectrum of each group, and averages the
blocks where they overlap.

Two identities make this fast on tensors. A block is in many groups, and the 2-D transform is
linear: each block is transformed once, and filtered spectra are summed per block before the inverse
transform. The distances of all blocks in a tile are one matrix product.

References
----------
.. [1] Dabov et al., Image denoising by sparse 3-D transform-domain collaborative filtering, IEEE
   TIP 16, 2007.
.. [2] Dabov et al., Color image denoising via sparse 3D collaborative filtering with grouping
   constraint in luminance-chrominance space, ICIP 2007.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dhl.errors import UserError
from dhl.sigma import noise_std

BLOCK = 8  # side of a block in px
STEP = 3  # px between reference blocks
REACH = 19  # px; similar blocks are searched in a window of 39 x 39 positions
THRESHOLD = 3.0  # lambda of hard thresholding in standard deviations; 2.7 in [1]_
WIENER_NOISE = 0.4  # mu^2, the factor of the noise variance in the Wiener filter; 1 in [1]_
KAISER = 2.0  # beta of the window that weights the pixels of a block

TILE = 28  # px; reference blocks of a tile share the candidates around it
STRIP_POSITIONS = 2**17  # block positions of an image in memory; strips divide larger images
SCALE = 64  # the unit of distances is a 64th of their limit
FAR = 500 * SCALE  # above all distances: they are below 170 times the limit
# Elements of a chunk of work: on a CPU it fits into the cache.
CHUNK = {"cpu": 2**19, "cuda": 2**26}


class Stage(NamedTuple):
    """Constants of hard thresholding, or of the Wiener filter."""

    transform: np.ndarray  # of a column of pixels, shape (8, 8)
    largest_group: int  # blocks
    distance: float  # of similar blocks: largest mean squared difference on the 0-255 scale


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
    matrix[: BLOCK // 2] /= 1.0291  # the package's scale
    return matrix


HARD = Stage(_bior(), largest_group=16, distance=3000)
WIENER = Stage(_dct(), largest_group=32, distance=400)
# Rows are the colour channels of [2]_, orthonormal: luminance first.
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


@torch.inference_mode()
def cbm3d(noisy: Tensor, *, sigma: float) -> Tensor:
    """Denoise images with white Gaussian noise.

    Parameters
    ----------
    noisy : Tensor of shape (N, 3, H, W), or (N, 1, H, W) for grey images
        On the [0, 1] scale, unclipped; at least 8 px a side.
    sigma : float
        Standard deviation of the noise on the 0-255 scale, above 0.

    Returns
    -------
    Tensor of float32, shape of `noisy`, unclipped

    Raises
    ------
    UserError
        If the images are smaller than a block, or sigma is not from 1 to 255.

    Notes
    -----
    Near ties among similar blocks can be decided differently on other devices and in other batches.
    On one device, equal batches give equal bits.
    """
    if min(noisy.shape[2:]) < BLOCK:
        raise UserError(
            f"CBM3D needs images of at least {BLOCK} px a side.",
            came=f"{noisy.shape[3]} x {noisy.shape[2]} px",
            do="leave the image out, or enlarge it.",
        )
    std = noise_std(sigma)
    if std == 0:
        raise UserError("CBM3D needs noise.", came="sigma 0", do="leave the image as it is.")
    colours = _constant(np.eye(1) if noisy.shape[1] == 1 else OPPONENT, noisy.device)
    # In units of the noise, around the mean: distances of blocks lose fewer digits.
    channels = torch.einsum("oc,nchw->nohw", colours, noisy.float() / std)
    mean = channels.mean((2, 3), keepdim=True)
    channels = channels - mean
    # TF32 keeps 10 of float32's 23 mantissa bits.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        pilot = _stage(channels, channels, HARD)
        denoised = _stage(channels, pilot, WIENER) + mean
    return torch.einsum("oc,nohw->nchw", colours, denoised) * std


def _stage(noisy: Tensor, pilot: Tensor, stage: Stage) -> Tensor:
    """Filter channels (N, C, H, W) in groups of similar blocks, found in the pilot's luminance."""
    images, channels, height, width = noisy.shape
    contrast = pilot[:, 0].amax((1, 2)) - pilot[:, 0].amin((1, 2))
    limits = (stage.distance * BLOCK**2 / 255**2 * contrast.square()).clamp(min=1e-12)
    total = torch.zeros_like(noisy)
    weight = torch.zeros_like(noisy)
    for strip in _strips(height - BLOCK + 1, width - BLOCK + 1):
        pixels = slice(strip.first_row, strip.first_row + strip.rows + BLOCK - 1)
        spectra = _spectra(noisy[:, :, pixels], stage)
        guides = spectra if pilot is noisy else _spectra(pilot[:, :, pixels], stage)
        groups = _groups(guides, limits, strip, stage)
        filtered, weights = _filter(spectra, guides, groups, channels, stage)
        total[:, :, pixels] += _overlap(filtered, images, strip, stage)
        weight[:, :, pixels] += _overlap_weights(weights, images, strip)
    return total / weight


@dataclass(frozen=True, eq=False)
class Strip:
    """Rows of block positions of an image, and the reference blocks that are filtered there."""

    first_row: int
    rows: int
    columns: int
    references: np.ndarray  # row and column in the strip, shape (R, 2)


@functools.lru_cache(maxsize=8)
def _strips(rows: int, columns: int) -> list[Strip]:
    """Divide an image of `rows` x `columns` block positions so that strips fit into memory."""
    references = _references(rows, columns)
    height = max(TILE, STRIP_POSITIONS // columns - 2 * REACH)
    strips = []
    for top in range(0, rows, height):
        first = max(0, top - REACH)
        last = min(rows, top + height + REACH)
        inside = (references[:, 0] >= top) & (references[:, 0] < top + height)
        strips.append(Strip(first, last - first, columns, references[inside] - [first, 0]))
    return strips


def _references(rows: int, columns: int) -> np.ndarray:
    """Return the reference blocks: every third column, and every third row, staggered by column."""
    positions = [
        (y, x)
        for index, x in enumerate(sorted({*range(0, columns, STEP), columns - 1}))
        for y in sorted({0, *range(STEP - index % STEP, rows, STEP), rows - 1})
    ]
    return np.array(positions)


class Tiles(NamedTuple):
    """The reference blocks of a strip by tile, and the candidates for their groups.

    T tiles have up to M references and U candidates each. A window has V = h * w positions.
    """

    references: Tensor  # positions in the strip, (T, M); a tile with fewer repeats its own
    is_reference: Tensor  # or a repetition, (T, M)
    candidates: Tensor  # positions in the strip, (T, U)
    area: tuple[int, int]  # rows and columns of a tile's candidates
    window: tuple[int, int]  # rows and columns of a window
    starts: Tensor  # first row and column of each reference's window in the area, (2, T, M)
    corners: Tensor  # its first position in the strip, (T, M)
    offsets: Tensor  # from there to each position of the window, (V,)
    centres: Tensor  # row and column of each reference in its window, (2, T, M)
    at_border: np.ndarray  # whether the border of the strip moves a window of the tile, (T,)


@functools.lru_cache(maxsize=8)
def _tiles(strip: Strip, device: torch.device) -> Tiles:
    """Lay out the tiles of a strip."""
    places = strip.references
    edges = [_edges(places[:, axis].min(), places[:, axis].max() + 1) for axis in (0, 1)]
    tile_of = np.stack(
        [np.searchsorted(edges[axis], places[:, axis], "right") - 1 for axis in (0, 1)], 1
    )
    tiles, owner = np.unique(tile_of, axis=0, return_inverse=True)
    members = [places[owner.ravel() == tile] for tile in range(len(tiles))]
    most = max(map(len, members))
    is_reference = np.array([np.arange(most) < len(member) for member in members])
    places = np.stack([np.resize(member, (most, 2)) for member in members])
    limits = np.array([strip.rows, strip.columns])
    side = np.array([np.diff(edge).max() for edge in edges])
    area = np.minimum(side + 2 * REACH, limits)
    window = np.minimum(2 * REACH + 1, limits)
    first = np.stack([edges[axis][tiles[:, axis]] for axis in (0, 1)], 1)
    corners = np.clip(first - REACH, 0, limits - area)
    starts = np.clip(places - REACH, 0, limits - window)
    flat = np.array([strip.columns, 1])  # row and column to position

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return Tiles(
        references=tensor(places @ flat),
        is_reference=tensor(is_reference),
        candidates=tensor((corners @ flat)[:, None] + flat @ np.indices(area).reshape(2, -1)),
        area=(int(area[0]), int(area[1])),
        window=(int(window[0]), int(window[1])),
        starts=tensor(np.moveaxis(starts - corners[:, None], 2, 0)),
        corners=tensor(starts @ flat),
        offsets=tensor(flat @ np.indices(window).reshape(2, -1)),
        centres=tensor(np.moveaxis(places - starts, 2, 0)),
        at_border=(places - starts != REACH).any((1, 2)),
    )


def _edges(first: int, last: int) -> np.ndarray:
    """Divide positions into tiles of nearly equal sides."""
    return np.linspace(first, last, max(1, round((last - first) / TILE)) + 1).astype(int)


class Groups(NamedTuple):
    """Groups of similar blocks of all images of a strip."""

    blocks: Tensor  # rows of the spectra, most similar first, shape (G, K)
    sizes: Tensor  # how many of them are in the group: a power of two, shape (G,)


def _groups(guides: Tensor, limits: Tensor, strip: Strip, stage: Stage) -> Groups:
    """Find the blocks nearest to each reference block by their luminance spectra.

    `guides` has the shape (N * L, C * 64) for N images with L positions in the strip; `limits` are
    the largest squared distances of an image's blocks, shape (N,).
    """
    device, images, positions = guides.device, len(limits), strip.rows * strip.columns
    tiles = _tiles(strip, device)
    largest = min(stage.largest_group, 2 ** int(math.log2(len(tiles.offsets))))
    # The product of a row of each is 1 + SCALE times the squared distance in units of the limit.
    scale = (SCALE / limits).sqrt().repeat_interleave(positions)[:, None]
    luminance = guides[:, : BLOCK**2] * scale
    norms = luminance.square().sum(1, keepdim=True)
    left = torch.cat([luminance, norms, torch.ones_like(norms)], 1)
    right = torch.cat([-2 * luminance, torch.ones_like(norms), norms + 1], 1)
    count, members = tiles.references.shape
    at_once = _chunk(members * tiles.candidates.shape[1], device)
    found, sizes = [], []
    for image in torch.arange(images, device=device).split(max(1, at_once // count)):
        for part in (slice(at, at + at_once) for at in range(0, count, at_once)):
            first = (image * positions)[:, None, None]
            references = (tiles.references[part] + first).flatten(0, 1)
            candidates = (tiles.candidates[part] + first).flatten(0, 1)
            products = torch.bmm(
                left.index_select(0, references.flatten()).view(*references.shape, -1),
                right.index_select(0, candidates.flatten()).view(*candidates.shape, -1).mT,
            )
            distances = _windows(products, tiles, part, len(image)).clamp_(min=1 + 2**-16)
            if tiles.at_border[part].any():
                distances.masked_fill_(_beyond(tiles, part), FAR)
            row, column = tiles.centres[:, part]
            itself = (row * tiles.window[1] + column).expand(distances.shape[:3])[..., None]
            distances.scatter_(3, itself, 1)  # it is first, whatever the rounding
            nearest, which = _smallest(distances, largest)
            similar = (nearest <= 1 + SCALE).sum(3)
            kept = tiles.is_reference[part].expand_as(similar)
            corners = tiles.corners[part] + first
            found.append((corners[..., None] + tiles.offsets[which])[kept])
            sizes.append(_power_of_two_below(similar[kept].clamp(min(2, largest))))
    return Groups(torch.cat(found), torch.cat(sizes))


def _windows(products: Tensor, tiles: Tiles, part: slice, images: int) -> Tensor:
    """Cut each reference's window out of its tile: (N * T, M, U) to (N, T, M, V)."""
    total, members, _ = products.shape
    rows, columns = tiles.window
    windows = products.view(total, members, *tiles.area).unfold(2, rows, 1).unfold(3, columns, 1)
    row, column = tiles.starts[:, part].repeat(1, images, 1)
    tile = torch.arange(total, device=products.device)[:, None]
    member = torch.arange(members, device=products.device)
    return windows[tile, member, row, column].view(images, -1, members, rows * columns)


def _beyond(tiles: Tiles, part: slice) -> Tensor:
    """Tell which positions of the windows are out of reach, (T, M, V)."""
    rows, columns = (
        (torch.arange(size, device=centres.device) - centres[..., None]).abs() > REACH
        for size, centres in zip(tiles.window, tiles.centres[:, part], strict=True)
    )
    return (rows[..., :, None] | columns[..., None, :]).flatten(2)


def _smallest(distances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` smallest values of the last axis in order, and their indices.

    The values are from 1 to below 2**16, at most 2048 in a row.
    """
    if distances.device.type != "cpu":
        return distances.topk(count, largest=False)
    # NumPy partitions integers several times faster than PyTorch selects floats. Positive floats
    # are in the order of their bits: 20 bits of the value, 11 for the index.
    one = 127 << 23  # the bits of 1.0
    bits = distances.view(torch.int32).sub_(one).bitwise_and_(-1 << 7)
    index = torch.arange(distances.shape[-1], dtype=torch.int32)
    codes = torch.add(index, bits, alpha=1 << 4).numpy()
    codes.partition(count - 1, axis=-1)
    nearest = torch.from_numpy(np.sort(codes[..., :count]))
    values = ((nearest >> 4) & (-1 << 7)) + one
    return values.view(torch.float32), (nearest & ((1 << 11) - 1)).long()


def _power_of_two_below(numbers: Tensor) -> Tensor:
    """Return the largest powers of two that are not above positive whole numbers."""
    _, exponents = torch.frexp(numbers.float())
    return 2 ** (exponents.long() - 1)


def _filter(
    spectra: Tensor, guides: Tensor, groups: Groups, channels: int, stage: Stage
) -> tuple[Tensor, Tensor]:
    """Filter groups; return the weighted sum of each block's spectra and the sum of its weights."""
    energy = (stage.transform**2).sum(1)
    variances = _constant(np.outer(energy, energy).ravel(), spectra.device)  # of noise 1
    total = torch.zeros_like(spectra)
    weights = spectra.new_zeros(len(spectra), channels)
    for size in groups.sizes.unique().tolist():
        blocks = groups.blocks[groups.sizes == size, :size]
        squares = _constant(_haar_squares(size), spectra.device)
        noise = 1 / squares.amax(1)[:, None, None]  # variance of each Haar coefficient
        thresholds = THRESHOLD * noise.sqrt() * variances.sqrt().repeat(channels)
        for part in blocks.split(_chunk(size * spectra.shape[1], spectra.device)):
            rows = part.T.flatten()
            shape = (size, len(part), channels, BLOCK**2)
            spectrum = _haar(spectra.index_select(0, rows).view(size, len(part), -1))
            if stage is HARD:
                gains = spectrum.abs().gt_(thresholds)
            else:
                power = _haar(guides.index_select(0, rows).view(size, len(part), -1)).square_()
                gains = power.div_(power + WIENER_NOISE * noise)
            gains[0, :, :: BLOCK**2] = 1  # a group keeps its mean
            spectrum *= gains
            squared = gains if stage is HARD else gains.square_()  # those of HARD are 0 and 1
            remaining = squared.view(shape) @ variances
            weight = 1 / (squares.T @ remaining.view(size, -1)).view(shape[:3])
            filtered = _inverse_haar(spectrum).view(shape).mul_(weight[..., None] / size)
            _add_rows(total, rows, filtered.view(len(rows), -1))
            _add_rows(weights, rows, weight.view(len(rows), -1))
    return total, weights


def _haar(blocks: Tensor) -> Tensor:
    """Transform groups of blocks (size, G, ...) to sums and differences, without normalisation."""
    size = len(blocks)
    spectrum = torch.empty_like(blocks) if size > 1 else blocks
    while (size := size // 2) > 0:
        even, odd = blocks[0::2], blocks[1::2]
        torch.sub(even, odd, out=spectrum[size : 2 * size])
        blocks = torch.add(even, odd, out=spectrum[:1] if size == 1 else None)
    return spectrum


def _inverse_haar(spectrum: Tensor) -> Tensor:
    """Return the blocks of `_haar`, multiplied by the size of the group."""
    blocks, scale = spectrum[:1], 1
    while (count := len(blocks)) < len(spectrum):
        differences = spectrum[count : 2 * count]
        finer = torch.empty_like(spectrum[: 2 * count])
        torch.add(blocks, differences, alpha=scale, out=finer[0::2])
        torch.sub(blocks, differences, alpha=scale, out=finer[1::2])
        blocks, scale = finer, 2 * scale
    return blocks


@functools.lru_cache
def _haar_squares(size: int) -> np.ndarray:
    """Return the squared entries of the orthonormal Haar matrix: coefficients x blocks."""
    rows = [np.full((1, size), 1 / size)]
    levels = [2**level for level in range(int(math.log2(size)))]
    rows += [np.kron(np.eye(count), np.full(size // count, count / size)) for count in levels]
    return np.vstack(rows)


def _add_rows(total: Tensor, rows: Tensor, values: Tensor) -> None:
    """Add values to rows, in the same order each time."""
    if total.device.type == "cpu":
        total.index_add_(0, rows, values)
    else:  # `index_add_` adds in any order; this sorts
        total.index_put_((rows,), values, accumulate=True)


def _spectra(images: Tensor, stage: Stage) -> Tensor:
    """Transform the blocks at all positions of images (N, C, H, W): shape (N * L, C * 64)."""
    channels = images.shape[1]
    basis = _constant(stage.transform, images.device)
    down = basis.view(BLOCK, 1, BLOCK, 1).repeat(channels, 1, 1, 1)
    across = basis.view(BLOCK, 1, 1, BLOCK).repeat(channels * BLOCK, 1, 1, 1)
    images = images.contiguous(memory_format=torch.channels_last)
    columns = F.conv2d(images, down, groups=channels)
    spectra = F.conv2d(columns, across, groups=channels * BLOCK)
    return spectra.permute(0, 2, 3, 1).reshape(-1, channels * BLOCK**2)


def _kaiser() -> np.ndarray:
    """Return the weights of the pixels of a block."""
    window = np.kaiser(BLOCK, KAISER)
    return np.outer(window, window)


def _overlap(spectra: Tensor, images: int, strip: Strip, stage: Stage) -> Tensor:
    """Transform the spectra of all positions back, and add the windowed blocks: (N, C, H, W)."""
    inverse = np.linalg.inv(stage.transform)
    pixels = _constant(np.kron(inverse, inverse) * _kaiser().reshape(-1, 1), spectra.device)
    spectra = spectra.view(images, strip.rows * strip.columns, -1, BLOCK**2)
    size = strip.rows + BLOCK - 1, strip.columns + BLOCK - 1
    channels = [F.fold(pixels @ channel.mT, size, BLOCK) for channel in spectra.unbind(2)]
    return torch.cat(channels, 1)


def _overlap_weights(weights: Tensor, images: int, strip: Strip) -> Tensor:
    """Add the windows of all positions, times the weights (N * L, C): shape (N, C, H, W)."""
    weights = weights.view(images, strip.rows, strip.columns, -1).permute(0, 3, 1, 2)
    window = _constant(_kaiser(), weights.device)[None, None]
    shape = (-1, 1, strip.rows, strip.columns)
    added = F.conv2d(weights.reshape(shape), window, padding=BLOCK - 1)  # it is symmetric
    return added.view(*weights.shape[:2], *added.shape[2:])


def _constant(array: np.ndarray, device: torch.device) -> Tensor:
    """Return an array as float32 on a device."""
    return torch.from_numpy(array.astype(np.float32)).to(device)


def _chunk(elements: int, device: torch.device) -> int:
    """Return how many items of a number of elements are worked on at once."""
    return max(1, CHUNK.get(device.type, CHUNK["cuda"]) // elements)
