"""Signals that stop a training: a signal is noted, and the training stops after its step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# A cluster sends SIGTERM before it ends a job; Ctrl-C sends SIGINT.
SIGNALS = (signal.SIGTERM, signal.SIGINT)

interrupts: list[int] = []  # that came since `note_interrupts` was called


def note_interrupts() -> None:
    """Note each SIGINT in `interrupts`, and let it do what it did before."""
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        if callable(before):
            before(number, frame)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, note)


def die_quietly() -> None:
    """Let Ctrl-C end a worker process without a traceback; the main process says what happened."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def noted_signals() -> Iterator[Callable[[], str]]:
    """Note the first SIGTERM or SIGINT instead of ending at once; a second one ends as usual.

    Yields
    ------
    callable
        Returns the name of the signal, or "" if none came.
    """
    came: list[str] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number).name)
        signal.signal(number, before[number])

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # handlers belong to this thread
        before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: came[0] if came else ""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
