"""Locks that the system frees when their holder ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

logger = logging.getLogger("dhl")


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Let one process at a time in; the others wait, and say for what.

    The file stays behind. On a network file system the lock holds between machines if it was
    mounted with locks (NFS from version 4, Lustre with `flock`); where there are none at all, a
    warning says so and everybody is let in.

    Yields
    ------
    bool
        Whether another process had to be waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        os.set_inheritable(file.fileno(), True)  # a program that takes this one's place holds it on
        yield _lock(file, path)


def _lock(file: TextIO, path: Path) -> bool:
    """Lock a file; tell whether that had to wait."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("waiting for another process that holds %s", path)
        fcntl.flock(file, fcntl.LOCK_EX)
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning("%s cannot be locked (%s): start one run at a time", path, error.strerror)
    return False


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
