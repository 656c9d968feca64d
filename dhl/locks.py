"""Locks that the system frees when their holder ends, however it ends."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger("dhl")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time in; the others wait, and say for what.

    The file stays behind. On a network file system the lock holds between machines where the system
    was mounted with locks (NFS from version 4, Lustre with `flock`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process that holds %s", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
