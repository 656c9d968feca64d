"""Training by several processes: each has its share of every batch, and all take the same step.

With one process, which is how everything but a training under `torchrun` runs, nothing here
communicates. torch is imported where it is used.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dhl.errors import UserError

if TYPE_CHECKING:
    import torch


def _active() -> bool:
    """Tell whether a process group has been started."""
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()


def count() -> int:
    """Return the number of processes that train together."""
    from torch import distributed

    return distributed.get_world_size() if _active() else 1


def rank() -> int:
    """Return this process's place among them, from 0; the first one writes the files."""
    from torch import distributed

    return distributed.get_rank() if _active() else 0


def started() -> bool:
    """Tell whether this is one of several processes that `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def end_with_parent() -> None:
    """Let the kernel kill this process when the `torchrun` that started it ends, however it ends.

    `torchrun` holds the GPUs of its processes: none may train on when they are free for others.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_PR_SET_PDEATHSIG = 1  # prctl(2)


def local_place() -> int:
    """Return this process's place among those on this machine, from 0."""
    return int(os.environ["LOCAL_RANK"])


@contextmanager
def process_group(expected: int, *, device_type: str) -> Iterator[None]:
    """Join the processes that `torchrun` started; alone, do nothing.

    Parameters
    ----------
    expected : int
        The configuration's `processes`: weights depend on it in their last bits.
    device_type : str
        `cuda` talks by NCCL, all else by gloo.

    Raises
    ------
    UserError
        If another number was started.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != expected:
        raise UserError(
            "a training runs in as many processes as `processes` says.",
            came=f"{started} started, and `processes: {expected}`",
            do=f"start it by `dhl train`, which starts {expected}, or change `processes`.",
        )
    if expected == 1:
        yield
        return
    end_with_parent()
    from torch import distributed

    distributed.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def own_share(batch: int) -> slice:
    """Return which images of a batch are this process's: equal and contiguous shares.

    Raises
    ------
    UserError
        If the batch cannot be shared equally.
    """
    if batch % count():
        raise UserError(
            "a batch is shared equally by the processes.",
            came=f"a batch of {batch} and {count()} processes",
            do=f"make `batch` a multiple of {count()}, or change `processes`.",
        )
    share = batch // count()
    return slice(rank() * share, (rank() + 1) * share)


def whole_batch(images: torch.Tensor) -> torch.Tensor:
    """Return the images of all processes from their equal shares (N, ...), in the batch's order.

    Returns
    -------
    Tensor of shape (N * processes, ...)
        With the layout in memory that `images` has.
    """
    if count() == 1:
        return images
    import torch
    from torch import distributed

    images_in_order = images.contiguous()
    shares = [torch.empty_like(images_in_order) for _ in range(count())]
    distributed.all_gather(shares, images_in_order)
    whole = torch.cat(shares)
    if images.is_contiguous(memory_format=torch.channels_last):
        whole = whole.contiguous(memory_format=torch.channels_last)
    return whole


def normal_like(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw standard normal values for a share of images (N, ...), as one process would for all.

    Returns
    -------
    Tensor like `images`
        Its rows of the draw for the whole batch, whose layout in memory is that of `images`.
    """
    import torch

    if count() == 1:
        return torch.empty_like(images).normal_(generator=generator)
    whole = images.new_empty((len(images) * count(), *images.shape[1:]))
    if images.is_contiguous(memory_format=torch.channels_last):
        whole = whole.to(memory_format=torch.channels_last)
    return whole.normal_(generator=generator)[own_share(len(whole))]


def uniform_per_image(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw a value in [0, 1) for each image of a share (N, ...), as one process would for all.

    Returns
    -------
    Tensor of shape (N, 1, 1, 1)
    """
    import torch

    whole = len(images) * count()
    levels = torch.rand(whole, 1, 1, 1, generator=generator, device=images.device)
    return levels[own_share(whole)]
