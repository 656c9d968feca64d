"""The workflow as a Snakemake module in the folder of another project."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
import yaml
from settings import shipped, write_settings
from workflow_runs import PROJECT, finish, planned, snakemake

NOISE = "results/smoke/noise/denoising/sigma30.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder whose Snakefile uses the workflow, with the noise of one part."""
    folder = tmp_path_factory.mktemp("another study")
    (folder / "Snakefile").write_text(
        'configfile: "smoke.yaml"\n'
        "module dhl:\n"
        f"    snakefile: {str(PROJECT / 'Snakefile')!r}\n"
        "    config: config\n"
        "use rule * from dhl as dhl_*\n"
    )
    shutil.copy(PROJECT / "config/smoke.yaml", folder)
    finish(folder, NOISE, "results/smoke/config.yaml", snakefile=folder / "Snakefile")
    return folder


@pytest.fixture
def plan(folder):
    return partial(snakemake, folder, "--dry-run", snakefile=folder / "Snakefile")


def test_a_job_succeeds_with_the_resolved_configuration(folder):
    assert (folder / "results/smoke/data/denoising.npz").stat().st_size > 1000
    assert (folder / NOISE).read_text().count("\n") == 5  # four test images
    assert yaml.safe_load((folder / "results/smoke/config.yaml").read_text())["seeds"] == 1


def test_the_report_is_planned_with_the_files_of_the_checkout(plan):
    done = plan("dhl_report")
    jobs = planned(done)
    assert jobs["dhl_train"] == 12
    assert jobs["dhl_data"] == 2
    assert jobs["dhl_report"] == 1
    assert "dhl_configuration" not in jobs
    for path in ("config/published.csv", "report/templates/index.html.j2"):
        assert str(PROJECT / path) in done.stdout
    # A failed job fails the run, because no handler would remove a failed result.
    assert "last_try=0" in done.stdout
    assert "last_try=1" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "stale"),
    [
        ({"statistics": {"confidence": 0.9}}, {"dhl_configuration": 1}),
        ({"base_seed": 1}, {"dhl_configuration": 1, "dhl_data": 1, "dhl_noise": 1}),
    ],
)
def test_an_edited_value_repeats_the_jobs_that_it_affects(folder, plan, tmp_path, section, stale):
    path = write_settings(tmp_path / "edited.yaml", shipped("smoke", **section))
    targets = (NOISE, "results/smoke/config.yaml")
    assert planned(plan(*targets, "--configfile", path)) == stale
