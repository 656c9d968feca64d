"""Denoise pictures of any size with bounded memory, band by band.

A tile is computed with all pixels that decide it: the result equals that of the complete image.
The authors' blocks are averaged where they overlap, including the errors at their borders.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dhl.data.folder import picture_files
from dhl.errors import UserError
from dhl.evaluation.cbm3d import cbm3d
from dhl.evaluation.pictures import LARGEST_MARGIN, Picture, check_format
from dhl.models import checkpoint
from dhl.models.authors_input import MEAN_BGR
from dhl.models.padded_denoiser import border_of
from dhl.models.receptive_field import tile_margin
from dhl.progress import Progress
from dhl.training.device import find_device, keep_freed_memory

logger = logging.getLogger("dhl")

TILE = 256  # px; a multiple of `receptive_field.GRID`
# The authors' deployment: the input of a block has `network.border` more pixels on each side.
BLOCK = 134
STRIDE = 64
BLOCKS_AT_ONCE = 4

# Returns the rows from the first number up to the second one, float32 (rows, W, 3) on [0, 1].
Rows = Callable[[int, int], np.ndarray]
# The first row and the denoised rows of a band, float32 (rows, W, 3), unclipped.
Bands = Iterator[tuple[int, np.ndarray]]


def denoise_pictures(
    source: Path,
    target: Path,
    *,
    model: Path | None = None,
    sigma: float | None = None,
    device: str = "auto",
    run: Callable[..., Bands] | None = None,
) -> None:
    """Denoise a picture or a folder of them; orientations are applied, other metadata kept.

    Parameters
    ----------
    source, target : Path
        Two files, where the extension of `target` chooses its format; or two folders: each picture
        directly in `source` is written to `target` as PNG, under its name.
    model : Path, optional
        A model file of a denoiser; CBM3D denoises if there is none.
    sigma : float, optional
        Noise level of the picture on the 0-255 scale, for CBM3D.
    device : str
        `auto`, `cpu`, `cuda`.
    run : callable, optional
        `tile_bands`, the default, or `block_bands`.

    Raises
    ------
    UserError
        If a picture or the model cannot be used, or `target` has no known extension. The pictures
        of a folder that come before it are written.
    """
    pairs = _pictures_of_folder(source, target) if source.is_dir() else [(source, target)]
    for _, written in pairs:
        check_format(written)
    network = None if model is None else _load_denoiser(model)
    chosen = find_device(device)
    if chosen.type == "cpu":
        keep_freed_memory()
    if network is not None:
        network.to(chosen)
    for number, (read, written) in enumerate(pairs, 1):
        if len(pairs) > 1:
            logger.info("%s: %d of %d", read.name, number, len(pairs))
        picture = Picture.read(read)
        size = picture.height, picture.width
        if network is not None:
            bands = (run or tile_bands)(network, picture.rows, size, device=chosen)
        else:
            batch = torch.from_numpy(picture.rows(0, size[0])).to(chosen).permute(2, 0, 1)[None]
            bands = iter([(0, cbm3d(batch, sigma=sigma or 0)[0].permute(1, 2, 0).cpu().numpy())])
        for first, rows in bands:
            picture.replace(first, rows)
        picture.write(written)


def _pictures_of_folder(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Pair each picture of a folder with the PNG that it is written to."""
    if source.resolve() == target.resolve() or target.is_file():
        raise UserError(
            "A folder of pictures is denoised into another folder.",
            came=f"{target} is {'a file' if target.is_file() else 'the same folder'}",
            do="name a new folder.",
        )
    pairs = [(path, target / f"{path.stem}.png") for path in picture_files(source)]
    if twice := [a.stem for (a, _), (b, _) in pairwise(pairs) if a.stem == b.stem]:
        raise UserError(
            f"Two pictures in {source} would be written to one file.",
            came=f"`{twice[0]}` with two endings",
            do="rename one of them.",
        )
    return pairs


def _load_denoiser(model: Path) -> nn.Module:
    """Load a model file, which must contain a denoiser."""
    network, content = checkpoint.load_model(model)
    if content["role"] != "denoiser":
        raise UserError(
            f"The model is a {content['role']}, not a denoiser.",
            came=f"{model}",
            do="name a model such as results/mini/models/separate/sigma30.pt.",
        )
    return network


