"""The PSNR that small tiles cost CBM3D and a trained denoiser, against whole photographs.

Both denoise the same noisy pixels of Kodak's images: whole, and cut into tiles of each side. PSNR
is over all pixels of an image, and the printed value is the mean over images.

    python benchmarks/tiles.py datasets/kodak results/mini/models/separate/sigma30.pt --sigma 30
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio

from dhl.data.folder import read_image
from dhl.evaluation.cbm3d import cbm3d
from dhl.evaluation.evaluate import forward
from dhl.models.checkpoint import load_model

SIDES = (32, 64, 128)  # px; they divide 512 and 768


def in_tiles(denoise: Callable, noisy: np.ndarray, side: int) -> np.ndarray:
    """Denoise an image (H, W, 3) in tiles of `side` px, and put them together again."""
    down, across = (length // side for length in noisy.shape[:2])
    tiles = noisy.reshape(down, side, across, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    denoised = denoise(tiles).transpose(0, 2, 3, 1)
    return denoised.reshape(down, across, side, side, 3).swapaxes(1, 2).reshape(noisy.shape)


def mean_psnr(denoise: Callable, images: list[np.ndarray], sigma: float, side: int | None) -> float:
    """Return the mean PSNR in dB over images on [0, 1]; without a `side` they stay whole."""
    generator = np.random.default_rng(0)
    values = []
    for clean in images:
        noisy = (clean + generator.normal(0, sigma / 255, clean.shape)).astype(np.float32)
        if side is None:
            denoised = denoise(noisy[None])[0].transpose(1, 2, 0)
        else:
            denoised = in_tiles(denoise, noisy, side)
        clipped = np.clip(denoised, 0, 1).astype(float)
        values.append(peak_signal_noise_ratio(clean, clipped, data_range=1))
    return float(np.mean(values))


def main() -> None:
    """Print one JSON line per method and side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with Kodak's images")
    parser.add_argument("model", type=Path, help="model file of a denoiser for this sigma")
    parser.add_argument("--sigma", type=float, default=30)
    parser.add_argument("--images", type=int, default=24)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted(arguments.folder.glob("*.png"))[: arguments.images]
    images = [read_image(path) / 255 for path in paths]
    network, cpu = load_model(arguments.model)[0].eval(), torch.device("cpu")
    methods: dict[str, Callable] = {
        "cbm3d": lambda noisy: cbm3d(noisy.transpose(0, 3, 1, 2), sigma=arguments.sigma),
        "denoiser": lambda noisy: forward(network, noisy, cpu),
    }
    for name, denoise in methods.items():
        for side in (None, *SIDES):
            psnr = mean_psnr(denoise, images, arguments.sigma, side)
            row = {"method": name, "side": side or "whole", "psnr": round(psnr, 3)}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    sys.exit(main())
