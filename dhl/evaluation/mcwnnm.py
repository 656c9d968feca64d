"""MCWNNM: multi-channel weighted nuclear norm minimization, with which Table 1 compares.

Groups of similar patches become matrices, one patch a column, its channels above each other. Each
matrix Y is replaced by a minimiser X of

    ||W (Y - X)||_F^2 + ||X||_{w,*}

where W weighs the rows of less noisy channels more, and the nuclear norm weighs a singular value by
its reciprocal. The patches are averaged where they overlap, and the image is denoised again, with a
part of the removed noise added back, as in all methods that iterate.

Groups are independent, so all of them are worked on at once, in chunks. The constants are those of
the authors' public code for synthetic noise with the noise variance in the weights (its model 1),
which have no unit and so fit every sigma.

References
----------
.. [1] Xu, Zhang, Zhang, Feng, Multi-channel Weighted Nuclear Norm Minimization for Real Color Image
   Denoising, ICCV 2017.
.. [2] Gu, Xie, Meng, Zuo, Feng, Zhang, Weighted Nuclear Norm Minimization and Its Applications to
   Low Level Vision, IJCV 121, 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from dhl.errors import UserError
from dhl.sigma import noise_std

PATCH = 6  # side in px
STEP = 5  # px between the patches around which groups are formed
REACH = 20  # positions in each direction that are searched for similar patches
GROUP_SIZES = (60, 60, 50, 50, 40, 40)  # patches of a group in each pass over the image
GROUPED = 2  # passes with the same groups
FEEDBACK = 0.1  # part of the removed noise that returns before each pass
NOISE_LEFT = 0.6  # lambda: factor of the estimated noise after the first pass
CONSTANT = 2 * math.sqrt(2)  # of the weights of singular values
PENALTY, PENALTY_GROWTH = 3.0, 1.001  # rho and mu of ADMM
ITERATIONS = 10  # of ADMM
# Numbers that are worked on at once: a CPU's cache is small.
CHUNKS = {"cpu": 2**19, "cuda": 2**26}


@torch.inference_mode()
def mcwnnm(noisy: Tensor, *, sigma: float) -> Tensor:
    """Denoise colour images with white Gaussian noise.

    Parameters
    ----------
    noisy : Tensor of shape (N, 3, H, W)
        On the [0, 1] scale, unclipped; at least 13 px a side.
    sigma : float
        Standard deviation of the noise on the 0-255 scale, above 0; the same in each channel.

    Returns
    -------
    Tensor of float32, shape (N, 3, H, W), unclipped

    Raises
    ------
    UserError
        If an image has fewer patches than a group, or sigma is not from 1 to 255.
    """
    rows, columns = (side - PATCH + 1 for side in noisy.shape[2:])
    if min(rows, columns) < math.isqrt(GROUP_SIZES[0]) + 1:
        least = math.isqrt(GROUP_SIZES[0]) + PATCH
        raise UserError(
            f"MCWNNM needs images of at least {least} px a side.",
            came=f"{noisy.shape[3]} x {noisy.shape[2]} px",
            do="leave the image out, or enlarge it.",
        )
    if noise_std(sigma) == 0:
        raise UserError("MCWNNM needs noise.", came="sigma 0", do="leave the image as it is.")
    return torch.stack([_denoised(one, sigma) for one in 255 * noisy.float()]) / 255


def _denoised(noisy: Tensor, sigma: float) -> Tensor:
    """Denoise one image (3, H, W) on the 0-255 scale."""
    noisy_patches = _patches(noisy)
    keys = _key_patches(noisy.shape[1] - PATCH + 1, noisy.shape[2] - PATCH + 1, noisy.device)
    image = noisy
    for number, size in enumerate(GROUP_SIZES):
        image = image + FEEDBACK * (noisy - image)
        patches = _patches(image)
        if number % GROUPED == 0:
            groups = _similar(patches, keys, noisy.shape[2] - PATCH + 1, size)
        removed = (noisy_patches - patches)[keys].view(len(keys), 3, -1).square().mean(2)
        noise = (sigma**2 - removed).clamp(min=0).sqrt() * (NOISE_LEFT if number else 1)
        image = _averaged(_shrunk(patches, groups, noise), groups, noisy.shape)
    return image


def _patches(image: Tensor) -> Tensor:
    """Return the patches at all positions, row by row: (positions, 3 * 36)."""
    return F.unfold(image[None], PATCH)[0].T.contiguous()


def _key_patches(rows: int, columns: int, device: torch.device) -> Tensor:
    """Return the positions of the patches around which groups are formed, (K,).

    Behind the last full step, every position counts, so that each pixel is in a group.
    """
    down, across = (
        torch.tensor(sorted({*range(0, count, STEP), *range((count - 1) // STEP * STEP, count)}))
        for count in (rows, columns)
    )
    return (down[:, None] * columns + across).flatten().to(device)


def _similar(patches: Tensor, keys: Tensor, columns: int, size: int) -> Tensor:
    """Return the positions of the patches most similar to each key, (K, size)."""
    rows = len(patches) // columns
    offset = torch.arange(-REACH, REACH + 1, device=keys.device)
    found = []
    for key in keys.split(max(1, _chunk(patches) // (len(offset) ** 2 * patches.shape[1]))):
        row = key[:, None] // columns + offset
        column = key[:, None] % columns + offset
        outside = ((row < 0) | (row >= rows))[:, :, None] | ((column < 0) | (column >= columns))[
            :, None
        ]
        window = (
            row.clamp(0, rows - 1)[:, :, None] * columns + column.clamp(0, columns - 1)[:, None]
        )
        distances = (patches[window.flatten(1)] - patches[key][:, None]).square().sum(2)
        distances.masked_fill_(outside.flatten(1), math.inf)
        distances[:, len(offset) ** 2 // 2] = -1  # the key itself, also among equal patches
        nearest = distances.topk(size, largest=False).indices
        found.append(window.flatten(1).gather(1, nearest))
    return torch.cat(found)


def _shrunk(patches: Tensor, groups: Tensor, noise: Tensor) -> Iterator[Tensor]:
    """Denoise groups; yields chunks of denoised patches (groups, size, 3 * 36), in order.

    `noise` is the standard deviation of each group's channels, (K, 3).
    """
    per_chunk = max(1, _chunk(patches) // (8 * groups.shape[1] * patches.shape[1]))
    for chunk, level in zip(groups.split(per_chunk), noise.split(per_chunk), strict=True):
        matrices = patches[chunk].mT  # (groups, 3 * 36, size)
        mean = matrices.mean(2, keepdim=True)
        yield (_low_rank(matrices - mean, level) + mean).mT


def _low_rank(noisy: Tensor, noise: Tensor) -> Tensor:
    """Minimise the objective for matrices (groups, 3 * 36, size) by ADMM, from zero.

    ADMM separates X, which is near Y, and Z, which has a small norm, and draws them together.
    """
    tiny = torch.finfo(noisy.dtype).eps
    least = noise.min(1, keepdim=True).values
    weights = ((least + tiny) / (noise + tiny)).repeat_interleave(PATCH**2, 1)[..., None] ** 2
    strength = CONSTANT * math.sqrt(noisy.shape[2]) * least**2
    low, multiplier, penalty = torch.zeros_like(noisy), torch.zeros_like(noisy), PENALTY
    for _ in range(ITERATIONS):
        half = penalty / 2
        near = (weights * noisy + half * low - multiplier / 2) / (weights + half)
        low = _shrink_singular_values(near + multiplier / penalty, 2 / penalty * strength)
        multiplier = multiplier + penalty * (near - low)
        penalty *= PENALTY_GROWTH
    return low


def _shrink_singular_values(matrices: Tensor, strength: Tensor) -> Tensor:
    """Minimise half of ||X - Z||_F^2 + the weighted norm of X, for matrices Z in closed form.

    A singular value s becomes (s + sqrt(s^2 - 4 c)) / 2, or 0 if s^2 < 4 c: Gu et al., Corollary 1.
    The right singular vectors are the eigenvectors of the small product Z^T Z.
    """
    squares, vectors = torch.linalg.eigh(matrices.mT @ matrices)
    roots = (squares - 4 * strength).clamp(min=0).sqrt()
    values = squares.clamp(min=torch.finfo(squares.dtype).tiny).sqrt()
    kept = squares > 4 * strength
    factors = torch.where(kept, (values + roots) / (2 * values), 0)
    return matrices @ (vectors * factors[:, None]) @ vectors.mT


def _averaged(chunks: Iterator[Tensor], groups: Tensor, shape: torch.Size) -> Tensor:
    """Average denoised patches where they overlap; returns the image (3, H, W)."""
    height, width = shape[1:]
    positions = (height - PATCH + 1) * (width - PATCH + 1)
    patches = torch.cat([chunk.flatten(0, 1) for chunk in chunks])
    total = patches.new_zeros(positions, patches.shape[1]).index_add_(0, groups.flatten(), patches)
    count = torch.bincount(groups.flatten(), minlength=positions).to(total)
    summed = F.fold(total.T[None], (height, width), PATCH)[0]
    return summed / F.fold(count.repeat(PATCH**2, 1)[None], (height, width), PATCH)[0]


def _chunk(patches: Tensor) -> int:
    """Return how many numbers are worked on at once."""
    return CHUNKS.get(patches.device.type, CHUNKS["cuda"])
