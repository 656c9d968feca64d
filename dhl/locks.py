"""Locks between processes; the system releases them when the process ends, even if killed."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from dhl.errors import UserError

logger = logging.getLogger("dhl")

RUNNING = Path(".snakemake/running.lock")  # held by all processes of the runs in this folder
_NOT_WRITABLE = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR,
)  # fmt: skip
_held: list[IO[bytes]] = []


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
    except OSError as error:
        if error.errno in _NOT_WRITABLE:
            raise UserError(
                f"The lock file {path} cannot be written.",
                came=f"{error.filename or path}: {error.strerror}",
                do="name a folder that you can write to; or ask its owner to give your group write "
                "permission, also for new files (`umask 002`).",
            ) from None
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        logger.warning("%s cannot be locked (%s): start one run at a time", path, error.strerror)
    return True


def hold(path: Path) -> None:
    """Share a lock with other processes until this one ends, even if killed."""
    import fcntl

    with suppress(OSError):  # without locks, a run goes on
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
        fcntl.flock(file, fcntl.LOCK_SH)
        _held.append(file)


@contextmanager
def unless_held(path: Path) -> Iterator[bool]:
    """Yield whether no process holds a lock; none can take it in the block."""
    import fcntl

    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
