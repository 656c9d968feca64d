"""What is dear to make is made once for all processes that pytest runs tests in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dhl.locks import locked


def made_once(name: str, make: Callable[[Path], object], places: pytest.TempPathFactory) -> Path:
    """Return a folder that the first process to ask for it makes; no test may change it.

    Parameters
    ----------
    name : str
        Of the folder; one in the whole of the tests.
    make : callable
        Fills the folder, whose path it is given. It need not exist before.
    places : TempPathFactory
        Of the session.
    """
    base = places.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all workers
    folder, made = base / name, base / f"{name}.made"
    with locked(base / f"{name}.lock"):
        if not made.exists():
            make(folder)
            made.touch()
    return folder
