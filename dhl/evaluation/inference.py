"""Denoise pictures of any size with bounded memory, band by band.

A tile is computed with all pixels that decide it: the result equals that of the complete image.
The authors' blocks are averaged where they overlap, including the errors at their borders.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dhl.config.folders import SUFFIXES, find_images
from dhl.errors import UserError
from dhl.evaluation.cbm3d import cbm3d
from dhl.evaluation.pictures import BYTES_PER_PIXEL, LARGEST_MARGIN, Picture, check_format
from dhl.models import checkpoint
from dhl.models.authors_input import MEAN_BGR
from dhl.models.padded_denoiser import border_of
from dhl.models.receptive_field import tile_margin
from dhl.progress import Progress
from dhl.training.device import find_device, is_out_of_memory, keep_freed_memory
from dhl.words import named

logger = logging.getLogger("dhl")

TILE = 256  # px; a multiple of `receptive_field.GRID`
# The authors' deployment: the input of a block has `network.border` more pixels on each side.
BLOCK = 134
STRIDE = 64
BLOCKS_AT_ONCE = 4
_CBM3D_BYTES = 170  # of memory per pixel, as measured

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
        If a picture or the model cannot be used, or `target` has no known extension. All other
        pictures of a folder are written.
    """
    pairs = _pictures_of_folder(source, target) if source.is_dir() else [(source, target)]
    for _, written in pairs:
        check_format(written)
    network = None if model is None else _load_denoiser(model)
    chosen = find_device(device)
    if chosen.type == "cpu":
        keep_freed_memory()
    if network is None:
        denoise, needed = partial(_cbm3d_bands, sigma=sigma or 0), _CBM3D_BYTES
    else:
        denoise, needed = partial(run or tile_bands, network.to(chosen)), BYTES_PER_PIXEL

    def write(read: Path, written: Path) -> None:
        picture = Picture.read(read, bytes_per_pixel=needed)
        size = picture.height, picture.width
        for first, rows in denoise(picture.rows, size, device=chosen):
            picture.replace(first, rows)
        picture.write(written)

    if source.is_dir():
        _write_all(pairs, write)
    else:
        write(source, target)


def _write_all(pairs: Sequence[tuple[Path, Path]], write: Callable[[Path, Path], None]) -> None:
    """Denoise each picture of a folder; raise at the end if some could not be used."""
    refused: list[str] = []
    for number, (read, written) in enumerate(pairs, 1):
        logger.info("%s: %d of %d", read.name, number, len(pairs))
        try:
            write(read, written)
        except (UserError, MemoryError) as error:
            reason = error if isinstance(error, UserError) else f"The memory is too small: {error}"
            logger.error("%s: %s", read.name, reason)
            refused.append(read.name)
    if refused:
        raise UserError(
            f"{len(refused)} of {len(pairs)} pictures are not denoised; the others are.",
            came=named(refused),
            do="see the reasons above, and run the command again with these pictures alone.",
        )


def _pictures_of_folder(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Pair each picture of a folder with the PNG that it is written to."""
    if source.resolve() == target.resolve() or target.is_file():
        raise UserError(
            "A folder of pictures is denoised into another folder.",
            came=f"{target} is {'a file' if target.is_file() else 'the same folder'}",
            do="name a new folder.",
        )
    found = find_images(source)
    if found.left_out:
        logger.warning("left out, as not a picture's name: %s", named(found.left_out))
    names = Counter(Path(name).stem for name in found.names)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UserError(
            f"Pictures in {source} would be written to one file.",
            came=f"`{twice[0]}` with several endings",
            do="rename them.",
        )
    if not names:
        raise UserError(
            f"The folder {source} has no picture directly in it.",
            came=f"no {', '.join(SUFFIXES)}",
            do="name the folder of the pictures, or a picture.",
        )
    return [(source / name, target / f"{Path(name).stem}.png") for name in found.names]


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


def _cbm3d_bands(
    noisy: Rows, size: tuple[int, int], *, device: torch.device, sigma: float
) -> Bands:
    """Yield an image denoised by CBM3D as one band: its parameters depend on the complete image."""
    batch = torch.from_numpy(noisy(0, size[0])).to(device).permute(2, 0, 1)[None]
    yield 0, cbm3d(batch, sigma=sigma)[0].permute(1, 2, 0).cpu().numpy()


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
                done = _apply(network, part[None].copy(), device)[0]
                result[:, x:right] = done[y - top : bottom - top, x - left : right - left]
                progress.advance()
            yield y, result


def _apply(network: Callable, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Apply a network to images (N, H, W, 3); a `UserError` if the memory does not suffice."""
    try:
        batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        return network(batch).permute(0, 2, 3, 1).cpu().numpy()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        height, width = images.shape[1:3]
        raise UserError(
            "A part of the picture does not fit the device's memory.",
            came=f"{width} x {height} px on {device}: {str(error).splitlines()[0]}",
            do="use `--device cpu`, or cut the picture." if device.type != "cpu"
            else "cut the picture, or use a machine with more memory.",
        ) from None  # fmt: skip


def _tile_and_margin(network: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """Return the side of the tiles and their margin, which holds all pixels that decide it."""
    if max(size) <= TILE:
        return TILE, 0
    margin = _margin(network)
    if margin is None or margin > LARGEST_MARGIN:  # every pixel may decide every other
        return max(size), 0
    return TILE, margin


@lru_cache(maxsize=1)
def _margin(network: nn.Module) -> int | None:
    """Return the margin of a network's tiles, measured once for all pictures of a folder."""
    return tile_margin(network)


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
                done = _apply(forward, parts, device)
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
