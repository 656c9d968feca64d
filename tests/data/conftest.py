"""Data of a part that is written from a specification."""

from __future__ import annotations

import pytest

from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.data.prepare import write_data
from dhl.run.folder import RunFolder


@pytest.fixture
def configured(tiny_content, tmp_path):
    """Return a function from a part and the specification of its data to a configuration."""

    def configure(part: str, spec: dict) -> Config:
        tiny_content["parts"][part]["data"] = spec
        tiny_content["downloads"] = {"root": str(tmp_path)}
        return parse_config(tiny_content, source="mine.yaml")

    return configure


@pytest.fixture
def write_part(configured, tmp_path):
    """Return a function that writes the data of a part and returns the run folder."""

    def write(part: str, spec: dict) -> RunFolder:
        folder = RunFolder(tmp_path / "run")
        write_data(configured(part, spec), part, folder)
        return folder

    return write
