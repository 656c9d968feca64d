"""How signals and killed parents end a process: a training stops after its step."""

from __future__ import annotations

import multiprocessing
import os
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


def end_with_parent() -> None:
    """Let a worker process end at once when its parent is gone, and at Ctrl-C without a traceback.

    A worker of a killed parent would wait for its next input for ever, and keep the run locked.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    """Wait for the end of the parent, and end this process."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


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
