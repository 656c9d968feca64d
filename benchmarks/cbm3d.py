"""CBM3D here against the package `bm3d`: PSNR, time and memory, side by side in one run.

Reads Kodak's images (`dhl data download kodak`, or a folder with them). Each size takes crops of
them; both versions denoise the same noisy pixels in turn, with one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio

from dhl.data.folder import read_image
from dhl.evaluation.baseline import equal_batches
from dhl.evaluation.untrained import batch_pixels, cbm3d_batch, cbm3d_package
from dhl.training.device import device_name, find_device

SIZES = (32, 64, 128, 256)  # px; crops of 32 and 64 px are denoised in batches
ROUNDS = 5  # both versions in turn; the fastest round of each counts


def crops(images: list[np.ndarray], side: int, count: int) -> list[np.ndarray]:
    """Cut the centre of the first images, and further crops below and beside it if needed."""
    found = []
    for offset in range(0, 256, side):
        for image in images:
            top, left = 128 + offset // 2, 64 + offset
            found.append(image[top : top + side, left : left + side])
    return found[:count]


def noisy_images(clean: list[np.ndarray], sigma: float) -> list[np.ndarray]:
    """Add noise to images on [0, 1]."""
    generator = np.random.default_rng(0)
    return [image + generator.normal(0, sigma / 255, image.shape) for image in clean]


def psnr(clean: list[np.ndarray], denoised: list[np.ndarray]) -> np.ndarray:
    """Return the PSNR of each image in dB; denoised images are clipped."""
    pairs = zip(clean, denoised, strict=True)
    return np.array(
        [peak_signal_noise_ratio(a, np.clip(b, 0, 1).astype(float), data_range=1) for a, b in pairs]
    )


def denoised_here(noisy: list[np.ndarray], sigma: float, device: torch.device) -> list[np.ndarray]:
    """Denoise images in the batches of a run."""
    batches = equal_batches(iter(noisy), batch_pixels(device.type))
    return [
        image for batch in batches for image in cbm3d_batch(batch, sigma=sigma, device=str(device))
    ]


def fastest(functions: dict[str, Callable[[], object]], device: torch.device) -> dict[str, float]:
    """Measure functions in turn; return the seconds of the fastest round of each."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(ROUNDS):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize()
            best[name] = min(best[name], time.perf_counter() - begin)
    return best


def measure(images: list[np.ndarray], side: int, sigma: float, device: torch.device) -> dict:
    """Compare both versions on crops of one size."""
    count = {32: 64, 64: 24}.get(side, 24 if device.type == "cuda" else 4)
    clean = crops(images, side, count)
    noisy = noisy_images(clean, sigma)
    few = noisy[: max(1, 2**16 // side**2)]
    here, package = (
        denoised_here(noisy, sigma, device),
        [cbm3d_package(x, sigma=sigma) for x in noisy],
    )
    gaps = psnr(clean, here) - psnr(clean, package)
    seconds = fastest(
        {
            "here": lambda: denoised_here(few, sigma, device),
            "package": lambda: [cbm3d_package(image, sigma=sigma) for image in few],
        },
        device,
    )
    each = {name: value / len(few) for name, value in seconds.items()}
    return {
        "side": side,
        "sigma": sigma,
        "images": len(clean),
        "psnr_here": round(float(psnr(clean, here).mean()), 4),
        "psnr_package": round(float(psnr(clean, package).mean()), 4),
        "largest_gap": round(float(np.abs(gaps).max()), 4),
        "seconds_here": round(each["here"], 5),
        "seconds_package": round(each["package"], 5),
        "ratio": round(each["package"] / each["here"], 2),
    }


def whole_images(images: list[np.ndarray], sigma: float, device: torch.device) -> dict:
    """Denoise whole images here alone."""
    noisy = noisy_images(images, sigma)
    begin = time.perf_counter()
    denoised = denoised_here(noisy, sigma, device)
    seconds = time.perf_counter() - begin
    return {
        "images": len(images),
        "sigma": sigma,
        "psnr": round(float(psnr(images, denoised).mean()), 4),
        "seconds_an_image": round(seconds / len(images), 3),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Print one JSON line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with Kodak's images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--whole", type=int, default=0, help="whole images to denoise too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = find_device(arguments.device)
    paths = sorted(arguments.folder.glob("*.png"))
    images = [read_image(path) / 255 for path in paths]
    print(json.dumps({"device": device_name(device), "torch": torch.__version__}), flush=True)
    for sigma in (25, 50):
        if arguments.whole:
            row = whole_images(images[: arguments.whole], sigma, device)
            print(json.dumps(row), flush=True)
        for side in arguments.sizes:
            print(json.dumps(measure(images, side, sigma, device)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
