"""Data that is written from a specification, for the part that a file of tests names in `PART`."""

from __future__ import annotations

import pytest

from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.data.prepare import write_data
from dhl.run.folder import RunFolder


@pytest.fixture
def configured(request, tiny_content, tmp_path):
    """Return a function from a specification of data to a configuration."""

    def configure(**spec: object) -> Config:
        parts, name = tiny_content["parts"], request.module.PART
        # Images of several sizes: no joint training, whose crops are those of the test.
        kept = {part: parts[part] | {"methods": ["noisy"]} for part in ("denoising", name)}
        if name != "denoising":
            kept[name]["training"] = {"task_network": parts[name]["training"]["task_network"]}
            kept[name]["training"]["task_network"]["patch"] = 8
        tiny_content["parts"] = kept | {name: kept[name] | {"data": spec}}
        tiny_content["downloads"] = {"root": str(tmp_path)}
        return parse_config(tiny_content, source="mine.yaml")

    return configure


@pytest.fixture
def written(request, configured, tmp_path):
    """Return a function that writes the data of a specification and returns its run folder."""

    def write(**spec: object) -> RunFolder:
        folder = RunFolder(tmp_path / "run")
        write_data(configured(**spec), request.module.PART, folder)
        return folder

    return write
