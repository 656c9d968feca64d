"""Runs of the workflow by Snakemake, and what a dry run plans."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dhl.files import PROJECT


def snakemake(folder: Path, *options: str, project: Path = PROJECT) -> subprocess.CompletedProcess:
    """Run the workflow of a checkout with its results below `folder`."""
    options += ("--snakefile", str(project / "Snakefile"), "--directory", str(folder))
    if "--configfile" not in options:
        options += ("--configfile", str(project / "config/smoke.yaml"))
    return snakemake_in(project, *options, project=project)


def snakemake_in(
    folder: Path, *options: str, project: Path = PROJECT
) -> subprocess.CompletedProcess:
    """Run the Snakefile of a folder, with the package of a checkout."""
    command = [sys.executable, "-m", "snakemake", *options, "--cores", "2"]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    environment.pop("DHL_STARTED", None)
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=400
    )


def planned(result: subprocess.CompletedProcess) -> dict[str, int]:
    """Read the job counts of a dry run."""
    assert result.returncode == 0, result.stderr
    lines = (result.stdout + result.stderr).split("Job stats:")
    if len(lines) == 1:
        return {}
    rows = [line.split() for line in lines[1].split("total")[0].splitlines()[3:] if line.split()]
    return {name: int(count) for name, count in rows}
