"""Being stopped from outside: a signal is noted, and acted upon where nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from dhl.data import processes

# A cluster's warning before the end of a job, and Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def noted_signals() -> Iterator[Callable[[], str]]:
    """Note a first SIGTERM or SIGINT instead of ending at once; a second one ends as usual.

    Yields
    ------
    callable
        Returns the name of the signal that came, or "".
    """
    came: list[str] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number).name)
        if not processes.started():  # `torchrun` passes on what a scheduler sent to all already
            signal.signal(number, before[number])

    before = {}
    if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
        before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: came[0] if came else ""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
