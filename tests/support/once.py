"""Folders that are slow to make are made once for all processes of pytest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dhl.locks import locked


def made_once(name: str, make: Callable[[Path], object], factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the first process makes; no test may change it.

    Parameters
    ----------
    name : str
        Unique name of the folder.
    make : callable
        Makes and fills the folder at the given path.
    factory : TempPathFactory
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all workers
    folder, made = base / name, base / f"{name}.made"
    with locked(base / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
            make(folder)
            made.touch()
    return folder
