"""Slots on the GPUs of one machine: a user's jobs share a GPU only if `jobs_per_gpu` allows it.

A slot is a lock file in the folder for temporary files. The operating system releases the lock when
the process ends, even if it is killed, so that no slot is ever left behind.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from dhl.locks import try_lock

logger = logging.getLogger("dhl")
PAUSE_SECONDS = 0.5


def gpus_of_this_machine() -> int:
    """Count the NVIDIA GPUs that jobs started here may use, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def parallel_gpu_jobs(device: str, jobs_per_gpu: int) -> int:
    """Count the jobs that may use GPUs of this machine at once; `cuda:1` names one GPU."""
    return jobs_per_gpu * (1 if ":" in device else gpus_of_this_machine())


def may_have_gpu(device: str) -> bool:
    """Return whether a configured device can be a GPU of this machine, without importing torch."""
    others = ("/dev/kfd", "/dev/dxg")  # GPUs of AMD, and those of Windows in its Linux
    there = gpus_of_this_machine() > 0 or any(Path(path).exists() for path in others)
    return device not in ("cpu", "auto") or (device == "auto" and there)


@contextmanager
def gpu_slot(gpus: Sequence[str], *, jobs_per_gpu: int = 1) -> Iterator[int]:
    """Hold a slot on one GPU; wait until one is free.

    GPUs with the fewest jobs are preferred. Jobs that run at the same time should have the same
    `jobs_per_gpu`.

    Parameters
    ----------
    gpus : sequence of str
        UUIDs of the GPUs, which are the same in every process.
    jobs_per_gpu : int
        How many jobs may share a GPU.

    Yields
    ------
    int
        The index in `gpus`.

    Raises
    ------
    UserError
        If the folder of the lock files is not writable.
    """
    folder = Path(tempfile.gettempdir()) / f"dhl-gpu-{os.getuid()}"
    slots = [
        (index, FileLock(folder / f"{gpu}-slot{slot}.lock"))
        for slot in range(jobs_per_gpu)
        for index, gpu in enumerate(gpus)
    ]
    waiting = False
    while (free := next((slot for slot in slots if try_lock(slot[1])), None)) is None:
        if not waiting:
            logger.info("waiting for a free GPU: all slots (%d) are in use", len(slots))
            waiting = True
        time.sleep(PAUSE_SECONDS)
    index, lock = free
    try:
        yield index
    finally:
        lock.release()
