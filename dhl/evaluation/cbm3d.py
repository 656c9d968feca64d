"""CBM3D: BM3D for colour images, on a CPU or a GPU.

The algorithm is that of Dabov et al. [1]_ [2]_ with the constants of the authors' package `bm3d`
for white noise; the PSNR is that of the package within hundredths of a dB. As in the papers, hard
thresholding of the noisy image gives a pilot, by which a Wiener filter then shrinks the noisy image
again. Each stage groups similar blocks, shrinks the 3-D spectrum of each group, and averages the
blocks where they overlap.

A CPU and a GPU need different programs: `cbm3d_cpu` filters one group after another in the cache of
a core, `cbm3d_gpu` all groups at once.

References
----------
.. [1] Dabov et al., Image denoising by sparse 3-D transform-domain collaborative filtering, IEEE
   TIP 16, 2007.
.. [2] Dabov et al., Color image denoising via sparse 3D collaborative filtering with grouping
   constraint in luminance-chrominance space, ICIP 2007.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dhl.errors import UserError
from dhl.evaluation.cbm3d_stages import BLOCK, HARD, WIENER, Stage
from dhl.sigma import noise_std

# Rows are the colour channels of [2]_, orthonormal: luminance first.
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


@torch.inference_mode()
def cbm3d(noisy: Tensor, *, sigma: float) -> Tensor:
    """Denoise images with white Gaussian noise.

    Parameters
    ----------
    noisy : Tensor of shape (N, 3, H, W), or (N, 1, H, W) for grey images
        On the [0, 1] scale, unclipped; at least 8 px a side.
    sigma : float
        Standard deviation of the noise on the 0-255 scale, above 0.

    Returns
    -------
    Tensor of float32, shape of `noisy`, unclipped

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
    colours = torch.eye(1) if noisy.shape[1] == 1 else torch.from_numpy(OPPONENT).float()
    colours = colours.to(noisy.device)
    # In units of the noise, around the mean: distances of blocks lose fewer digits.
    channels = torch.einsum("oc,nchw->nohw", colours, noisy.float() / std)
    mean = channels.mean((2, 3), keepdim=True)
    channels = channels - mean
    # TF32 keeps 10 of float32's 23 mantissa bits.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        pilot = _filtered(channels, channels, HARD)
        denoised = _filtered(channels, pilot, WIENER) + mean
    return torch.einsum("oc,nohw->nchw", colours, denoised) * std


def _filtered(noisy: Tensor, pilot: Tensor, stage: Stage) -> Tensor:
    """Filter channels (N, C, H, W) by a stage, in groups that are found in the pilot."""
    if noisy.device.type == "cpu":
        from dhl.evaluation.cbm3d_cpu import filter_groups
    else:
        from dhl.evaluation.cbm3d_gpu import filter_groups
    contrast = pilot[:, 0].amax((1, 2)) - pilot[:, 0].amin((1, 2))
    limits = (stage.distance * BLOCK**2 / 255**2 * contrast.square()).clamp(min=1e-12)
    return filter_groups(noisy, pilot, limits, stage)
