"""Locks between processes; the system releases them when the process ends, even if killed."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dhl.errors import UserError

logger = logging.getLogger("dhl")


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Let one process at a time into the block; the others wait and log what they wait for.

    Yields whether this process had to wait. The lock file is not deleted; one that cannot be
    written is a `UserError`. On a network file system that is mounted with locks (NFS from version
    4, Lustre with `flock`), the lock also works between machines. On a file system without locks,
    a warning is logged and no process waits.
    """
    lock = FileLock(path)
    must_wait = not try_lock(lock)
    if must_wait:
        logger.info("waiting for another process that holds %s", path)
        lock.acquire()
    try:
        yield must_wait
    finally:
        lock.release()


def try_lock(lock: FileLock) -> bool:
    """Acquire a lock if it is free; return whether this process has it now."""
    path = Path(lock.lock_file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except PermissionError:
        raise UserError(
            f"The lock file {path} cannot be written.",
            came=f"no permission to write {path}",
            do="ask the owner of the folder to give your group write permission, also for new "
            "files (`umask 002`).",
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        logger.warning("%s cannot be locked (%s): start one run at a time", path, error.strerror)
    return True
