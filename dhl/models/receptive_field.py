"""The size of a network, and the receptive field of a denoiser, measured."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

GRID = 32  # px; a multiple of the strides of a network, after which its rows repeat
LIMITS = (32, 64, 128)  # px; tried in turn: no deciding pixel may be so far away
LIMITS_OF_MARGINS = (*LIMITS, 256)  # a margin is measured faster than a field
TOLERANCE = 1e-5  # of rounding, relative to the largest value of an image

ImageMap = Callable[[Tensor], Tensor]

logger = logging.getLogger("dhl")


def receptive_field(denoiser: nn.Module) -> int | None:
    """Return how many pixels in a row or column decide one pixel of the output.

    Parameters
    ----------
    denoiser : nn.Module
        Maps (N, 3, H, W) to the same shape. It is not changed.

    Returns
    -------
    int or None
        The attribute `receptive_field` of the denoiser. Without one, the measured extent in px; for
        a network with strides, the largest over its phases. None if it is not known: a deciding
        pixel is 128 px away or more, or the denoiser cannot be measured.

    Notes
    -----
    Rows of NaN make every output NaN that reads them. Neither weights nor activations that are zero
    or constant hide a path. A network that replaces NaN is found by a second test: a part of an
    image must have the output of the complete image.
    """
    if (stated := getattr(denoiser, "receptive_field", None)) is not None:
        return stated
    return _measured(denoiser, _field_of_rows)


def tile_margin(denoiser: nn.Module) -> int | None:
    """Return how many pixels a tile needs on each side for the output of the complete image.

    A multiple of `GRID`, as tiles must start at one. It may be more than half of a measured
    receptive field: strides make fields that are longer on one side. None if it is not known.
    """
    stated = getattr(denoiser, "receptive_field", None)
    reach = (
        _measured(denoiser, _reach_of_rows, LIMITS_OF_MARGINS) if stated is None else stated // 2
    )
    return None if reach is None else -(-reach // GRID) * GRID


@torch.inference_mode()
def _measured(
    denoiser: nn.Module,
    measure: Callable[[ImageMap, int], int | None],
    limits: tuple[int, ...] = LIMITS,
) -> int | None:
    """Return the larger measure of rows and columns; None if one is not known."""
    try:
        network = copy.deepcopy(denoiser).cpu().eval()
        for limit in limits:
            rows = measure(network, limit)
            columns = measure(lambda image: network(image.mT.contiguous()).mT, limit)
            if rows is not None and columns is not None:
                return max(rows, columns)
    except Exception as error:  # a plug-in may raise anything, and its training must not be lost
        logger.warning("The receptive field was not measured: %s: %s", type(error).__name__, error)
    return None


def _reach_of_rows(network: ImageMap, limit: int) -> int | None:
    """Return how many rows before or after `GRID` rows depend on these; None from the limit on."""
    image = _image(2 * limit + GRID)
    image[:, :, limit : limit + GRID] = torch.nan
    reached = _rows_with_nan(network(image))[0].nonzero()
    if not len(reached):  # something replaces NaN
        return None
    reach = max(limit - int(reached.min()), int(reached.max()) - (limit + GRID - 1), 0)
    return reach if reach < limit and _parts_agree(network, limit, reach) else None


def _field_of_rows(network: ImageMap, limit: int) -> int | None:
    """Return how many rows decide a row of the output, the most over `GRID` phases."""
    if _reach_of_rows(network, limit) is None:
        return None
    phases = torch.arange(GRID)
    images = _image(2 * limit + GRID).repeat(GRID, 1, 1, 1)
    images[phases, :, limit + phases] = torch.nan  # one row in each image
    phase, row = _rows_with_nan(network(images)).nonzero().T
    offsets = limit + phase - row
    if offsets.abs().max() >= limit:
        return None
    first, last = torch.zeros(2, GRID, dtype=torch.long)
    first.scatter_reduce_(0, row % GRID, offsets, "amin")
    last.scatter_reduce_(0, row % GRID, offsets, "amax")
    return int((last - first).max()) + 1


def _parts_agree(network: ImageMap, limit: int, reach: int) -> bool:
    """Check that a part of an image has the output of the complete image, ends excepted."""
    image = _image(4 * limit + 3 * GRID - 5)  # odd, as some networks then pad both ends
    chosen, inside = slice(GRID, GRID + 4 * limit), slice(reach, 4 * limit - reach)
    expected = network(image)[:, :, chosen][:, :, inside]
    part = network(image[:, :, chosen].contiguous())[:, :, inside]
    return bool((part - expected).abs().max() <= TOLERANCE * expected.abs().max())


def _image(height: int) -> Tensor:
    """Return a narrow image of random pixels."""
    return torch.rand(1, 3, height, GRID, generator=torch.Generator().manual_seed(0))


def _rows_with_nan(images: Tensor) -> Tensor:
    """Return which rows of images have a NaN, of shape (N, H)."""
    return images.isnan().any(3).any(1)


def network_size(network: nn.Module, role: str) -> dict[str, int | None]:
    """Return the number of `parameters`, and the `receptive_field` of a denoiser in px."""
    return {
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "receptive_field": receptive_field(network) if role == "denoiser" else None,
    }
