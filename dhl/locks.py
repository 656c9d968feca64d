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

from dhl.errors import UserError

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

    Raises
    ------
    UserError
        If the file may not be written.
    """
    with _opened(path) as file:
        os.set_inheritable(file.fileno(), True)  # a program that takes this one's place holds it on
        yield _lock(file, path)


def _opened(path: Path) -> TextIO:
    """Open a lock's file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a")
    except PermissionError:
        raise UserError(
            "whoever shares a folder may write into it.",
            came=f"no permission to write {path}",
            do="let its owner give the group the right to write, for new files too (`umask 002`).",
        ) from None


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
