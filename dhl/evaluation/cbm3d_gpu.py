"""One stage of CBM3D on a GPU: the groups of all images of a batch at once, in tensor operations.

Two identities make this fast. A block is in many groups, and the 2-D transform is linear: each
block is transformed once, and filtered spectra are summed per block before the inverse transform.
The distances of all blocks in a tile are one matrix product.
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

TILE = 28  # px; reference blocks of a tile share the candidates around it
STRIP_POSITIONS = 2**17  # block positions of an image in memory; strips divide larger images
SCALE = 64  # the unit of distances is a 64th of their limit
FAR = 500 * SCALE  # above all distances: they are below 170 times the limit
CHUNK = 2**26  # elements that are worked on at once


def filter_groups(noisy: Tensor, pilot: Tensor, stage: Stage) -> Tensor:
    """Filter images in groups of similar blocks, which are found in the pilot's luminance.

    Parameters and result are those of `dhl.evaluation.cbm3d_cpu.filter_groups`, as tensors.
    """
    images, channels, height, width = noisy.shape
    limits = _distance_limits(pilot, stage)
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


def _distance_limits(pilot: Tensor, stage: Stage) -> Tensor:
    """Return the largest squared distance of similar blocks in each image."""
    contrast = pilot[:, 0].amax((1, 2)) - pilot[:, 0].amin((1, 2))
    return torch.tensor([stage.distance_limit(one) for one in contrast.tolist()]).to(pilot)


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
    references = reference_blocks(rows, columns)
    height = max(TILE, STRIP_POSITIONS // columns - 2 * REACH)
    strips = []
    for top in range(0, rows, height):
        first = max(0, top - REACH)
        last = min(rows, top + height + REACH)
        inside = (references[:, 0] >= top) & (references[:, 0] < top + height)
        strips.append(Strip(first, last - first, columns, references[inside] - [first, 0]))
    return strips


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
    largest = stage.group_limit(strip.rows, strip.columns)
    # The product of a row of each is 1 + SCALE times the squared distance in units of the limit.
    scale = (SCALE / limits).sqrt().repeat_interleave(positions)[:, None]
    luminance = guides[:, : BLOCK**2] * scale
    norms = luminance.square().sum(1, keepdim=True)
    left = torch.cat([luminance, norms, torch.ones_like(norms)], 1)
    right = torch.cat([-2 * luminance, torch.ones_like(norms), norms + 1], 1)
    count, members = tiles.references.shape
    at_once = _chunk(members * tiles.candidates.shape[1])
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
            nearest, which = distances.topk(largest, largest=False)
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


def _power_of_two_below(numbers: Tensor) -> Tensor:
    """Return the largest powers of two that are not above positive whole numbers."""
    _, exponents = torch.frexp(numbers.float())
    return 2 ** (exponents.long() - 1)


def _filter(
    spectra: Tensor, guides: Tensor, groups: Groups, channels: int, stage: Stage
) -> tuple[Tensor, Tensor]:
    """Filter groups; return the weighted sum of each block's spectra and the sum of its weights."""
    variances = _constant(stage.variances.ravel(), spectra.device)
    total = torch.zeros_like(spectra)
    weights = spectra.new_zeros(len(spectra), channels)
    for size in groups.sizes.unique().tolist():
        blocks = groups.blocks[groups.sizes == size, :size]
        squares = _constant(_haar_squares(size), spectra.device)
        noise = 1 / squares.amax(1)[:, None, None]  # variance of each Haar coefficient
        thresholds = THRESHOLD * noise.sqrt() * variances.sqrt().repeat(channels)
        for part in blocks.split(_chunk(size * spectra.shape[1])):
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
            # This sorts the rows, so that sums repeat to the bit.
            total.index_put_((rows,), filtered.view(len(rows), -1), accumulate=True)
            weights.index_put_((rows,), weight.view(len(rows), -1), accumulate=True)
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


def _overlap(spectra: Tensor, images: int, strip: Strip, stage: Stage) -> Tensor:
    """Transform the spectra of all positions back, and add the windowed blocks: (N, C, H, W)."""
    inverse = np.linalg.inv(stage.transform)
    pixels = _constant(
        np.kron(inverse, inverse) * np.outer(WINDOW, WINDOW).reshape(-1, 1), spectra.device
    )
    spectra = spectra.view(images, strip.rows * strip.columns, -1, BLOCK**2)
    size = strip.rows + BLOCK - 1, strip.columns + BLOCK - 1
    channels = [F.fold(pixels @ channel.mT, size, BLOCK) for channel in spectra.unbind(2)]
    return torch.cat(channels, 1)


def _overlap_weights(weights: Tensor, images: int, strip: Strip) -> Tensor:
    """Add the windows of all positions, times the weights (N * L, C): shape (N, C, H, W)."""
    weights = weights.view(images, strip.rows, strip.columns, -1).permute(0, 3, 1, 2)
    window = _constant(np.outer(WINDOW, WINDOW), weights.device)[None, None]
    shape = (-1, 1, strip.rows, strip.columns)
    added = F.conv2d(weights.reshape(shape), window, padding=BLOCK - 1)  # it is symmetric
    return added.view(*weights.shape[:2], *added.shape[2:])


def _constant(array: np.ndarray, device: torch.device) -> Tensor:
    """Return an array as float32 on a device."""
    return torch.from_numpy(array.astype(np.float32)).to(device)


def _chunk(elements: int) -> int:
    """Return how many items of a number of elements are worked on at once."""
    return max(1, CHUNK // elements)
