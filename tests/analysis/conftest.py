"""Settings that several files of tests share."""

from __future__ import annotations

import pytest
from settings import with_parts

from dhl.analysis import statistics
from dhl.config.schema import Config


@pytest.fixture
def fewer_permutations(monkeypatch):
    """Enough for 36 cells: 36 / 2000 is below 5 %."""
    monkeypatch.setattr(statistics, "PERMUTATIONS", 1999)


@pytest.fixture(scope="module")
def few(config) -> Config:
    """The file's configuration, but denoising alone, with three methods."""
    methods = {"methods": ("noisy", "dncnn", "separate")}
    return with_parts(config, denoising=methods, classification=None, segmentation=None)
