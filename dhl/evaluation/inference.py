"""Denoise a picture of any size with bounded memory.

Tiles overlap by more than the receptive field, so the result equals that of the complete image.
The authors' blocks are averaged where they overlap, including the errors at their borders.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from dhl.data.folder import read_image
from dhl.errors import UserError
from dhl.evaluation.cbm3d import cbm3d
from dhl.files import atomic_path
from dhl.models import checkpoint
from dhl.models.authors_input import MEAN_BGR
from dhl.models.padded_denoiser import border_of
from dhl.progress import Progress
from dhl.training.device import find_device

TILE = 256
MARGIN = 32  # more than the radius of the receptive field, and a multiple of the network's stride 4
# The authors' deployment: the input of a block has `network.border` more pixels on each side.
BLOCK = 134
STRIDE = 64
BLOCKS_AT_ONCE = 4


def denoise_file(
    source: Path,
    target: Path,
    *,
    model: Path | None = None,
    sigma: float | None = None,
    device: str = "auto",
    run: Callable[..., np.ndarray] | None = None,
) -> None:
    """Denoise a picture file.

    Parameters
    ----------
    source, target : Path
        The extension of `target` chooses its format.
    model : Path, optional
        A model file of a denoiser; CBM3D denoises if there is none.
    sigma : float, optional
        Noise level of the picture on the 0-255 scale, for CBM3D.
    device : str
        `auto`, `cpu`, `cuda`.
    run : callable, optional
        `denoise_tiles`, the default, or `denoise_blockwise`.

    Raises
    ------
    UserError
        If the picture or the model cannot be used, or `target` has no known extension.
    """
    if Image.registered_extensions().get(target.suffix.lower()) not in Image.SAVE:
        raise UserError(
            f"The extension `{target.suffix}` does not name a picture format.",
            came=f"{target}",
            do="use .png, which loses nothing.",
        )
    network = None if model is None else _load_denoiser(model)
    noisy = read_image(source).astype(np.float32) / 255
    chosen = find_device(device)
    if network is not None:
        denoised = (run or denoise_tiles)(network.to(chosen), noisy, device=chosen)
    else:
        batch = torch.from_numpy(noisy).to(chosen).permute(2, 0, 1)[None]
        denoised = cbm3d(batch, sigma=sigma or 0)[0].permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(np.rint(np.clip(denoised, 0, 1) * 255).astype(np.uint8))
    with atomic_path(target) as temporary:
        picture.save(temporary, format=Image.registered_extensions()[target.suffix.lower()])


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
def denoise_tiles(network: nn.Module, noisy: np.ndarray, *, device: torch.device) -> np.ndarray:
    """Denoise an image tile by tile.

    Parameters
    ----------
    network : nn.Module
        A denoiser in evaluation mode.
    noisy : ndarray of float32, shape (H, W, 3), on [0, 1]
    device : torch.device

    Returns
    -------
    ndarray of float32, shape (H, W, 3), unclipped
        Equal to the result of the complete image, except for rounding.
    """
    height, width = noisy.shape[:2]
    result = np.empty_like(noisy)
    corners = [(y, x) for y in range(0, height, TILE) for x in range(0, width, TILE)]
    with Progress("denoising", len(corners)) as progress:
        for y, x in corners:
            top, left = max(0, y - MARGIN), max(0, x - MARGIN)
            part = noisy[top : y + TILE + MARGIN, left : x + TILE + MARGIN]
            batch = torch.from_numpy(part.copy()).to(device).permute(2, 0, 1)[None]
            done = network(batch)[0].permute(1, 2, 0).cpu().numpy()
            bottom, right = min(y + TILE, height), min(x + TILE, width)
            result[y:bottom, x:right] = done[y - top : bottom - top, x - left : right - left]
            progress.advance()
    return result


@torch.inference_mode()
def denoise_blockwise(network: nn.Module, noisy: np.ndarray, *, device: torch.device) -> np.ndarray:
    """Denoise an image as the authors' deployment does: sliding blocks, overlaps averaged.

    Parameters and result are those of `denoise_tiles`.

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
    sides = noisy.shape[:2]
    block = [min(BLOCK, side) for side in sides]
    extra = [-(side + 2 * border) % multiple for side in block]
    framed = _frame(noisy, border, extra)
    height, width = (side + 2 * border + more for side, more in zip(block, extra, strict=True))
    total, count = np.zeros(noisy.shape), np.zeros((*sides, 1))
    corners = [(y, x) for y in _starts(sides[0]) for x in _starts(sides[1])]
    with Progress("denoising", len(corners)) as progress:
        for begin in range(0, len(corners), BLOCKS_AT_ONCE):
            chosen = corners[begin : begin + BLOCKS_AT_ONCE]
            parts = np.stack([framed[y : y + height, x : x + width] for y, x in chosen])
            batch = torch.from_numpy(parts).to(device).permute(0, 3, 1, 2)
            done = forward(batch).permute(0, 2, 3, 1).cpu().numpy()
            for (y, x), one in zip(chosen, done, strict=True):
                area = slice(y, y + block[0]), slice(x, x + block[1])
                total[area] += one[: block[0], : block[1]]
                count[area] += 1
            progress.advance(len(chosen))
    return (total / count).astype(np.float32)


def _frame(noisy: np.ndarray, border: int, extra: list[int]) -> np.ndarray:
    """Add a frame in the authors' mean colour, `extra` pixels wider below and to the right."""
    colour = np.array(MEAN_BGR[::-1], np.float32) / 255
    height, width = noisy.shape[:2]
    framed = np.empty(
        (height + 2 * border + extra[0], width + 2 * border + extra[1], 3), np.float32
    )
    framed[:] = colour
    framed[border : border + height, border : border + width] = noisy
    return framed


def _starts(side: int) -> list[int]:
    """Return the first pixel of each block along a side."""
    return [*range(0, side - BLOCK, STRIDE), max(0, side - BLOCK)]
