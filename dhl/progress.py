"""Progress of long work: a bar on a terminal, plain lines with an estimate in a log."""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

logger = logging.getLogger("dhl")
SECONDS_BETWEEN_LINES = 10.0
MEGABYTE = 2**20


def megabytes(count: int) -> int:
    """Convert bytes to megabytes of 2**20 bytes, rounded up."""
    return -(-count // MEGABYTE)


class Progress:
    """Shows the progress of a task; an earlier run did `done` of its `total` units of work."""

    def __init__(self, title: str, total: int, *, done: int = 0):
        self.title, self.total, self.done, self.begun_with = title, total, done, done
        self.started = self.last_line = time.monotonic()
        bar = {"total": total, "initial": done, "desc": title, "leave": False}
        self.bar = tqdm(**bar) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        return self

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Add `amount` to the work done; a log gets a line at most every ten seconds."""
        self.done += amount
        if self.bar is not None:
            self.bar.update(amount)
            if note:
                self.bar.set_postfix_str(note)
            return
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            each = (now - self.started) / (self.done - self.begun_with)
            left = each * max(self.total - self.done, 0)
            logger.info(
                "%s: %d of %d, about %.0f of %.0f s left %s",
                self.title, self.done, self.total, left, each * self.total, note,
            )  # fmt: skip

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Close the bar, and log what was done in which time unless an error was raised."""
        if self.bar is not None:
            self.bar.close()
        if kind is None:
            count, seconds = self.done - self.begun_with, time.monotonic() - self.started
            logger.info("%s: %d of %d done in %.1f s", self.title, count, self.total, seconds)
