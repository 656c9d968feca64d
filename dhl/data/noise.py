"""The noise of test and training images: white Gaussian noise, or a plug-in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dhl.config.plugins import described, load_plugin, running, wrong_result
from dhl.errors import UserError
from dhl.run.results import NOISE_COLUMNS, edited_by_hand, read_csv
from dhl.seeding import derive_seed
from dhl.sigma import GAUSSIAN, noise_std

if TYPE_CHECKING:
    import pandas as pd
    import torch


class NoiseRecord(Protocol):
    """A row of a run's noise file."""

    image_id: str
    seed: int
    sha256: str


def evaluation_seed(*, base_seed: int, dataset: str, image_id: str, sigma: float) -> int:
    """Return the seed of the noise of one test image."""
    return derive_seed(base_seed, "noise", dataset, image_id, float(sigma))


def evaluation_noise(shape: tuple[int, ...], *, sigma: float, seed: int) -> np.ndarray:
    """Draw the noise of one test image, which is the same for every method.

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
        On the [0, 1] scale. Drawn by NumPy on the CPU, so device and batch size do not matter.
    """
    draw = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return draw * np.float32(noise_std(sigma))


def noisy_image(clean: np.ndarray, *, sigma: float, seed: int, model: str = GAUSSIAN) -> np.ndarray:
    """Return a test image with its noise, float32, neither clipped nor quantised.

    Parameters
    ----------
    clean : ndarray of uint8, shape (H, W, 3)
    sigma : float
        Standard deviation on the 0-255 scale.
    seed : int
        From `evaluation_seed`.
    model : str
        `noise` of the configuration.

    Raises
    ------
    PluginError
        If a plug-in fails, or does not return an image of finite numbers.
    """
    if model != GAUSSIAN:
        return _plugin_noisy_image(model, clean, sigma=sigma, seed=seed)
    return clean.astype(np.float32) / np.float32(255) + evaluation_noise(
        clean.shape, sigma=sigma, seed=seed
    )


def _plugin_noisy_image(model: str, clean: np.ndarray, *, sigma: float, seed: int) -> np.ndarray:
    """Return a test image with the noise of a plug-in, drawn on the CPU by one thread."""
    import torch

    image = torch.from_numpy(clean.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None]
    std = torch.full((1, 1, 1, 1), noise_std(sigma))
    with _one_thread():
        noisy = _plugin_noise(model, image.contiguous(), std, torch.Generator().manual_seed(seed))
    if not noisy.isfinite().all():
        raise wrong_result(
            model, expected="finite numbers", came=f"NaN or infinite values at sigma {sigma:g}"
        )
    return np.ascontiguousarray(noisy[0].permute(1, 2, 0).numpy())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute in one thread: the number of threads can change the last bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def recorded_noisy_image(
    clean: np.ndarray, *, sigma: float, record: NoiseRecord, model: str = GAUSSIAN
) -> np.ndarray:
    """Return a test image with its recorded noise.

    Parameters
    ----------
    clean, sigma, model
        As in `noisy_image`.
    record : NoiseRecord
        A row of the noise file of the run.

    Raises
    ------
    UserError
        If the digest of the pixels differs from the recorded digest.
    """
    noisy = noisy_image(clean, sigma=sigma, seed=int(record.seed), model=model)
    if pixel_digest(noisy) != record.sha256:
        raise UserError(
            f"The noise of `{record.image_id}` differs from the recorded noise.",
            came=f"`{record.image_id}` at sigma {sigma:g} differs from its recorded digest",
            do="delete the run's `noise` folder and run again."
            if model == GAUSSIAN
            else f"let `{model}` draw from its generator only, and make and read the noise on one "
            "kind of processor with one version of torch.",
        )
    return noisy


def read_noise(path: Path, ids: Sequence[str]) -> pd.DataFrame:
    """Read the record of the noise of test images; it must have a row for each, in their order."""
    frame = read_csv(path, NOISE_COLUMNS)
    if frame["image_id"].tolist() != [str(name) for name in ids]:
        raise edited_by_hand(path, f"{len(frame)} records that are not those of {len(ids)} images")
    if frame["seed"].dtype.kind not in "iu":
        raise edited_by_hand(path, "seeds that are not whole numbers")
    if not frame["sha256"].str.fullmatch("[0-9a-f]{64}").all():
        raise edited_by_hand(path, "digests that are no SHA-256")
    return frame


def pixel_digest(image: np.ndarray) -> str:
    """Return the SHA-256 of an image's bytes."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def add_noise(
    clean: torch.Tensor,
    *,
    sigma: float | tuple[float, float],
    generator: torch.Generator,
    model: str = GAUSSIAN,
) -> torch.Tensor:
    """Add a configuration's noise to training images, without clipping.

    Parameters
    ----------
    clean, sigma, generator
        As in `add_gaussian_noise`.
    model : str
        `noise` of the configuration.

    Raises
    ------
    PluginError
        If a noise plug-in fails, or does not return images like `clean`.
    """
    if model == GAUSSIAN:
        return add_gaussian_noise(clean, sigma=sigma, generator=generator)
    import torch

    std = _std_per_image(clean, sigma, generator)
    # `torch.compile` does not trace plug-ins.
    compiling = torch.compiler.is_compiling()
    draw = torch.compiler.disable(_plugin_noise) if compiling else _plugin_noise
    return draw(model, clean, std, generator)


def _std_per_image(
    clean: torch.Tensor, sigma: float | tuple[float, float], generator: torch.Generator
) -> torch.Tensor:
    """Return the standard deviation of each image, (N, 1, 1, 1); draw it if sigma is a range."""
    import torch

    shape = (len(clean), 1, 1, 1)
    if not isinstance(sigma, tuple):
        return clean.new_full(shape, noise_std(sigma))
    low, high = (noise_std(bound) for bound in sigma)
    return low + (high - low) * torch.rand(shape, generator=generator, device=clean.device)


def _plugin_noise(
    model: str, clean: torch.Tensor, std: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Call a noise plug-in in float32, and check its result."""
    import torch

    function = load_plugin(model).function
    with running(model), torch.no_grad(), torch.autocast(clean.device.type, enabled=False):
        noisy = function(clean.clone(), noise_std=std, generator=generator)
    like = ("shape", "dtype", "device")
    if not (
        torch.is_tensor(noisy) and all(getattr(noisy, one) == getattr(clean, one) for one in like)
    ):
        raise wrong_result(
            model,
            expected=f"a tensor like `clean`: {described(clean)} on {clean.device}",
            came=described(noisy) + (f" on {noisy.device}" if torch.is_tensor(noisy) else ""),
        )
    return noisy


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
        If a sigma is neither 0 nor within [1, 255].

    References
    ----------
    .. [1] Liu et al., IJCAI 2018, Sec. 3.1.
    """
    import torch

    noise = torch.empty_like(clean).normal_(generator=generator)
    return clean + noise * _std_per_image(clean, sigma, generator)
