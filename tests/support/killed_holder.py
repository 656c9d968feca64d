"""Kills the process that holds a lock as soon as this process waits for it."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def killed_when_logged(holder: subprocess.Popen, text: str) -> Iterator[None]:
    """Kill another process when `dhl` logs a message that contains `text`.

    The level of the logger `dhl` must be INFO.
    """

    class Killer(logging.Handler):
        """Kills the other process."""

        def emit(self, record: logging.LogRecord) -> None:
            if text in record.getMessage():
                holder.kill()

    logger, handler = logging.getLogger("dhl"), Killer()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
