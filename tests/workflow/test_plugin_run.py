"""The example of docs/extending.md, plug-ins of all four kinds, from data to report."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml
from html_tree import parse
from workflow_runs import planned, snakemake

from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.run.export import export_run
from dhl.run.folder import RunFolder
from dhl.run.manifest import verify
from dhl.run.results import TABLE_COLUMNS, file_digest, read_csv

EXAMPLES = Path("docs/examples")
CONFIG = EXAMPLES / "own.yaml"


def run(folder: Path, *options: str):
    """Run the workflow on the example below a folder."""
    return snakemake(folder, "report", "--configfile", str(folder / CONFIG), *options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with the examples and their finished run."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(
        PROJECT / EXAMPLES, folder / EXAMPLES, ignore=shutil.ignore_patterns("__pycache__")
    )
    result = run(folder)
    logs = "".join(path.read_text() for path in (folder / "results").rglob("*.log"))
    assert result.returncode == 0, result.stderr + logs
    return folder


def test_the_method_has_its_row_in_tables_figures_and_report(finished):
    results = RunFolder(finished / "results/own")
    for number in (1, 2):
        table = read_csv(results.table(number), TABLE_COLUMNS)
        row = table[(table["method"] == "wavelet") & (table["image_id"] == "average")]
        assert row["value"].notna().all()
        assert "| Wavelet |" in results.table(number, "md").read_text()
        assert "Wavelet" in results.table(number, "tex").read_text()
    assert "wavelet" in (results.figures / "psnr_over_sigma.csv").read_text()
    page = parse(results.report.read_text("utf-8"))
    assert any(head.text == "Wavelet" for head in page.find("th"))
    assert any("Shrink wavelet coefficients" in one.text for one in page.find("dd"))


def test_the_report_says_which_noise_and_data_were_used_and_shows_the_code(finished):
    page = (finished / "results/own/report/index.html").read_text("utf-8")
    assert "Not white Gaussian noise" in page
    assert "White and Gaussian" not in page
    for name in ("poisson.py:poisson_gaussian", "shapes.py:shapes"):
        assert f"<code>{EXAMPLES}/{name}</code>" in page
    assert "Images that a plug-in makes" in page
    manifest = json.loads((finished / "results/own/manifest.json").read_text())
    files = {str(EXAMPLES / f"{name}.py") for name in ("wavelet", "residual", "poisson", "shapes")}
    assert set(manifest["plugins"]) == files
    for path, digest in manifest["plugins"].items():
        assert digest == file_digest(finished / path)
        assert digest in page
    assert verify(finished / "results/own") == []


def test_the_resolved_configuration_has_nothing_to_do(finished):
    resolved = finished / "results/own/config.yaml"
    assert yaml.safe_load(resolved.read_text())["plugin_methods"] == {
        "wavelet": f"{EXAMPLES}/wavelet.py:wavelet"
    }
    assert planned(snakemake(finished, "--configfile", str(resolved), "--dry-run")) == {}


def test_a_comment_in_a_plug_in_renews_its_digest_in_manifest_and_report_alone(finished):
    before = {path: path.read_text() for path in (finished / EXAMPLES).glob("*.py")}
    try:
        for path, text in before.items():
            path.write_text(f"# Why.\n{text}")
        renewed = {"manifest": 1, "report": 1}
        assert planned(run(finished, "--dry-run")) == renewed
    finally:
        for path, text in before.items():
            path.write_text(text)


END = {"claims": 1, "figures": 1, "manifest": 1, "report": 1}


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("wavelet.py", {"baseline": 2, "evaluate": 2, "table": 2}),
        # The classifier, and the denoiser trained with its loss.
        ("residual.py", {"train": 2, "evaluate": 1, "table": 1}),
        # The two denoisers: the classifier is trained on clean images.
        ("poisson.py", {"noise": 2, "train": 2, "baseline": 2, "evaluate": 2, "table": 2}),
        ("shapes.py",
         {"data": 2, "noise": 2, "train": 3, "baseline": 2, "evaluate": 2, "table": 2}),
    ],
)  # fmt: skip
def test_an_edit_runs_what_it_changes(finished, file, stale):
    path = finished / EXAMPLES / file
    before = path.read_text()
    try:
        path.write_text(f"{before}\nMORE = 1\n")
        assert planned(run(finished, "--dry-run")) == stale | END
    finally:
        path.write_text(before)


def test_an_archive_has_the_plug_ins_as_they_were(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(finished)
    archive = export_run(Path("results/own"), tmp_path / "own.zip")
    with zipfile.ZipFile(archive) as content:
        kept = content.read("plugins/docs/examples/wavelet.py")
    path = EXAMPLES / "wavelet.py"
    before = path.read_bytes()
    assert kept == before
    try:
        path.write_bytes(before + b"# Later.\n")
        with pytest.raises(UserError, match=r"wavelet\.py"):
            export_run(Path("results/own"), tmp_path / "later.zip")
    finally:
        path.write_bytes(before)
