"""A run that is repeated with fewer parts and methods uses no file of its first configuration."""

from __future__ import annotations

import pandas as pd
import pytest
from compared_runs import CONFIG, IMAGES, compared, finish
from settings import with_parts
from synthetic_run import write_synthetic_run

from dhl.cli.parser import main
from dhl.report.content import read_costs
from dhl.report.figures import read_curves
from dhl.run.contents import benchmarks_of
from dhl.run.folder import RunFolder
from dhl.run.manifest import read_manifest, verify
from dhl.run.model_graph import all_models

FEWER = with_parts(
    CONFIG,
    denoising={"methods": ("noisy", "cbm3d", "separate", "joint-classification")},
    classification={"methods": ("clean", "noisy", "separate", "joint")},
    segmentation=None,
)


@pytest.fixture
def repeated(base_copy) -> RunFolder:
    """A run of `FEWER` in the folder of a complete run of `CONFIG`."""
    for path in benchmarks_of(CONFIG, base_copy):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("s\tmax_rss\n1\t100\n")
    curve = base_copy.training("dncnn/sigma30")
    pd.read_csv(curve).assign(device="an older machine").to_csv(curve, index=False)
    return finish(FEWER, write_synthetic_run(FEWER, base_copy.root, images=IMAGES))


@pytest.fixture
def fresh(tmp_path) -> RunFolder:
    """A run of `FEWER` in a new folder."""
    return finish(FEWER, write_synthetic_run(FEWER, tmp_path / "fresh", images=IMAGES))


def test_the_manifest_lists_the_files_of_the_configuration_alone(repeated, fresh, capsys):
    old, new = read_manifest(repeated), read_manifest(fresh)
    assert old["files"] == new["files"]
    assert old["hardware"] == new["hardware"]
    assert old["compute_seconds"] == len(benchmarks_of(FEWER, repeated))
    assert new["other_files"] == []
    assert {"tables/table3.csv", "training/dncnn/sigma30.csv"} < set(old["other_files"])
    assert not set(old["files"]) & set(old["other_files"])
    assert main(["verify", str(repeated.root)]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    named = line.removeprefix("Not of the run's configuration, and not compared: ")
    assert named.split(", ") == old["other_files"]


def test_verify_compares_no_file_of_another_configuration(repeated):
    repeated.table(3).unlink()
    repeated.training("dncnn/sigma30").write_text("mine")
    assert verify(repeated.root) == []
    repeated.table("1-mine").write_text("")
    repeated.table(1).unlink()
    assert verify(repeated.root) == [
        "added    tables/table1-mine.csv",
        "removed  tables/table1.csv",
    ]


def test_curves_and_costs_are_those_of_the_configuration(repeated, fresh):
    assert read_curves(FEWER, repeated).keys() == read_curves(FEWER, fresh).keys()
    assert "dncnn" in read_curves(CONFIG, repeated)
    jobs = {row["rule"]: row["jobs"] for row in read_costs(FEWER, repeated)}
    assert jobs["train"] == len(all_models(FEWER)) < len(all_models(CONFIG))
    assert (jobs["data"], jobs["evaluate"], jobs["baseline"]) == (2, 2, 1)


def test_only_the_tables_of_the_configuration_are_compared(repeated, fresh):
    comparison = compared(repeated, fresh)
    assert set(comparison.cells["part"]) == {"denoising", "classification"}
    assert comparison.unpaired == {}
    assert not comparison.changed
