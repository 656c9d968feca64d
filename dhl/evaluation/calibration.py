"""Published denoisers through the noise and the metric of this project, on Kodak's images.

What a paper reports about a denoiser and what is measured here agree only if noise, protocol and
PSNR do. Only `benchmarks/calibration.py` and tests use this module.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from dhl.data.image_set import ImageSet
from dhl.data.noise import evaluation_seed, noisy_image
from dhl.evaluation.metrics import image_psnr
from dhl.progress import Progress

Denoise = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) on [0, 1], unclipped

PROTOCOLS = ("plain", "authors")
SEED_NAME = "kodak24"  # the name of Kodak's images in the noise seeds of this project's runs
CROP = 500  # px, the side of the literature's Kodak24


def centre_crop(image: np.ndarray) -> np.ndarray:
    """Cut the 500 x 500 px in the centre of an image (H, W, 3).

    References
    ----------
    .. [1] The files of testsets/Kodak24 in github.com/cszn/FFDNet at e787f46 have these pixels.
    """
    top, left = ((side - CROP) // 2 for side in image.shape[:2])
    return image[top : top + CROP, left : left + CROP]


REGIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "full": lambda image: image,
    "crop": centre_crop,
}


def measure(
    denoise: Denoise, images: ImageSet, *, sigma: float, base_seed: int, region: str
) -> dict[str, float]:
    """Return the mean PSNR of a denoiser in each protocol.

    Parameters
    ----------
    denoise : callable
        Maps a noisy image, float32 (H, W, 3) on [0, 1], unclipped, to a denoised one.
    images : ImageSet
        Clean images. Their names and `base_seed` determine the noise.
    sigma : float
        Standard deviation on the 0-255 scale.
    base_seed : int
    region : {"full", "crop"}
        A crop is cut before the noise is added, as in the literature.

    Returns
    -------
    dict
        PSNR in dB by protocol: `plain` and `authors`.
    """
    scores: dict[str, list[float]] = {protocol: [] for protocol in PROTOCOLS}
    with Progress(f"sigma {sigma:g}, {region}", len(images.ids)) as progress:
        for image_id, image in zip(images.ids, images.images, strict=True):
            seed = evaluation_seed(
                base_seed=base_seed, dataset=SEED_NAME, image_id=image_id, sigma=sigma
            )
            clean = REGIONS[region](image)
            denoised = denoise(noisy_image(clean, sigma=sigma, seed=seed))
            for protocol in PROTOCOLS:
                score = image_psnr(clean=clean, denoised=denoised, protocol=protocol)
                scores[protocol].append(score)
            progress.advance()
    return {protocol: float(np.mean(values)) for protocol, values in scores.items()}


def denoise_with(network: nn.Module) -> Denoise:
    """Return a function that denoises complete images by a network on the CPU."""
    network = network.to(memory_format=torch.channels_last)  # twice as fast on a CPU

    @torch.inference_mode()
    def denoise(noisy: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(noisy).permute(2, 0, 1)[None]
        return network(batch)[0].permute(1, 2, 0).numpy()

    return denoise
