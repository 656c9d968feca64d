"""Slots on the GPUs of one machine, so that two jobs share a GPU only where that is asked for.

A slot is a name that one process of the machine can hold: an abstract Unix socket, which the kernel
frees when the process ends, even if it is killed. So nothing is left behind and nobody cleans up.
Containers with a network of their own have slots of their own.

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

    Who waits for several keeps those that it has, and whoever comes later waits behind: two that
    want all GPUs do not block each other for ever.

    Parameters
    ----------
    gpus : sequence of str
        Names that every process of the machine knows the GPUs by.
    count : int
        At most as many as there are GPUs.
    jobs_per_gpu : int
        Slots of one GPU; an empty GPU is taken before one that is shared.

    Yields
    ------
    tuple of int
        Places in `gpus`, in rising order.
    """
    with ExitStack() as held:
        with ExitStack() as queue:
            _wait_for(lambda: _take("queue", queue), "its turn")
            taken: set[int] = set()

            def enough() -> bool:
                for slot in range(jobs_per_gpu):
                    for place, name in enumerate(gpus):
                        if place not in taken and len(taken) < count:
                            taken.update([place] if _take(f"{name}-{slot}", held) else [])
                return len(taken) == count

            _wait_for(enough, f"{count} of {len(gpus)} GPUs")
        yield tuple(sorted(taken))


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
