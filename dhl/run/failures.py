"""Failed results: small text files in place of the outputs of a failed job.

A failed result lets the rest of the run go on: later jobs leave the method out, and tables and
report show the reason. The run then ends with an error and removes its failed results, so that
the next run repeats the failed jobs.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dhl.files import atomic_path
from dhl.run.folder import RunFolder
from dhl.run.free_text import readable

_MARK = "This is no result: its job failed.\n"
_STOPPED = {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
_KILLED = 128 + signal.SIGKILL


class NothingToShow(Exception):
    """A figure has no data, because jobs failed or nothing was trained; the message says which."""


def has_failed(status: int) -> bool:
    """Tell whether this exit status is a failure; a job that was stopped is resumed later."""
    return status not in _STOPPED


def record_failure(paths: Sequence[Path], *, status: int, log: Path) -> str:
    """Write failed results in place of a job's outputs; return the reason at the end of its log."""
    reason = readable(_reason(log.read_text("utf-8", "replace") if log.exists() else "", status))
    for path in paths:
        with atomic_path(path) as temporary:
            temporary.write_text(f"{_MARK}{reason}\n", "utf-8")
    return reason


def failure_of(path: Path) -> str | None:
    """Return the reason in a failed result; None if the file is a result or is missing."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_MARK)) != _MARK.encode():
                return None
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return None


def first_failure(paths: Iterable[Path]) -> str | None:
    """Return the reason in the first failed result; None if no file is a failed result."""
    return next((reason for path in paths if (reason := failure_of(path)) is not None), None)


def failed_results(folder: RunFolder) -> Iterator[tuple[Path, str]]:
    """Yield the failed results of a run with their reasons, sorted by path."""
    for path in sorted(folder.root.rglob("*")):
        if path.is_file() and (reason := failure_of(path)) is not None:
            yield path, reason


def _reason(log: str, status: int) -> str:
    """Return the last user error in a log, or else its last line."""
    if status == _KILLED:
        return "killed, probably because the memory was full"
    mistakes = re.findall(r"^dhl: (.*)\n  found: (.*)$", log, re.MULTILINE)
    lines = [line for line in log.splitlines() if line.strip()]
    if mistakes:
        return " Found: ".join(mistakes[-1])
    return lines[-1].strip() if lines else f"exit status {status}"
