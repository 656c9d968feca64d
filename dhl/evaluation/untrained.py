"""Denoisers without training: CBM3D, `bm3d`, MCWNNM and plug-ins.

`bm3d` is the package of CBM3D's authors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dhl.config.plugins import described, load_plugin, wrong_result
from dhl.errors import UserError
from dhl.sigma import noise_std

# Profiles of the package: the algorithm for white noise, which the paper compared with, and that of
# 2020 with exact transform variances. `nf` is the size at which noise spectra are computed.
PROFILE_NF = {"cbm3d-package": 0, "cbm3d-2020": 32}
PACKAGE_BLOCK = 8  # the side of its blocks
# Pixels that are denoised at once.
BATCH_PIXELS = {"cpu": 2**15, "cuda": 2**20}

EqualImages = list[np.ndarray]  # images (H, W, 3) of equal size


def cbm3d_batch(noisy: EqualImages, *, sigma: float, device: str = "cpu") -> EqualImages:
    """Denoise images of equal size by `dhl.evaluation.cbm3d`.

    Parameters
    ----------
    noisy : list of ndarray of shape (H, W, 3), on the [0, 1] scale, unclipped
    sigma : float
        Standard deviation on the 0-255 scale.
    device : str

    Returns
    -------
    list of ndarray of float32, shape (H, W, 3), unclipped
    """
    from dhl.evaluation.cbm3d import cbm3d

    images = np.stack(noisy).astype(np.float32).transpose(0, 3, 1, 2)
    if device == "cpu":
        denoised = cbm3d(images, sigma=sigma)
    else:
        import torch

        denoised = cbm3d(torch.from_numpy(images).to(device), sigma=sigma).cpu().numpy()
    return list(np.ascontiguousarray(denoised.transpose(0, 2, 3, 1)))


def mcwnnm_batch(noisy: EqualImages, *, sigma: float, device: str = "cpu") -> EqualImages:
    """Denoise images of equal size by `dhl.evaluation.mcwnnm`, as `cbm3d_batch` by CBM3D."""
    import torch

    from dhl.evaluation.mcwnnm import mcwnnm

    images = torch.from_numpy(np.stack(noisy).astype(np.float32)).permute(0, 3, 1, 2)
    denoised = mcwnnm(images.to(device), sigma=sigma).permute(0, 2, 3, 1)
    return list(denoised.contiguous().cpu().numpy())


BATCHES: dict[str, Callable[..., EqualImages]] = {"cbm3d": cbm3d_batch, "mcwnnm": mcwnnm_batch}


def cbm3d_package(noisy: np.ndarray, *, sigma: float, profile: str = "cbm3d-package") -> np.ndarray:
    """Denoise one colour image by the package `bm3d`.

    Parameters
    ----------
    noisy : ndarray of shape (H, W, 3), on the [0, 1] scale, unclipped
    sigma : float
        Standard deviation on the 0-255 scale.
    profile : {"cbm3d-package", "cbm3d-2020"}

    Returns
    -------
    ndarray of float32, shape (H, W, 3), unclipped

    Raises
    ------
    UserError
        If a side has at most 8 pixels: the package ends the process there.

    References
    ----------
    .. [1] Dabov et al., Color image denoising via sparse 3D collaborative filtering, ICIP 2007.
    .. [2] Mäkinen et al., Collaborative filtering of correlated noise, IEEE TIP 29, 2020.
    """
    from bm3d import BM3DProfile, bm3d_rgb

    if min(noisy.shape[:2]) <= PACKAGE_BLOCK:
        raise UserError(
            f"The package `bm3d` needs images of more than {PACKAGE_BLOCK} px a side.",
            came=f"{noisy.shape[1]} x {noisy.shape[0]} px",
            do="use the method `cbm3d`, or leave the image out.",
        )
    settings = BM3DProfile()
    settings.nf = PROFILE_NF[profile]
    settings.num_threads = 1
    return bm3d_rgb(noisy.astype(np.float64), noise_std(sigma), settings).astype(np.float32)


def plugin_denoised(noisy: np.ndarray, *, sigma: float, reference: str) -> np.ndarray:
    """Denoise one colour image by a plug-in, and check the result.

    Parameters
    ----------
    noisy : ndarray of float32, shape (H, W, 3), on the [0, 1] scale, unclipped
    sigma : float
        Standard deviation on the 0-255 scale.
    reference : str
        As `path/to/file.py:function`.

    Returns
    -------
    ndarray of float32, shape (H, W, 3)

    Raises
    ------
    PluginError
        If the plug-in does not return an image of finite numbers of this shape.
    """
    denoised = load_plugin(reference).function(noisy.copy(), sigma=sigma)
    is_float_array = isinstance(denoised, np.ndarray) and denoised.dtype.kind == "f"
    if not is_float_array or denoised.shape != noisy.shape:
        expected = f"an array of floats of the image's shape, {noisy.shape}"
        raise wrong_result(reference, expected=expected, came=described(denoised))
    if not np.isfinite(denoised).all():
        raise wrong_result(reference, expected="finite numbers", came="NaN or infinite values")
    return denoised.astype(np.float32, copy=False)


def batch_pixels(device_type: str) -> int:
    """Return the largest number of pixels that are denoised at once on a kind of device."""
    return BATCH_PIXELS.get(device_type, BATCH_PIXELS["cuda"])
