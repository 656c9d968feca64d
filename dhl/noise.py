"""White Gaussian noise; here alone sigma (0-255) becomes a standard deviation on [0, 1]."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dhl import processes
from dhl.errors import UserError
from dhl.seeding import derive_seed

if TYPE_CHECKING:
    import torch


class NoiseRecord(Protocol):
    """A row of the run's record of noise."""

    image_id: str
    seed: int
    sha256: str


def noise_std(sigma: float) -> float:
    """Convert a sigma on the 0-255 scale to a standard deviation on [0, 1].

    Raises
    ------
    UserError
        If `sigma` is negative, above 255, or looks like a [0, 1]-scale value (0 < sigma < 1).
    """
    if not (sigma == 0 or 1 <= sigma <= 255):
        raise UserError(
            "sigma is given on the 0-255 scale: 0, or from 1 to 255.",
            came=f"sigma {sigma:g}",
            do="multiply a [0, 1]-scale value by 255; the paper uses 15 to 60.",
        )
    return sigma / 255.0


def format_sigma(sigma: float) -> str:
    """Write sigma as it stands in file names: `15`, `25.5`."""
    return f"{sigma:g}"


def evaluation_seed(*, base_seed: int, dataset: str, image_id: str, sigma: float) -> int:
    """Return the seed of the noise of one test image: a pure function of its arguments."""
    return derive_seed(base_seed, "noise", dataset, image_id, float(sigma))


def evaluation_noise(shape: tuple[int, ...], *, sigma: float, seed: int) -> np.ndarray:
    """Draw the noise that every method sees on one test image.

    Parameters
    ----------
    shape : tuple of int
        Usually (H, W, 3).
    sigma : float
        Standard deviation on the 0-255 scale.
    seed : int
        From `evaluation_seed`.

    Returns
    -------
    ndarray of float32 with `shape`
        On the [0, 1] scale. Drawn by NumPy on the CPU, so neither the device nor the batch size
        can change it.
    """
    draw = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return draw * np.float32(noise_std(sigma))


def noisy_image(clean: np.ndarray, *, sigma: float, seed: int) -> np.ndarray:
    """Return a test image with its noise, float32, neither clipped nor quantised.

    Parameters
    ----------
    clean : ndarray of uint8, shape (H, W, 3)
    sigma : float
        Standard deviation on the 0-255 scale.
    seed : int
        From `evaluation_seed`.
    """
    return clean.astype(np.float32) / np.float32(255) + evaluation_noise(
        clean.shape, sigma=sigma, seed=seed
    )


def recorded_noisy_image(clean: np.ndarray, *, sigma: float, record: NoiseRecord) -> np.ndarray:
    """Return a test image with the noise that was recorded for it.

    Parameters
    ----------
    clean : ndarray of uint8, shape (H, W, 3)
    sigma : float
        Standard deviation on the 0-255 scale.
    record : named tuple
        A row of the run's noise file.

    Raises
    ------
    UserError
        If the pixels are not those whose digest was recorded.
    """
    noisy = noisy_image(clean, sigma=sigma, seed=int(record.seed))
    if pixel_digest(noisy) != record.sha256:
        raise UserError(
            "every method sees the same noisy pixels.",
            came=f"`{record.image_id}` at sigma {sigma:g} differs from its recorded digest",
            do="delete the run's `noise` folder and run again.",
        )
    return noisy


def pixel_digest(image: np.ndarray) -> str:
    """Return the SHA-256 of an image's bytes."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def add_gaussian_noise(
    clean: torch.Tensor, *, sigma: float | tuple[float, float], generator: torch.Generator
) -> torch.Tensor:
    """Add white Gaussian noise for training, without clipping.

    Parameters
    ----------
    clean : Tensor of shape (N, 3, H, W), values in [0, 1]
    sigma : float or pair of float
        Standard deviation on the 0-255 scale; a pair (low, high) draws one sigma per image,
        uniformly.
    generator : torch.Generator
        Source of the draw; must live on the device of `clean`.

    Returns
    -------
    Tensor of shape (N, 3, H, W)
        Not clipped and not quantised, as in the authors' training code.

    Raises
    ------
    UserError
        If a sigma is outside 0 or [1, 255].

    References
    ----------
    .. [1] Liu et al., IJCAI 2018, Sec. 3.1.
    """
    noise = processes.normal_like(clean, generator)
    if isinstance(sigma, tuple):
        low, high = (noise_std(bound) for bound in sigma)
        level = processes.uniform_per_image(clean, generator)
        return clean + noise * (low + (high - low) * level)
    return clean + noise * noise_std(sigma)
