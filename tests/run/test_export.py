"""The archive of a run: its files, its metadata, and the runs that are refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from urllib.parse import unquote

import pytest
import yaml
from report_run import denoising_only, write_run
from synthetic_run import write_curve

from dhl.cli.parser import main
from dhl.config.parse import load_config
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.run.contents import files_of
from dhl.run.crate import METADATA, WORKFLOW
from dhl.run.export import export_run
from dhl.run.folder import RunFolder
from dhl.run.manifest import read_manifest, verify, write_manifest
from dhl.run.model_graph import all_models


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunFolder:
    """A run of one part; pictures, page and weights are placeholder texts."""
    config = denoising_only()
    folder = write_run(config, tmp_path_factory.mktemp("finished") / "mini")
    for key in all_models(config):
        write_curve(folder, key)
    for path in files_of(config, folder, "model", "noise", "figure", "report"):
        if path.suffix != ".csv" or path.parent.name != "figures":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"instead of {path.name}\n")
    folder.config.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DHL_STARTED", str(time.time() - 3600))
        write_manifest(config, folder)
    return folder


@pytest.fixture
def folder(finished, tmp_path) -> RunFolder:
    """A copy of the run that a test may change."""
    return RunFolder(shutil.copytree(finished.root, tmp_path / "mini"))


@pytest.fixture(scope="module")
def archive(finished):
    with zipfile.ZipFile(export_run(finished.root)) as archive:
        yield archive


@pytest.fixture(scope="module")
def entities(archive):
    graph = json.loads(archive.read(METADATA))["@graph"]
    assert len({entity["@id"] for entity in graph}) == len(graph)
    return {entity["@id"]: entity for entity in graph}


def references(value):
    """Yield every identifier that a value points to."""
    if isinstance(value, dict):
        yield value["@id"]
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_the_archive_has_results_code_and_citation_but_no_weights(archive, finished):
    names = archive.namelist()
    assert archive.testzip() is None
    assert names == sorted(names)
    for name in ("report/index.html", "tables/table1.tex", "figures/psnr_over_sigma.pdf",
                 "claims.csv", "evaluation/denoising/sigma25.csv", "manifest.json", "config.yaml",
                 "training/separate/sigma25.csv", "CITATION.cff", "citation.bib", "README.md",
                 "LICENSE", WORKFLOW, "workflow/rules/train.smk"):  # fmt: skip
        assert name in names
    assert archive.read("claims.csv") == finished.claims.read_bytes()
    assert archive.read("CITATION.cff") == (PROJECT / "CITATION.cff").read_bytes()
    assert not [name for name in names if name.endswith((".pt", ".npz"))]


def test_optional_files_are_in_the_archive_if_the_run_has_them(folder):
    files = {
        "figures/psnr_over_sigma.csv": "sigma,value\n25,30\n",
        "data/denoising.skipped.csv": "split,image_id,path,reason\n",
        "downloads/kodak.json": '{"name": "kodak"}\n',
        "downloads/imagenette.json": '{"name": "of another configuration"}\n',
    }
    for name, text in files.items():
        (folder.root / name).parent.mkdir(exist_ok=True)
        (folder.root / name).write_text(text)
    content = yaml.safe_load(folder.config.read_text())
    data = {"kind": "folder", "name": "kodak24", "train": "mine", "test": "kodak"}
    content["parts"]["denoising"]["data"] = data
    folder.config.write_text(yaml.safe_dump(content))
    write_manifest(load_config(folder.config), folder)
    with zipfile.ZipFile(export_run(folder.root)) as archive:
        there = {name: archive.read(name).decode() for name in files if name in archive.namelist()}
        page = archive.read("README.md").decode()
    assert there == {name: text for name, text in files.items() if "imagenette" not in name}
    for top in ("data", "downloads"):
        assert f"| `{top}` |" in page


def test_weights_are_in_the_archive_if_asked_for(folder, tmp_path):
    with zipfile.ZipFile(export_run(folder.root, tmp_path / "all.zip", models=True)) as archive:
        weights = [name for name in archive.namelist() if name.endswith(".pt")]
    assert weights == sorted(f"models/{key}.pt" for key in all_models(denoising_only()))


def test_every_file_is_described_with_its_size_and_digest(archive, entities):
    files = {unquote(key): entity for key, entity in entities.items() if "File" in entity["@type"]}
    assert set(files) == set(archive.namelist()) - {METADATA}
    for name, entity in files.items():
        content = archive.read(name)
        assert entity["sha256"] == hashlib.sha256(content).hexdigest()
        assert entity["contentSize"] == str(len(content))
        assert re.fullmatch(r"[a-z]+/[a-z0-9.+-]+", entity["encodingFormat"])
        assert entity["description"]
    parts = [unquote(key) for key in references(entities["./"]["hasPart"])]
    assert parts == sorted(files)


def test_every_identifier_leads_to_an_entity(entities):
    # The specification and the pages of Snakemake are web addresses.
    outside = {
        "https://w3id.org/ro/crate/1.1",
        "https://snakemake.readthedocs.io",
        "https://doi.org/10.1093/bioinformatics/bts480",
    }
    for entity in entities.values():
        for key, value in entity.items():
            if not key.startswith("@"):
                assert set(references(value)) <= set(entities) | outside, entity["@id"]


def test_the_archive_says_what_it_is(entities):
    root = entities["./"]
    for key in ("name", "description", "datePublished", "license"):
        assert root[key]
    assert "photo-digits" in root["description"]
    assert entities[root["license"]["@id"]]["name"] == "MIT License"
    article = entities[root["citation"]["@id"]]
    assert article["@type"] == "ScholarlyArticle"
    assert [entities[key]["name"].split()[-1] for key in references(article["author"])] == [
        "Liu", "Wen", "Liu", "Wang", "Huang"
    ]  # fmt: skip


def test_the_run_is_an_action_of_the_workflow(entities, finished):
    manifest = json.loads(finished.manifest.read_text())
    action = entities[entities["./"]["mentions"]["@id"]]
    assert action["@type"] == "CreateAction"
    assert action["instrument"] == {"@id": WORKFLOW}
    assert action["object"] == {"@id": "config.yaml"}
    assert {"@id": "tables/table1.csv"} in action["result"]
    assert {"@id": "LICENSE"} not in action["result"]
    assert action["endTime"] == manifest["created"].replace("Z", "+00:00")
    assert action["startTime"] == manifest["started"].replace("Z", "+00:00")
    assert manifest["commit"] in action["description"]


def test_a_resumed_run_has_no_known_start(folder, monkeypatch, tmp_path):
    config = load_config(folder.config)
    monkeypatch.setenv("DHL_STARTED", str(time.time() - 3600))
    os.utime(folder.config, times=(0, 0))
    write_manifest(config, folder)
    with zipfile.ZipFile(export_run(folder.root, tmp_path / "resumed.zip")) as archive:
        entities = json.loads(archive.read(METADATA))["@graph"]
    (action,) = [one for one in entities if one["@type"] == "CreateAction"]
    assert "startTime" not in action
    assert action["endTime"] == read_manifest(folder)["created"].replace("Z", "+00:00")


def test_the_workflow_names_its_language_and_the_versions(entities, finished):
    versions = json.loads(finished.manifest.read_text())["versions"]
    workflow = entities[WORKFLOW]
    assert workflow["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    assert entities[workflow["programmingLanguage"]["@id"]]["name"] == "Snakemake"
    software = [entities[key] for key in references(workflow["softwareRequirements"])]
    assert {one["name"]: one["softwareVersion"] for one in software} == versions
    assert {one["@type"] for one in software} == {"SoftwareApplication"}


def test_equal_runs_give_equal_bytes(finished, folder, tmp_path):
    os.utime(folder.report, (0, 0))
    first, second = (export_run(run.root, tmp_path / "a.zip").read_bytes()
                     for run in (finished, folder))  # fmt: skip
    assert first == second


def test_the_page_of_the_archive_names_all_that_is_in_it(archive):
    page = archive.read("README.md").decode()
    tops = {name.split("/")[0] for name in archive.namelist()} - {METADATA}
    assert set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)) == tops
    assert (PROJECT / "citation.bib").read_text().strip() in page


def test_the_page_of_the_archive_shows_the_name_of_a_data_set_as_it_is(folder):
    settings = yaml.safe_load(folder.config.read_text())
    data = {"kind": "folder", "name": "<b>a|b", "train": "here", "test": "there"}
    settings["parts"]["denoising"]["data"] = data
    folder.config.write_text(yaml.safe_dump(settings))
    write_manifest(load_config(folder.config), folder)
    with zipfile.ZipFile(export_run(folder.root)) as archive:
        assert r"the data set &lt;b&gt;a\|b at" in archive.read("README.md").decode()


@pytest.mark.parametrize(
    ("touch", "line"),
    [
        (lambda folder: folder.claims.write_text("claim\n"), "changed  claims.csv"),
        (lambda folder: folder.table(1).unlink(), "removed  tables/table1.csv"),
        (lambda folder: (folder.root / "tables/mine.csv").write_text("1"), "added    tables/mine"),
    ],
)
def test_a_run_that_was_touched_is_refused(folder, touch, line):
    touch(folder)
    with pytest.raises(UserError) as caught:
        export_run(folder.root)
    assert line in caught.value.came
    assert not list(folder.root.parent.glob("*.zip"))


@pytest.mark.parametrize("name", ["report/index.html", "figures/training_curves.pdf"])
def test_a_run_that_is_not_finished_is_refused(folder, name):
    (folder.root / name).unlink()
    write_manifest(denoising_only(), folder)
    with pytest.raises(UserError) as caught:
        export_run(folder.root)
    assert caught.value.came.endswith(f"such as {folder.root / name}")
    assert not list(folder.root.parent.glob("*.zip"))


def test_an_archive_in_the_runs_own_folder_is_refused(folder):
    with pytest.raises(UserError) as caught:
        export_run(folder.root, folder.root / "mini.zip")
    assert "--output" in caught.value.do
    assert verify(folder.root) == []


def test_the_command_prints_where_the_archive_is(folder, tmp_path, capsys):
    assert main(["export", str(folder.root), "--output", str(tmp_path / "mine.zip")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "mine.zip")
    folder.claims.unlink()
    assert main(["export", str(folder.root)]) == 1
    assert "removed  claims.csv" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["folder", "file/mine.zip", "/proc/mine.zip"])
def test_a_path_where_no_archive_can_be_written_is_named(folder, tmp_path, capsys, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.iterdir())
    assert main(["export", str(folder.root), "--output", str(tmp_path / path)]) == 1
    assert f"found: {tmp_path / path}: " in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_text() == "mine"


VALIDATE = """
import json, sys
from pathlib import Path
import requests, requests_cache, rocrate
from rocrate_validator import models, services

