"""The configuration of `drawn_run`."""

from __future__ import annotations

import pytest
from report_run import small_config

from dhl.config.schema import Config


@pytest.fixture(scope="session")
def config() -> Config:
    """Mini at two sigmas."""
    return small_config()
