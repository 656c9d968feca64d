"""Settings that several files of tests share."""

from __future__ import annotations

import pytest
from settings import laboratory_config, with_parts

from dhl.config.schema import Config


@pytest.fixture(scope="module")
def config() -> Config:
    """`laboratory` with few controls, unless a file has its own."""
    return laboratory_config()


@pytest.fixture(scope="module")
def few(config) -> Config:
    """The file's configuration, but denoising alone, with three methods."""
    methods = {"methods": ("noisy", "dncnn", "separate")}
    return with_parts(config, denoising=methods, classification=None, segmentation=None)
