"""Atomic writing of files, and the files of the checkout."""

from __future__ import annotations

import errno
import glob
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dhl.errors import UserError, advice

PROJECT = Path(__file__).resolve().parents[1]  # the checkout, with config/ and report/

_UNFINISHED = ".unfinished."
_HOST = socket.gethostname()


def project_file(name: str) -> Path:
    """Return the path of a file of the checkout; without a checkout, raise a `UserError`."""
    path = PROJECT / name
    if not path.exists():
        raise UserError(
            f"A checkout of dhl is needed: {name} is not in the installed package.",
            came=f"dhl in {PROJECT}, without {name}",
            do="clone the repository, and run the command in its folder with `python -m dhl`.",
        )
    return path


def touch_if_from_the_future(paths: Iterable[Path], *, clock: Path) -> None:
    """Date files to now if they are dated in the future, by the file system of the file `clock`.

    Snakemake takes a result for wrong if it is older than an input, and deletes it.

    Raises
    ------
    UserError
        If such a file belongs to someone else.
    """
    clock.touch()
    now = clock.stat().st_mtime
    for path in paths:
        try:
            if max(path.stat().st_mtime, path.lstat().st_mtime) <= now:
                continue
            for follow in {True, not path.is_symlink()}:
                os.utime(path, (now, now), follow_symlinks=follow)
        except FileNotFoundError:  # Snakemake names it
            continue
        except OSError as error:
            raise UserError(
                f"The file {path} is dated in the future.",
                came=f"{time.ctime(path.stat().st_mtime)}, and it cannot be changed: "
                f"{error.strerror}",
                do=f"set the clock of this machine, or let the owner run `touch {path}`.",
            ) from None


def stored(path: Path) -> Path:
    """Return the compressed copy beside `path` if only that exists, as in a reference."""
    compressed = path.with_name(f"{path.name}.gz")
    return compressed if compressed.exists() and not path.exists() else path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `path` if the block succeeds.

    The content is on the disk before it gets the name, also if the machine then fails. What a
    killed process left beside `path` is removed. A full disk or a folder without write permission
    is a `UserError`; an older file is kept.
    """
    temporary = path.with_name(f"{_UNFINISHED}{_HOST}.{os.getpid()}.{path.name}")
    with _explained(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        try:
            yield temporary
            with open(temporary, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files for `path` whose process has ended.

    Of processes on other machines, only files that did not change for a day are removed.
    """
    for left in path.parent.glob(f"{_UNFINISHED}*.{glob.escape(path.name)}"):
        import psutil

        writer = left.name.removeprefix(_UNFINISHED).removesuffix(f".{path.name}")
        host, _, process = writer.rpartition(".")
        with suppress(OSError, ValueError):  # another process removed it, or it is no such file
            if not psutil.pid_exists(int(process)) if host == _HOST else _is_old(left):
                left.unlink()


def _is_old(path: Path) -> bool:
    """Tell whether a file did not change for a day."""
    return time.time() - path.stat().st_mtime > 24 * 60 * 60


@contextmanager
def _explained(path: Path, temporary: Path) -> Iterator[None]:
    """Raise a `UserError` for a full disk or a folder without write permission."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"The disk is full, so {path} was not written.",
                came=f"{error.strerror} while writing {path}",
                do=advice(error),
            ) from None
        if str(error.filename) in map(str, (temporary, *path.parents)):
            raise UserError(
                f"The file {path} cannot be written.",
                came=f"{path}: {error.strerror}",
                do="name another file, or make its folder writable.",
            ) from None
        raise


_FULL = (errno.ENOSPC, errno.EDQUOT)
