"""Digests, manifests, and the changes that `verify` finds."""

from __future__ import annotations

import hashlib
import json
import subprocess
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from settings import changed

from dhl.data.image_set import load_split
from dhl.errors import UserError
from dhl.report.templates import read_asset
from dhl.run import manifest as manifest_module
from dhl.run.contents import benchmarks_of
from dhl.run.export import export_run
from dhl.run.fingerprints import settings_digest
from dhl.run.folder import RunFolder
from dhl.run.manifest import (
    check_untouched,
    not_compared,
    read_manifest,
    verify,
    write_manifest,
)
from dhl.run.results import (
    IMAGE_COLUMNS,
    NOISE_COLUMNS,
    file_digest,
    read_csv,
    read_image_rows,
    record_of,
    result_path,
    write_csv,
)


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 5000])
def test_a_files_digest_is_its_sha256(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_settings_have_equal_digests_only_if_they_are_equal(tiny_config):
    same, other = tiny_config.model_copy(), tiny_config.model_copy(update={"base_seed": 2})
    assert settings_digest(tiny_config) == settings_digest(same) != settings_digest(other)
    assert settings_digest("a", "b") != settings_digest("ab")


@pytest.fixture
def manifested(tiny_config, run_copy):
    """A finished run with its manifest."""
    write_manifest(tiny_config, run_copy)
    return run_copy


def test_advice_after_a_change_names_the_configuration_of_the_run(tiny_config, run_copy):
    run_copy.config.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    write_manifest(tiny_config, run_copy)
    run_copy.training("classifier/clean").write_text("")
    with pytest.raises(UserError) as caught:
        check_untouched(run_copy.root)
    assert f"--configfile {run_copy.config}`" in caught.value.do


def test_verify_lists_what_was_changed_removed_or_added(manifested):
    for name in ("logs/train.log", "checkpoints/separate/side.pt", "benchmarks/x.tsv"):
        path = manifested.root / name  # these are not results
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("s\n1.0\n")
    assert verify(manifested.root) == []
    manifested.data("denoising").unlink()
    manifested.model("classifier/clean").write_bytes(b"")
    (manifested.root / "notes.txt").write_text("mine")
    assert verify(manifested.root) == [
        "added    notes.txt", "changed  models/classifier/clean.pt",
        "removed  data/denoising.npz",
    ]  # fmt: skip


def test_a_manifest_does_not_vouch_for_a_result_that_its_job_did_not_write(
    tiny_config, run_copy, recorded
):
    path = run_copy.evaluation("denoising", 30)
    frame = read_image_rows(path)
    write_csv(frame, path, IMAGE_COLUMNS)
    write_manifest(tiny_config, run_copy)
    assert verify(run_copy.root) == []
    frame.loc[0, "psnr"] = 77.7
    frame.to_csv(path, index=False)
    with pytest.raises(UserError) as caught:
        write_manifest(tiny_config, run_copy)
    assert str(path) in caught.value.mistake
    assert verify(run_copy.root) == ["changed  evaluation/denoising/sigma30.csv"]


def test_a_manifest_is_of_the_configuration_in_the_folder(tiny_config, run_copy):
    run_copy.config.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    write_manifest(tiny_config, run_copy)
    text = run_copy.config.read_text()
    run_copy.config.write_text(text.replace("confidence: 0.95", "confidence: 0.99"))
    with pytest.raises(UserError) as caught:
        write_manifest(tiny_config, run_copy)
    assert str(run_copy.config) in caught.value.mistake


def test_verify_compares_the_report_and_names_what_it_does_not_compare(manifested, recorded):
    root = manifested.root
    with result_path(manifested.report) as temporary:
        temporary.write_text("<p>joint is better</p>")
    for name in ("logs/train.log", "checkpoints/separate/side.pt", ".hidden", "report/mine.html"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
    (root / "elsewhere").symlink_to(root.parent)
    (root / "nowhere").symlink_to(root / "missing")
    assert verify(root) == []
    assert not_compared(root) == [
        ".hidden", "checkpoints/", "elsewhere", "logs/", "nowhere", "report/mine.html",
    ]  # fmt: skip
    manifested.report.write_text("<p>joint is worse</p>")
    assert verify(root) == ["changed  report/index.html"]
    manifested.report.unlink()
    assert verify(root) == ["removed  report/index.html"]


def test_a_changed_manifest_is_refused(tiny_config, run_copy, recorded):
    write_manifest(tiny_config, run_copy)
    text = run_copy.manifest.read_text()
    run_copy.manifest.write_text(text.replace('"base_seed": 1706', '"base_seed": 1707'))
    with pytest.raises(UserError) as caught:
        verify(run_copy.root)
    assert str(run_copy.manifest) in caught.value.mistake


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("noise/denoising/sigma30.csv", lambda path: read_csv(path, NOISE_COLUMNS)),
        ("data/denoising.npz", lambda path: load_split(path, "test")),
        ("tables/table1.html", read_asset),
    ],
)
def test_a_result_with_a_flipped_bit_is_refused_wherever_it_is(run_copy, recorded, name, read):
    path = run_copy.root / name
    path.parent.mkdir(exist_ok=True)
    content = path.read_bytes() if path.exists() else b"<table></table>"
    with result_path(path) as temporary:
        temporary.write_bytes(content)
    read(path)
    for place in np.random.default_rng(0).integers(0, len(content), 40).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError) as caught:
            read(path)
        assert str(path) in caught.value.came
    path.write_bytes(content)
    read(path)
    assert (
        subprocess.run(["sha256sum", "-c", record_of(path).name], cwd=path.parent).returncode == 0
    )