@torch.inference_mode()
def tile_bands(
    network: nn.Module, noisy: Rows, size: tuple[int, int], *, device: torch.device
) -> Bands:
    """Yield a denoised image in bands of tiles, from the top.

    Parameters
    ----------
    network : nn.Module
        A denoiser in evaluation mode.
    noisy : callable
        Returns rows of the image from the first to before the last, on [0, 1].
    size : (int, int)
        Height and width of the image.
    device : torch.device

    Yields
    ------
    int, ndarray
        The first row of a band, and its rows, unclipped: those of the complete image, except for
        rounding.
    """
    height, width = size
    side, margin = _tile_and_margin(network, size)
    starts = range(0, width, side)
    with Progress("denoising", len(range(0, height, side)) * len(starts)) as progress:
        for y in range(0, height, side):
            top, bottom = max(0, y - margin), min(y + side, height)
            band = noisy(top, min(y + side + margin, height))
            result = np.empty((bottom - y, width, 3), np.float32)
            for x in starts:
                left, right = max(0, x - margin), min(x + side, width)
                part = band[:, left : x + side + margin]
                batch = torch.from_numpy(part.copy()).to(device).permute(2, 0, 1)[None]
                done = network(batch)[0].permute(1, 2, 0).cpu().numpy()
                result[:, x:right] = done[y - top : bottom - top, x - left : right - left]
                progress.advance()
            yield y, result


def _tile_and_margin(network: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """Return the side of the tiles and their margin, which holds all pixels that decide it."""
    if max(size) <= TILE:
        return TILE, 0
    margin = tile_margin(network)
    if margin is None or margin > LARGEST_MARGIN:  # every pixel may decide every other
        return max(size), 0
    return TILE, margin


@torch.inference_mode()
def block_bands(
    network: nn.Module, noisy: Rows, size: tuple[int, int], *, device: torch.device
) -> Bands:
    """Yield an image denoised as the authors' deployment does: sliding blocks, overlaps averaged.

    Parameters are those of `tile_bands`.

    Notes
    -----
    As in the released code, the image gets a frame of the network's border (3 px) in the mean
    colour, which is zero on the authors' scale. Blocks of 134 px at stride 64 are computed from
    inputs of 140 px; the last block ends at the image's edge. A side below 134 px is one block. If
    its input is not a multiple of 4, the frame is extended at its end; the released code fails.

    The authors computed PSNR on images denoised in this way; the evaluation here denoises complete
    images. Both agree wherever no block ends within the receptive field.
    """
    forward = getattr(network, "forward_unpadded", network)
    border, multiple = border_of(network), getattr(network, "multiple", 1)
    rows, columns = (min(BLOCK, side) for side in size)
    input_rows, input_columns = (
        side + 2 * border + -(side + 2 * border) % multiple for side in (rows, columns)
    )
    tops, lefts = _starts(size[0]), _starts(size[1])
    total, count = np.zeros((rows, size[1], 3)), np.zeros((rows, size[1], 1))
    with Progress("denoising", len(tops) * len(lefts)) as progress:
        for y, following in zip(tops, [*tops[1:], size[0]], strict=True):
            columns_more = input_columns - columns
            band = _framed(noisy, size, border, y, rows=input_rows, columns=columns_more)
            for begin in range(0, len(lefts), BLOCKS_AT_ONCE):
                chosen = lefts[begin : begin + BLOCKS_AT_ONCE]
                parts = np.stack([band[:, x : x + input_columns] for x in chosen])
                batch = torch.from_numpy(parts).to(device).permute(0, 3, 1, 2)
                done = forward(batch).permute(0, 2, 3, 1).cpu().numpy()
                for x, one in zip(chosen, done, strict=True):
                    total[:, x : x + columns] += one[:rows, :columns]
                    count[:, x : x + columns] += 1
                progress.advance(len(chosen))
            final = following - y  # rows that no later block reaches
            yield y, (total[:final] / count[:final]).astype(np.float32)
            for sums in (total, count):
                sums[: rows - final] = sums[final:]
                sums[rows - final :] = 0


def _framed(
    noisy: Rows, size: tuple[int, int], border: int, y: int, *, rows: int, columns: int
) -> np.ndarray:
    """Return rows from row `y` of an image in a frame of the authors' mean colour.

    The frame begins `border` before the image, and has `columns` more columns than it.
    """
    height, width = size
    colour = np.array(MEAN_BGR[::-1], np.float32) / 255
    framed = np.empty((rows, width + columns, 3), np.float32)
    framed[:] = colour
    top, bottom = max(0, y - border), min(height, y - border + rows)
    begin = top - (y - border)
    framed[begin : begin + bottom - top, border : border + width] = noisy(top, bottom)
    return framed


def _starts(side: int) -> list[int]:
    """Return the first pixel of each block along a side."""
    return [*range(0, side - BLOCK, STRIDE), max(0, side - BLOCK)]
