"""The example of docs/extending.md with plug-ins of all four kinds, from data to report."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from html_tree import parse
from workflow_runs import finish, planned, snakemake

from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.run.export import export_run
from dhl.run.folder import RunFolder
from dhl.run.manifest import verify
from dhl.run.results import TABLE_COLUMNS, file_digest, read_csv

pytestmark = pytest.mark.slow
EXAMPLES = Path("docs/examples")
CONFIG = EXAMPLES / "own.yaml"


@contextmanager
def extended(path: Path, more: str) -> Iterator[None]:
    """Add text to the end of a file inside a block."""
    text = path.read_text(encoding="utf-8")
    try:
        path.write_text(text + more, encoding="utf-8")
        yield
    finally:
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Path:
    """A folder with the examples and their complete run."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(
        PROJECT / EXAMPLES, folder / EXAMPLES, ignore=shutil.ignore_patterns("__pycache__")
    )
    finish(folder, "report", "--configfile", str(folder / CONFIG))
    return folder


def test_the_method_has_its_row_in_tables_figures_and_report(complete):
    results = RunFolder(complete / "results/own")
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


def test_the_report_names_noise_data_and_code(complete):
    page = (complete / "results/own/report/index.html").read_text("utf-8")
    for name in ("poisson.py:poisson_gaussian", "shapes.py:shapes"):
        assert f"<code>{EXAMPLES}/{name}</code>" in page
    manifest = json.loads((complete / "results/own/manifest.json").read_text())
    files = {str(EXAMPLES / f"{name}.py") for name in ("wavelet", "residual", "poisson", "shapes")}
    assert set(manifest["plugins"]) == files
    for path, digest in manifest["plugins"].items():
        assert digest == file_digest(complete / path)
        assert digest in page
    assert verify(complete / "results/own") == []


def test_the_resolved_configuration_has_nothing_to_do(complete):
    resolved = complete / "results/own/config.yaml"
    assert yaml.safe_load(resolved.read_text())["plugin_methods"] == {
        "wavelet": f"{EXAMPLES}/wavelet.py:wavelet"
    }
    assert planned(snakemake(complete, "--configfile", str(resolved), "--dry-run")) == {}


END = {"claims": 1, "figures": 1, "manifest": 1, "report": 1}


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("wavelet.py", {"baseline": 2, "preview": 1, "evaluate": 2, "table": 2}),
        # The classifier, and the denoiser trained with its loss.
        ("residual.py", {"train": 2, "evaluate": 1, "table": 1}),
        # The two denoisers: the classifier is trained on clean images.
        ("poisson.py",
         {"noise": 2, "train": 2, "baseline": 2, "preview": 1, "evaluate": 2, "table": 2}),
        ("shapes.py",
         {"data": 2, "noise": 2, "train": 3, "baseline": 2, "preview": 1, "evaluate": 2,
          "table": 2}),
    ],
)  # fmt: skip
def test_an_edit_repeats_the_jobs_that_it_affects(complete, file, stale):
    options = ("report", "--configfile", str(complete / CONFIG), "--dry-run")
    with extended(complete / EXAMPLES / file, "\nMORE = 1\n"):
        assert planned(snakemake(complete, *options)) == stale | END
    with extended(complete / EXAMPLES / file, "\n# More.\n"):
        assert planned(snakemake(complete, *options)) == {"manifest": 1, "report": 1}


def test_an_archive_has_the_plug_ins_of_the_run(complete, tmp_path, monkeypatch):
    monkeypatch.chdir(complete)
    archive = export_run(Path("results/own"), tmp_path / "own.zip")
    with zipfile.ZipFile(archive) as content:
        kept = content.read("plugins/docs/examples/wavelet.py")
    path = EXAMPLES / "wavelet.py"
    assert kept == path.read_bytes()
    with extended(path, "# Later.\n"), pytest.raises(UserError, match=r"wavelet\.py"):
        export_run(Path("results/own"), tmp_path / "later.zip")
