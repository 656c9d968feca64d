"""One real run of `smoke` by Snakemake, and the jobs of a second run."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from settings import changed, shipped, write_settings
from workflow_runs import finish, planned, snakemake

from dhl.config.parse import load_config
from dhl.files import PROJECT
from dhl.run.contents import benchmarks_of
from dhl.run.failures import failed_results, record_failure
from dhl.run.folder import RunFolder
from dhl.run.manifest import verify
from dhl.run.results import TABLE_COLUMNS, read_csv


def test_smoke_ends_with_the_path_of_the_report(smoke):
    output = (smoke / "output.txt").read_text()
    assert "The report is results/smoke/report/index.html" in output
    if shutil.which("conda") is None:
        assert output.count("No conda is on the PATH") == 1


def test_tables_hold_every_method_and_sigma(smoke):
    config = shipped("smoke")
    for number, part in enumerate(("denoising", "classification", "segmentation"), 1):
        path = smoke / f"results/smoke/tables/table{number}.csv"
        table = read_csv(path, TABLE_COLUMNS)
        averages = table[table["image_id"] == "average"]
        assert set(averages["method"]) == set(config["parts"][part]["methods"])
        assert (averages["n"] == config["parts"][part]["data"]["test"]).all()
        measured = averages.dropna(subset=["value"])
        assert (measured["ci_low"] <= measured["value"]).all()
        assert (measured["value"] <= measured["ci_high"]).all()


def test_manifest_lists_the_results_and_verifies(smoke):
    root = smoke / "results/smoke"
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["base_seed"] == 1706
    assert "models/joint-segmentation/sigma30.pt" in manifest["files"]
    assert manifest["other_files"] == []
    assert verify(root) == []


def test_the_time_of_each_job_is_in_a_known_file(smoke):
    folder = RunFolder(smoke / "results/smoke")
    known = benchmarks_of(load_config(folder.config), folder)
    assert known == sorted(folder.benchmarks.rglob("*.tsv"))


def test_snakemakes_own_report_has_tables_verdicts_and_figures_with_captions(smoke, tmp_path):
    archive = tmp_path / "archive.zip"
    done = snakemake(smoke, "report", "--report", str(archive))
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(archive) as content:
        names = content.namelist()
        pages = [name for name in names if name.endswith("report.html")]
        page = content.read(pages[0]).decode()
    kept = {Path(name).name for name in names if "/data/" in name}
    assert {"index.html", "claims.csv", "table1.csv", "psnr_over_sigma.svg"} <= kept
    for category in ("Report", "Tables", "Verdicts", "Figures"):
        assert f'"{category}"' in page
    assert "as denoised by each method" in page  # a caption


def test_a_second_run_has_nothing_to_do(smoke):
    assert planned(snakemake(smoke, "report", "--dry-run")) == {}


def test_another_sigma_runs_only_what_is_new(smoke, tmp_path):
    config = shipped("smoke")
    config["parts"]["denoising"]["sigmas"] = [30, 50]
    path = write_settings(tmp_path / "more.yaml", config)
    jobs = planned(snakemake(smoke, "report", "--dry-run", "--configfile", path))
    # New at sigma 50: DnCNN, separate, two joint and two matched ones; no task network, nothing at
    # sigma 30.
    assert jobs["train"] == 6
    assert jobs["noise"] == jobs["baseline"] == jobs["evaluate"] == 1
    assert "data" not in jobs
    assert jobs["table"] == 1


@pytest.mark.parametrize(
    ("key", "value", "repeated", "kept"),
    [
        ("evaluation", {"protocol": "plain"},
         {"evaluate": 3, "table": 3, "claims": 1}, {"data", "noise", "baseline", "train"}),
        ("statistics", {"confidence": 0.9},
         {"table": 3, "claims": 1, "figures": 1}, {"data", "noise", "train", "evaluate"}),
        # The joint denoiser and the one with perceptual loss, which by default has this weight.
        ("parts.classification.training.joint.task_weight", 0.02,
         {"train": 2, "evaluate": 3}, {"data", "noise", "baseline"}),
    ],
)  # fmt: skip
def test_a_setting_repeats_the_jobs_that_it_decides(smoke, tmp_path, key, value, repeated, kept):
    path = write_settings(tmp_path / "other.yaml", changed(shipped("smoke"), key, value))
    jobs = planned(snakemake(smoke, "report", "--dry-run", "--configfile", path))
    assert {rule: jobs.get(rule, 0) for rule in repeated} == repeated
    assert kept.isdisjoint(jobs)


@pytest.mark.parametrize(
    ("edits", "trained"),
    [
        # All trainings run this module.
        ([("training/objectives.py", "reconstruction + task_weight * task", "reconstruction")], 12),
        # A comment, and a figure.
        ([("training/objectives.py", "from __future__", "# Why.\nfrom __future__"),
          ("report/figures.py", "FIGURES", "DRAWINGS")], 0),
    ],
)  # fmt: skip
def test_an_edit_retrains_the_models_that_it_affects(smoke, tmp_path, edits, trained):
    project = tmp_path / "project"
    shutil.copytree(
        PROJECT, project, ignore=shutil.ignore_patterns(".venv", ".git", "results", ".snakemake")
    )
    for module, old, new in edits:
        source = project / "dhl" / module
        text = source.read_text()
        assert old in text
        source.write_text(text.replace(old, new))
    jobs = planned(snakemake(smoke, "report", "--dry-run", project=project))
    assert jobs.get("train", 0) == trained


@pytest.mark.slow
def test_a_run_that_ends_without_a_report_names_each_failure(tiny_content, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def fail(noisy, *, sigma):\n"
        "    raise ValueError('no luck')\n"
        "def noise(clean, *, noise_std, generator):\n"
        "    assert noise_std.max() < 40 / 255\n"  # a job without a failed result
        "    return clean\n"
    )
    part = tiny_content["parts"]["denoising"] | {
        "methods": ["noisy", f"{tmp_path}/mine.py:fail"],
        "sigmas": [30, 50],
    }
    mine = tiny_content | {"noise": f"{tmp_path}/mine.py:noise", "parts": {"denoising": part}}
    path = write_settings(tmp_path / "mine.yaml", mine)
    failed = snakemake(tmp_path, "report", "--configfile", path)
    assert failed.returncode == 1
    last = failed.stderr.rpartition("Failed: ")[2]
    assert last.startswith("results/tiny/baselines/") and "no luck" in last.splitlines()[0]
    assert "Some jobs failed" in last
    assert not list(failed_results(RunFolder(tmp_path / "results/tiny")))


@pytest.mark.slow
def test_the_same_command_repeats_the_jobs_that_failed(tiny_content, tmp_path):
    broken = tmp_path / "broken"  # a cause outside of the run
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\n"
        "def copy(noisy, *, sigma):\n"
        f"    assert not Path({str(broken)!r}).exists(), 'no luck'\n"
        "    return noisy\n"
    )
    method = f"{tmp_path}/mine.py:copy"
    part = tiny_content["parts"]["denoising"] | {"methods": ["noisy", "separate", method]}
    path = write_settings(tmp_path / "mine.yaml", tiny_content | {"parts": {"denoising": part}})
    command = ("report", "--configfile", path)
    run = RunFolder(tmp_path / "results/tiny")

    broken.touch()
    assert "no luck" in snakemake(tmp_path, *command).stderr
    assert run.report.exists()
    repeated = planned(snakemake(tmp_path, *command, "--dry-run"))
    assert {rule: repeated.get(rule, 0) for rule in ("baseline", "evaluate", "table", "train")} == {
        "baseline": 1, "evaluate": 1, "table": 1, "train": 0
    }  # fmt: skip
    broken.unlink()
    finish(tmp_path, *command)
    table = read_csv(run.table("1"), TABLE_COLUMNS)
    assert table.loc[table["method"] == method, "value"].notna().all()
    assert planned(snakemake(tmp_path, *command, "--dry-run")) == {}

    # A run that is killed leaves its failed results.
    model = run.model("separate/sigma30")
    record_failure([model, run.training("separate/sigma30")], status=1, log=tmp_path / "no.log")
    repeated = planned(snakemake(tmp_path, *command, "--dry-run"))
    assert repeated["train"] == 1
    assert not model.exists()


@pytest.mark.slow
def test_a_run_with_a_failing_method_has_a_report_fails_and_can_be_repeated(smoke, tmp_path):
    folder = Path(shutil.copytree(smoke, tmp_path / "run"))
    run = folder / "results/smoke"
    config = shipped("smoke")
    good = config["parts"]["segmentation"]["training"]["joint"]["optimizer"]
    config["parts"]["segmentation"]["training"]["joint"]["optimizer"] = good | {"lr": 1e30}
    path = write_settings(tmp_path / "diverging.yaml", config)
    failed = snakemake(folder, "report", "--configfile", path)
    assert failed.returncode == 1
    assert "Some jobs failed, and the report was made without them" in failed.stderr
    assert "joint-segmentation/sigma30.pt: The training loss is not finite." in failed.stderr
    table = read_csv(run / "tables/table3.csv", TABLE_COLUMNS)
    table = table[table["metric"] == "miou"].set_index("method")
    assert table.loc["joint", "status"].startswith(
        "failed: The training loss is not finite. Found: nan"
    )
    assert table.loc["cross", "value"] == table.loc["cross", "value"]
    assert "What failed" in (run / "report/index.html").read_text()
    assert verify(run) == []
    assert not (run / "models/joint-segmentation/sigma30.pt").exists()  # to be tried again
    finish(folder, "report")
    for one in ("table3.csv", "table2.csv"):
        assert (run / "tables" / one).read_bytes() == (
            smoke / "results/smoke/tables" / one
        ).read_bytes()
    assert "What failed" not in (run / "report/index.html").read_text()


def test_weights_of_others_are_inputs_only_if_they_are_files(tmp_path):
    settings = shipped("smoke")
    denoising = settings["parts"]["denoising"]
    denoising |= {
        "methods": ["noisy", "separate"],
        "denoiser": {"name": "kair-ffdnet", "weights": str(tmp_path / "w-{sigma}.pth")},
        "training": {"separate": None},
    }
    path = write_settings(tmp_path / "own.yaml", settings | {"parts": {"denoising": denoising}})
    ask = ("report", "--dry-run", "--configfile", path)
    assert "w-30.pth" in snakemake(tmp_path, *ask).stdout  # the missing input
    (tmp_path / "w-30.pth").touch()
    assert planned(snakemake(tmp_path, *ask))["train"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((PROJECT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_configuration_can_start(path, tmp_path):
    assert planned(snakemake(tmp_path, "report", "--dry-run", "--configfile", str(path)))["report"]


def test_a_misspelt_key_stops_the_workflow_with_one_message(tmp_path):
    config = shipped("smoke")
    config["parst"] = config.pop("parts")
    path = write_settings(tmp_path / "wrong.yaml", config)
    result = snakemake(tmp_path, "report", "--configfile", path)
    assert result.returncode == 1
    assert "Unknown key `parst`" in result.stderr
    assert "write `parts`" in result.stderr
    assert "Traceback" not in result.stderr
