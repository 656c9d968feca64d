"""The workflow as a Snakemake module in a folder of somebody else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from workflow_runs import PROJECT, planned, snakemake_in

NOISE = "results/smoke/noise/denoising/sigma30.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder whose Snakefile uses the workflow, and in which one part's noise was made."""
    folder = tmp_path_factory.mktemp("somebody's study")
    (folder / "Snakefile").write_text(
        'configfile: "smoke.yaml"\n'
        "module dhl:\n"
        f"    snakefile: {str(PROJECT / 'Snakefile')!r}\n"
        "    config: config\n"
        "use rule * from dhl as dhl_*\n"
    )
    shutil.copy(PROJECT / "config/smoke.yaml", folder)
    done = snakemake_in(folder, NOISE, "results/smoke/config.yaml")
    logs = "".join(path.read_text() for path in (folder / "results").rglob("*.log"))
    assert done.returncode == 0, done.stderr + logs
    return folder


def plan(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Plan the report and a few files that are there."""
    return snakemake_in(folder, *options, "--dry-run")


def test_a_job_runs_to_its_end_with_the_resolved_configuration(folder):
    assert (folder / "results/smoke/data/denoising.npz").stat().st_size > 1000
    assert (folder / NOISE).read_text().count("\n") == 5  # four test images
    assert yaml.safe_load((folder / "results/smoke/config.yaml").read_text())["seeds"] == 1


def test_the_report_is_planned_with_the_files_of_the_checkout(folder):
    done = plan(folder, "dhl_report")
    jobs = planned(done)
    assert jobs["dhl_train"] == 14
    assert jobs["dhl_data"] == 2
    assert jobs["dhl_report"] == 1
    assert "dhl_configuration" not in jobs
    for path in ("config/published.csv", "report/templates/index.html.j2"):
        assert str(PROJECT / path) in done.stdout


def test_a_failed_job_fails_the_run_since_no_handler_would_remove_its_failed_result(folder):
    model = "results/smoke/models/separate/sigma30.pt"
    assert "last_try=0" in plan(folder, model).stdout


@pytest.mark.parametrize(
    ("section", "stale"),
    [
        ({"statistics": {"bootstrap": 300}}, {"dhl_configuration": 1}),
        ({"base_seed": 1}, {"dhl_configuration": 1, "dhl_data": 1, "dhl_noise": 1}),
    ],
)
def test_an_edited_value_repeats_the_jobs_that_it_decides(folder, tmp_path, section, stale):
    content = yaml.safe_load((folder / "smoke.yaml").read_text()) | section
    path = tmp_path / "edited.yaml"
    path.write_text(yaml.safe_dump(content))
    targets = (NOISE, "results/smoke/config.yaml")
    assert planned(plan(folder, *targets, "--configfile", str(path))) == stale