class Context(requests.adapters.BaseAdapter):
    "The JSON-LD context of RO-Crate 1.1, from the package rocrate instead of the network."
    def send(self, request, **options):
        from io import BytesIO
        from urllib3 import HTTPResponse
        file = Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld"
        raw = HTTPResponse(BytesIO(file.read_bytes()), preload_content=False, status=200,
                           headers={"Content-Type": "application/ld+json"})
        return requests.adapters.HTTPAdapter().build_response(request, raw)
    def close(self):
        pass

archive, cache = sys.argv[1:]
with requests_cache.CachedSession(cache) as session:
    session.mount("https://w3id.org", Context())
    assert session.get("https://w3id.org/ro/crate/1.1/context").json()["version"].startswith("1.1")
result = services.validate(services.ValidationSettings(
    rocrate_uri=archive, profile_identifier="workflow-run-crate", offline=True, cache_path=cache,
    requirement_severity=models.Severity.RECOMMENDED,
))
print(json.dumps([[one.severity.name, f"{one.check.identifier}: {one.message}"]
                  for one in result.get_issues()]))
"""


def test_the_public_validator_finds_nothing_that_is_required(finished, tmp_path):
    pytest.importorskip("rocrate_validator", reason="roc-validator, of the extra `dev`, checks it")
    archive = export_run(finished.root, tmp_path / "mini.zip")
    command = [sys.executable, "-c", VALIDATE, str(archive), str(tmp_path / "cache")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    issues = json.loads(done.stdout.splitlines()[-1])
    # Who ran it, and where the software is published, is not known; the workflow's identifier is
    # its path in the archive.
    unknown = r"author|publisher|agent|affiliation|URL|url|Bioschemas|absolute URI"
    unexpected = [one for one in issues if one[0] == "REQUIRED" or not re.search(unknown, one[1])]
    assert issues and unexpected == []
