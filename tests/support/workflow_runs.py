"""Runs of the workflow by Snakemake, and the jobs that a dry run plans."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dhl.files import PROJECT


def invocation(
    folder: Path,
    *options: str,
    project: Path = PROJECT,
    snakefile: Path | None = None,
    python: str = sys.executable,
    **environment: str,
) -> dict[str, Any]:
    """Return the arguments of `subprocess` that run a workflow with its results below `folder`.

    By default it is `smoke`, with a checkout's code.
    """
    if snakefile is None and "--configfile" not in options:
        options += ("--configfile", str(project / "config/smoke.yaml"))
    snakefile = snakefile or project / "Snakefile"
    command = [python, "-m", "snakemake", *options, "--snakefile", str(snakefile)]
    command += ["--directory", str(folder), *([] if "--cores" in options else ["--cores", "2"])]
    environment = os.environ | {"PYTHONPATH": str(project)} | environment
    environment.pop("DHL_STARTED", None)
    return {"args": command, "cwd": snakefile.parent, "env": environment}


def snakemake(folder: Path, *options: str, **settings) -> subprocess.CompletedProcess:
    """Run a workflow; the parameters are those of `invocation`."""
    call = invocation(folder, *options, **settings)
    return subprocess.run(**call, text=True, capture_output=True)


def finish(folder: Path, *options: str, **settings) -> subprocess.CompletedProcess:
    """Run a workflow that must succeed; the logs of its jobs explain a failure."""
    done = snakemake(folder, *options, **settings)
    logs = "".join(path.read_text() for path in (folder / "results").rglob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return done


def planned(result: subprocess.CompletedProcess) -> dict[str, int]:
    """Read the job counts of a dry run."""
    assert result.returncode == 0, result.stderr
    lines = (result.stdout + result.stderr).split("Job stats:")
    if len(lines) == 1:
        return {}
    rows = [line.split() for line in lines[1].split("total")[0].splitlines()[3:] if line.split()]
    return {name: int(count) for name, count in rows}
