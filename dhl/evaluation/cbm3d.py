"""CBM3D: BM3D for colour images, on a CPU or a GPU.

The algorithm is that of Dabov et al. [1]_ [2]_ with the constants of the authors' package `bm3d`
for white noise; the PSNR is that of the package within hundredths of a dB. As in the papers, hard
thresholding of the noisy image gives a pilot, by which a Wiener filter then shrinks the noisy image
again. Each stage groups similar blocks, shrinks the 3-D spectrum of each group, and averages the
blocks where they overlap.

A CPU and a GPU need different programs: `cbm3d_cpu` filters one group after another in the cache of
a core, `cbm3d_gpu` all groups at once. Arrays are denoised without torch, whose import takes longer
than a hundred small images.

References
----------
.. [1] Dabov et al., Image denoising by sparse 3-D transform-domain collaborative filtering, IEEE
   TIP 16, 2007.
.. [2] Dabov et al., Color image denoising via sparse 3D collaborative filtering with grouping
   constraint in luminance-chrominance space, ICIP 2007.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from dhl.errors import UserError
from dhl.evaluation.cbm3d_stages import BLOCK, HARD, WIENER, Stage
from dhl.sigma import noise_std

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", "np.ndarray", "Tensor")

# Rows are the colour channels of [2]_, orthonormal: luminance first.
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


def cbm3d(noisy: Array, *, sigma: float) -> Array:
    """Denoise images with white Gaussian noise.

    Parameters
    ----------
    noisy : ndarray or Tensor of shape (N, 3, H, W), or (N, 1, H, W) for grey images
        On the [0, 1] scale, unclipped; at least 8 px a side. A tensor is denoised on its device.
    sigma : float
        Standard deviation of the noise on the 0-255 scale, above 0.

    Returns
    -------
    ndarray or Tensor of float32, shape of `noisy`, unclipped

    Raises
    ------
    UserError
        If the images are smaller than a block, or sigma is not from 1 to 255.

    Notes
    -----
    On one device, equal batches give equal bits; on a CPU, an image is the same in any batch. Near
    ties among similar blocks can be decided differently on other devices.
    """
    if min(noisy.shape[2:]) < BLOCK:
        raise UserError(
            f"CBM3D needs images of at least {BLOCK} px a side.",
            came=f"{noisy.shape[3]} x {noisy.shape[2]} px",
            do="leave the image out, or enlarge it.",
        )
    std = noise_std(sigma)
    if std == 0:
        raise UserError("CBM3D needs noise.", came="sigma 0", do="leave the image as it is.")
    opponent = (np.eye(1) if noisy.shape[1] == 1 else OPPONENT).astype(np.float32)
    if isinstance(noisy, np.ndarray):
        from dhl.evaluation import cbm3d_cpu  # a GPU needs no Numba

        images = noisy.astype(np.float32)
        return _denoised(images, opponent, std=std, filter_groups=cbm3d_cpu.filter_groups)
    import torch

    from dhl.evaluation import cbm3d_gpu

    if noisy.device.type == "cpu":
        return torch.from_numpy(cbm3d(noisy.detach().numpy(), sigma=sigma))
    colours = torch.from_numpy(opponent).to(noisy.device)
    # TF32 keeps 10 of float32's 23 mantissa bits.
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
    ):
        return _denoised(noisy.float(), colours, std=std, filter_groups=cbm3d_gpu.filter_groups)


def _denoised(
    noisy: Array,
    opponent: Array,
    *,
    std: float,
    filter_groups: Callable[[Array, Array, Stage], Array],
) -> Array:
    """Denoise images (N, C, H, W) in both stages, in opponent colours."""
    pixels = (*noisy.shape[:2], -1)
    # In units of the noise, around the mean: distances of blocks lose fewer digits.
    channels = opponent @ (noisy / std).reshape(pixels)
    mean = channels.mean(-1)[..., None]
    channels = (channels - mean).reshape(noisy.shape)
    pilot = filter_groups(channels, channels, HARD)
    denoised = filter_groups(channels, pilot, WIENER).reshape(pixels) + mean
    return (opponent.T @ denoised).reshape(noisy.shape) * std
