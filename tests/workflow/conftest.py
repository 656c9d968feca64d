"""A whole run that the tests of the workflow share."""

from __future__ import annotations

from pathlib import Path

import pytest
from once import made_once
from workflow_runs import finish


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """The folder in which `smoke` has been run, with Snakemake's output in `output.txt`."""

    def run(folder: Path) -> None:
        folder.mkdir()
        done = finish(folder, "report", "--use-conda")
        (folder / "output.txt").write_text(done.stdout + done.stderr)

    return made_once("smoke", run, tmp_path_factory)
