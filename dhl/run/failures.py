"""Holes: what stands in place of a result whose job failed, so that the rest of a run goes on.

A hole is a small text file under the result's own name. Who reads a hole does without the method,
tables and report show the reason, and the run ends with a failure. Then its holes are taken away:
the next run tries again what failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dhl.files import atomic_path
from dhl.run.folder import RunFolder

_MARK = "This is no result: its job failed.\n"
_STOPPED = {128 + 1, 128 + 2, 128 + 15}  # SIGHUP, SIGINT, SIGTERM: it was stopped, and goes on
_KILLED = 128 + 9


class NothingToShow(Exception):
    """All that a figure would show is missing because jobs failed; says which."""


def may_be_a_hole(status: int) -> bool:
    """Tell whether a job with this exit status failed; one that was stopped did not."""
    return status not in _STOPPED


def dig(paths: Sequence[Path], *, status: int, log: Path) -> str:
    """Write holes in place of a failed job's results.

    Parameters
    ----------
    paths : sequence of Path
        All that the job should have written.
    status : int
        Its exit status.
    log : Path
        What it has said; the reason is at its end.

    Returns
    -------
    str
        The reason.
    """
    reason = _reason(log.read_text("utf-8", "replace") if log.exists() else "", status)
    for path in paths:
        with atomic_path(path) as temporary:
            temporary.write_text(f"{_MARK}{reason}\n", "utf-8")
    return reason


def why_hole(path: Path) -> str | None:
    """Return why there is a hole in a result's place; None if there is none."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_MARK)) != _MARK.encode():
                return None
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return None


def first_hole(paths: Iterable[Path]) -> str | None:
    """Return why there is a hole in the first place that has one; None if there is none."""
    return next((reason for path in paths if (reason := why_hole(path)) is not None), None)


def find_holes(folder: RunFolder) -> Iterator[tuple[Path, str]]:
    """Yield the holes of a run with their reasons."""
    for path in sorted(folder.root.rglob("*")):
        if path.is_file() and (reason := why_hole(path)) is not None:
            yield path, reason


def _reason(said: str, status: int) -> str:
    """Find the reason of a failure in what a job has said."""
    if status == _KILLED:
        return "killed, as a job is that needs more memory than there is"
    mistakes = re.findall(r"^dhl: .*\n  found: (.*)$", said, re.MULTILINE)
    lines = [line for line in said.splitlines() if line.strip()]
    return mistakes[-1] if mistakes else lines[-1].strip() if lines else f"exit status {status}"