def test_the_manifest_names_seed_versions_configuration_and_files(tiny_config, manifested):
    manifest = json.loads(manifested.manifest.read_text())
    assert manifest["run"] == "tiny"
    assert manifest["base_seed"] == tiny_config.base_seed
    assert manifest["versions"]["torch"] == metadata.version("torch")
    assert manifest["configuration"] == tiny_config.model_dump(mode="json")
    for name in ("models/joint-segmentation/sigma30.pt", "data/denoising.npz",
                 "noise/denoising/sigma30.csv", "evaluation/segmentation/sigma30.npz"):  # fmt: skip
        expected = hashlib.sha256((manifested.root / name).read_bytes()).hexdigest()
        assert manifest["files"][name] == expected


def test_the_manifest_says_on_which_device_networks_were_trained(tiny_config, run_copy):
    path = run_copy.training("classifier/clean")
    curve = pd.read_csv(path)
    curve.assign(device="A GPU", precision="bfloat16").to_csv(path, index=False)
    write_manifest(tiny_config, run_copy)
    trained_on = json.loads(run_copy.manifest.read_text())["hardware"]["trained_on"]
    assert trained_on.split("; ")[0] == "A GPU in bfloat16"
    assert len(trained_on.split("; ")) == 2


def test_software_is_from_conda_only_if_this_python_is(
    tiny_config, run_copy, tmp_path, monkeypatch
):
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "base"))
    found = []
    for prefix, kind in (("env", "conda-meta"), (".venv", "lib")):
        (tmp_path / prefix / kind).mkdir(parents=True)
        monkeypatch.setattr("sys.prefix", str(tmp_path / prefix))
        write_manifest(tiny_config, run_copy)
        found.append(read_manifest(run_copy)["deployment"])
    assert found == ["conda", "environment"]


def test_compute_time_is_the_sum_of_the_benchmarks(tiny_config, run_copy):
    contents = [f"s\th:m:s\n{seconds}\t0:00:01\n".encode() for seconds in (1.5, 2.25)]
    # None of these says how long its job took.
    contents += [b"", b"s\th:m:s\n", b"s\th:m:s\n-\t-\n", b"s\n\xff\xfe\n", b"a\tb\n7\t8\n"]
    for path, content in zip(benchmarks_of(tiny_config, run_copy), contents, strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    write_manifest(tiny_config, run_copy)
    seconds = json.loads(run_copy.manifest.read_text())["compute_seconds"]
    assert seconds == pytest.approx(3.75, abs=0.06)


@pytest.mark.parametrize("content", [None, "", "{", "{}", "[]"])
def test_a_missing_or_unreadable_manifest_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError) as caught:
        verify(tmp_path)
    assert str(tmp_path / "manifest.json") in caught.value.mistake


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a file of code and a file of the user, taken for that of the project."""
    for name in ("dhl/code.py", "notes/mine.txt"):
        (tmp_path / "checkout" / name).parent.mkdir(parents=True)
        (tmp_path / "checkout" / name).write_text("one\n")
    for arguments in (["init"], ["add", "."], ["commit", "--message", "First"]):
        names = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        command = ["git", "-C", tmp_path / "checkout", *names, *arguments]
        subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setattr("dhl.run.manifest.PROJECT", tmp_path / "checkout")
    return tmp_path / "checkout"


@pytest.mark.parametrize(
    ("name", "dirty"),
    [("dhl/code.py", True), ("dhl/new.py", False), ("notes/mine.txt", False), ("x", False)],
)
def test_only_a_change_of_tracked_code_makes_the_code_changed(
    tiny_config, run_copy, checkout, monkeypatch, name, dirty
):
    monkeypatch.setenv("GIT_DIR", str(checkout.parent))  # as in a hook of another repository
    write_manifest(tiny_config, run_copy)
    clean = json.loads(run_copy.manifest.read_text())
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (checkout / name).write_text("two\n")
    write_manifest(tiny_config, run_copy)
    changed = json.loads(run_copy.manifest.read_text())
    assert (changed["commit"], changed["dirty"]) == (clean["commit"], dirty)


def test_code_without_a_repository_has_no_commit(tiny_config, run_copy, tmp_path, monkeypatch):
    monkeypatch.setattr("dhl.run.manifest.PROJECT", tmp_path)
    write_manifest(tiny_config, run_copy)
    manifest = json.loads(run_copy.manifest.read_text())
    assert (manifest["commit"], manifest["dirty"]) == (None, None)


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, "del") for key in ("run", "created", "versions", "hardware", "base_seed", "files")]
    + [("created", "yesterday"), ("files", {"a": 1}), ("versions", []), ("plugins", None)],
)
def test_a_manifest_without_a_key_or_with_another_type_is_refused(
    tiny_config, tmp_path, key, value
):
    folder = RunFolder(tmp_path)
    write_manifest(tiny_config, folder)
    assert verify(tmp_path) == []
    folder.manifest.write_text(json.dumps(changed(read_manifest(folder), key, value)))
    with pytest.raises(UserError) as caught:
        export_run(tmp_path)
    assert str(folder.manifest) in caught.value.mistake
    assert f"`{key}" in caught.value.came


def test_the_root_of_the_disk_is_no_run():
    with pytest.raises(UserError, match=r"/manifest\.json"):
        export_run(Path("/"))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: sse avx2 avx512f\n", "AMD EPYC with AVX-512"),
        ("flags\t\t: sse avx2\nmodel name\t: AMD  EPYC\n", "AMD EPYC with AVX2"),
        ("model name\t: Old: one\nflags\t\t: sse\n", "Old: one"),
    ],
)
def test_a_processor_is_named_with_its_widest_instructions(tmp_path, monkeypatch, lines, expected):
    (tmp_path / "cpuinfo").write_text(lines)
    monkeypatch.setattr(manifest_module, "_CPUINFO", tmp_path / "cpuinfo")
    assert manifest_module.processor() == expected
