"""A trained denoiser on a picture of any size, in tiles so that memory stays bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from dhl import checkpoint
from dhl.data.folder import read_image
from dhl.device import find_device
from dhl.errors import UserError
from dhl.progress import Progress
from dhl.results import atomic_path

TILE = 256
MARGIN = 32  # more than the receptive field's reach, and a multiple of the network's 4


def denoise_file(source: Path, target: Path, *, model: Path, device: str = "auto") -> None:
    """Denoise a picture file.

    Parameters
    ----------
    source, target : Path
        The ending of `target` chooses its format.
    model : Path
        A denoiser trained by this project.
    device : str
        `auto`, `cpu`, `cuda`.

    Raises
    ------
    UserError
        If the picture or the model cannot be used, or `target` has no known ending.
    """
    if Image.registered_extensions().get(target.suffix.lower()) not in Image.SAVE:
        raise UserError(
            "the output's ending names a picture format.",
            came=f"{target}",
            do="end it with .png, which loses nothing.",
        )
    network, content = checkpoint.load_model(model)
    if content["role"] != "denoiser":
        raise UserError(
            "a picture is denoised by a denoiser.",
            came=f"{model} is a {content['role']}",
            do="name a model such as results/mini/models/separate/sigma30.pt.",
        )
    noisy = read_image(source).astype(np.float32) / 255
    place = find_device(device)
    denoised = denoise_tiles(network.to(place), noisy, device=place)
    picture = Image.fromarray(np.rint(np.clip(denoised, 0, 1) * 255).astype(np.uint8))
    with atomic_path(target) as temporary:
        picture.save(temporary, format=Image.registered_extensions()[target.suffix.lower()])


@torch.inference_mode()
def denoise_tiles(network: nn.Module, noisy: np.ndarray, *, device: torch.device) -> np.ndarray:
    """Denoise an image tile by tile; tiles overlap by more than the receptive field.

    Parameters
    ----------
    network : nn.Module
        A denoiser in evaluation mode.
    noisy : ndarray of float32, shape (H, W, 3), on [0, 1]
    device : torch.device

    Returns
    -------
    ndarray of float32, shape (H, W, 3), unclipped
        Equal to the whole image at once, to rounding.
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
