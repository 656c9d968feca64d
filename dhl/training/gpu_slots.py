"""Slots on the GPUs of one machine, so that two jobs share a GPU only where both ask for that.

A GPU has twelve parts. A job takes all of them, or its share where it says that so many may be on
one GPU. A part is a name that one process of the machine can hold: an abstract Unix socket, which
the kernel frees when the process ends, even if it is killed. So nothing is left behind and nobody
cleans up. Containers with a network of their own have slots of their own.

References
----------
.. [1] unix(7), "Address format": abstract sockets.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

logger = logging.getLogger("dhl")
PAUSE_SECONDS = 0.5
PARTS = 12  # shares of a half, a third, a quarter and a sixth are whole


def gpus_of_this_machine() -> int:
    """Count the GPUs that jobs started here may use: NVIDIA's that are visible; loads no torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


@contextmanager
def gpu_slots(
    gpus: Sequence[str], *, count: int = 1, jobs_per_gpu: int = 1
) -> Iterator[tuple[int, ...]]:
    """Hold a slot on each of `count` different GPUs; wait until there are as many.

    Who waits for several keeps those that it has. Of those that wait for several of the same GPUs
    one takes at a time: two that want all do not block each other for ever.

    Parameters
    ----------
    gpus : sequence of str
        Names that every process of the machine knows the GPUs by.
    count : int
        At most as many as there are GPUs.
    jobs_per_gpu : int
        With how many like it a job may be on one GPU: 1, 2, 3, 4, 6 or 12. An empty GPU is taken
        before one that is shared.

    Yields
    ------
    tuple of int
        Places in `gpus`, in rising order.
    """
    share = PARTS // jobs_per_gpu
    with ExitStack() as held:
        taken: set[int] = set()

        def enough() -> bool:
            for needed in (PARTS, share):  # first a GPU that is empty
                for place, name in enumerate(gpus):
                    if place not in taken and len(taken) < count and _fits(name, needed):
                        taken.update([place] if _take_parts(name, share, held) else [])
            return len(taken) == count

        with ExitStack() as turns:
            for name in sorted(gpus) if count > 1 else ():
                _wait_for(lambda name=name: _take(f"{name}-turn", turns), "its turn")
            _wait_for(enough, f"{count} of {len(gpus)} GPUs")
        yield tuple(sorted(taken))


def _fits(gpu: str, parts: int) -> bool:
    """Tell whether a GPU has so many free parts, without keeping them."""
    with ExitStack() as tried:
        return _take_parts(gpu, parts, tried)


def _take_parts(gpu: str, parts: int, held: ExitStack) -> bool:
    """Take so many parts of a GPU, or none."""
    with ExitStack() as tried:
        found = 0
        for part in range(PARTS):
            found += found < parts and _take(f"{gpu}-{part}", tried)
        if found == parts:
            held.enter_context(tried.pop_all())
        return found == parts


def _wait_for(done: Callable[[], bool], what: str) -> None:
    """Ask until it is done, and say once that this takes time."""
    if done():
        return
    logger.info("waiting for %s", what)
    while not done():
        time.sleep(PAUSE_SECONDS)


def _take(name: str, held: ExitStack) -> bool:
    """Take a name if it is free, until `held` is closed."""
    taken = socket.socket(socket.AF_UNIX)
    try:
        taken.bind(f"\0dhl-gpu-{name}")
    except OSError as error:
        taken.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    taken.set_inheritable(True)  # a program that takes this process's place holds it on
    held.enter_context(taken)
    return True
