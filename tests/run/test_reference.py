"""A reference: what it has of a run, and that tables and verdicts can be computed from it again."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from compared_runs import CONFIG, SIGMA, compared, edit, shift_dncnn
from settings import PUBLISHED
from synthetic_run import write_results

from dhl.analysis.claims import compute_claims
from dhl.analysis.compare import MOVED, SAME
from dhl.analysis.run_results import read_run_results
from dhl.analysis.tables import build_table
from dhl.cli.parser import main
from dhl.config.methods import TABLES
from dhl.data.image_set import ImageSet, save_splits
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.run.failures import record_failure
from dhl.run.folder import RunFolder
from dhl.run.manifest import verify, write_manifest
from dhl.run.reference import write_reference

PARTS = tuple(CONFIG.parts)


@pytest.fixture(scope="module")
def run(base_run, tmp_path_factory) -> RunFolder:
    """A synthetic run with clean images of four photographs and its configuration."""
    folder = RunFolder(shutil.copytree(base_run.root, tmp_path_factory.mktemp("runs") / "run"))
    folder.config.write_text(yaml.safe_dump(CONFIG.model_dump(mode="json")))
    for part in PARTS:
        ids = sorted(pd.read_csv(folder.noise(part, SIGMA))["image_id"])
        photographs = np.array([f"photograph{number % 4}" for number in range(len(ids))])
        images = np.full((len(ids), 8, 8, 3), 9, np.uint8)
        test = ImageSet(ids, images, origins={"photographs": photographs})
        save_splits({"train": test, "test": test}, folder.data(part))
    write_results(CONFIG, folder)
    write_manifest(CONFIG, folder)
    return folder


@pytest.fixture(scope="module")
def reference(run, tmp_path_factory) -> RunFolder:
    root = tmp_path_factory.mktemp("references") / "base"
    write_reference(run.root, root)
    return RunFolder(root)


@pytest.fixture
def copy(run, tmp_path) -> RunFolder:
    """A copy of the run that a test may change."""
    return RunFolder(shutil.copytree(run.root, tmp_path / "copy"))


@pytest.mark.parametrize("part", PARTS)
def test_the_rows_of_the_images_are_those_of_the_run_sorted_by_image(run, reference, part):
    path = reference.evaluation(part, SIGMA)
    rows = gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes()).decode().splitlines()
    of_run = run.evaluation(part, SIGMA).read_text().splitlines()
    place = of_run[0].split(",").index("image_id")
    assert rows == [of_run[0], *sorted(of_run[1:], key=lambda row: row.split(",")[place])]
    noise = reference.noise(part, SIGMA)
    found = pd.read_csv(noise.with_name(f"{noise.name}.gz"))
    expected = pd.read_csv(run.noise(part, SIGMA))[["image_id", "sha256"]]
    pd.testing.assert_frame_equal(found, expected.sort_values("image_id", ignore_index=True))


def test_tables_and_verdicts_can_be_computed_again_from_the_reference_alone(reference):
    for part in PARTS:
        again = build_table(CONFIG, part, reference, PUBLISHED)
        written = pd.read_csv(reference.table(TABLES[part]))
        np.testing.assert_array_equal(again["value"], written["value"])
        np.testing.assert_array_equal(again["ci_low"], written["ci_low"])
    again, written = compute_claims(CONFIG, reference), pd.read_csv(reference.claims)
    assert list(again["verdict"]) == list(written["verdict"])
    np.testing.assert_allclose(again["difference"], written["difference"], rtol=1e-12)


@pytest.mark.slow
def test_the_committed_references_have_the_numbers_of_the_present_rules():
    script = str(PROJECT / "benchmarks/verdicts.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_script_says_which_verdicts_agree(reference, tmp_path):
    script = str(PROJECT / "benchmarks/verdicts.py")

    def check(root):
        done = subprocess.run([sys.executable, script, root], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    count = len(pd.read_csv(reference.claims))
    status, text = check(reference.root)
    assert (status, text.count("\nagrees ")) == (0, count), text
    assert f"{count} of {count} verdicts agree." in text
    other = RunFolder(shutil.copytree(reference.root, tmp_path / "other"))
    frame = pd.read_csv(other.claims)
    old = frame.loc[0, "verdict"]
    frame.loc[0, "verdict"] = "made up"
    frame.to_csv(other.claims, index=False)
    manifest = json.loads(other.manifest.read_text())
    manifest["reference"]["claims.csv"] = hashlib.sha256(other.claims.read_bytes()).hexdigest()
    other.manifest.write_text(json.dumps(manifest))
    status, text = check(other.root)
    assert (status, text.count("\nagrees "), text.count("\nDIFFERS ")) == (1, count - 1, 1)
    assert f": made up, now {old}\n" in text


def test_a_run_is_compared_with_its_reference_image_by_image(run, reference, copy):
    comparison = compared(reference, run)
    assert comparison.unpaired == {}
    assert set(comparison.cells["verdict"]) == {SAME}
    assert not comparison.changed
    edit(copy, "denoising", shift_dncnn)
    cells = compared(reference, copy).cells
    assert set(cells.loc[cells["verdict"] == MOVED, "method"]) == {"dncnn"}
    assert cells["test"].str.startswith("paired").all()


def test_a_reference_has_no_pictures_but_the_photograph_of_each_image(run, reference):
    small, whole = (dict(np.load(one.arrays("segmentation", SIGMA))) for one in (reference, run))
    kept = [name for name in whole if name.startswith("confusion/")]
    assert sorted(small) == sorted([*kept, "image_ids"])
    assert len(kept) == len(CONFIG.parts.segmentation.methods)
    for name in small:
        np.testing.assert_array_equal(small[name], whole[name])
    assert not reference.arrays("classification", SIGMA).exists()
    origins = dict(np.load(reference.data("classification")))
    assert sorted(origins) == ["test/ids", "test/origins/photographs"]
    assert origins["test/origins/photographs"][5] == "photograph1"


def test_a_run_whose_images_have_no_known_origin_has_none_in_its_reference(copy, tmp_path):
    ids = sorted(pd.read_csv(copy.noise("denoising", SIGMA))["image_id"])
    save_splits({"test": ImageSet(ids, np.zeros((len(ids), 8, 8, 3), np.uint8))},
                copy.data("denoising"))  # fmt: skip
    write_manifest(CONFIG, copy)
    write_reference(copy.root, tmp_path / "reference")
    assert not RunFolder(tmp_path / "reference").data("denoising").exists()
    assert RunFolder(tmp_path / "reference").data("segmentation").exists()


def test_the_manifest_is_that_of_the_run_and_lists_what_the_reference_has(run, reference):
    manifest = json.loads(reference.manifest.read_text())
    digests = manifest.pop("reference")
    assert manifest == json.loads(run.manifest.read_text())
    files = {path for path in reference.root.rglob("*") if path.is_file()} - {reference.manifest}
    assert digests == {
        path.relative_to(reference.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_equal_runs_give_equal_bytes_also_over_an_older_reference(run, reference, copy, tmp_path):
    shutil.copytree(reference.root, tmp_path / "again")
    write_reference(copy.root, tmp_path / "again")
    for path in reference.root.rglob("*"):
        if path.is_file():
            other = tmp_path / "again" / path.relative_to(reference.root)
            assert other.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["evaluation/denoising/sigma30.csv.gz",
                                  "noise/segmentation/sigma30.csv.gz",
                                  "evaluation/segmentation/sigma30.npz"])  # fmt: skip
def test_an_edited_reference_is_not_compared(run, reference, tmp_path, name):
    root = shutil.copytree(reference.root, tmp_path / "edited")
    (root / name).write_bytes((root / name).read_bytes() + b" ")
    assert verify(root) == [f"changed  {name}"]
    with pytest.raises(UserError) as caught:
        compared(root, run)
    assert caught.value.came.startswith(f"{root / name} differs")


@pytest.mark.parametrize(
    "content",
    [b"image_id\n", b"\x1f\x8b\x08\x00", gzip.compress(b"a", mtime=0)[:-6]],
    ids=["not compressed", "only the head", "cut off"],
)
def test_a_damaged_file_of_images_is_a_users_error(reference, tmp_path, content):
    folder = RunFolder(shutil.copytree(reference.root, tmp_path / "damaged"))
    path = folder.root / "evaluation/denoising/sigma30.csv.gz"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        compute_claims(CONFIG, folder)
    assert str(path) in caught.value.mistake


def test_a_run_that_was_touched_or_is_incomplete_is_refused(copy, tmp_path):
    copy.table(1).write_text("mine\n")
    with pytest.raises(UserError, match="differ from its manifest"):
        write_reference(copy.root, tmp_path / "reference")
    copy.arrays("segmentation", SIGMA).unlink()
    write_manifest(CONFIG, copy)
    with pytest.raises(UserError) as caught:
        write_reference(copy.root, tmp_path / "reference")
    assert caught.value.came.endswith(f"such as {copy.arrays('segmentation', SIGMA)}")
    assert not (tmp_path / "reference").exists()


def test_a_run_with_a_failed_result_is_refused(copy, tmp_path):
    failed = copy.evaluation("classification", SIGMA)
    record_failure([failed], status=1, log=tmp_path / "absent.log")
    write_manifest(CONFIG, copy)
    with pytest.raises(UserError) as caught:
        write_reference(copy.root, tmp_path / "reference")
    assert caught.value.came == f"1 files are missing, such as {failed}"


def test_a_folder_with_other_files_or_inside_the_run_is_refused(run, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError) as caught:
        write_reference(run.root, tmp_path)
    assert caught.value.came == "1 files, such as mine.txt"
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]
    with pytest.raises(UserError, match="inside the folder of the run"):
        write_reference(run.root, run.root / "reference")
    assert verify(run.root) == []


def test_the_command_writes_a_reference(run, reference, tmp_path):
    assert main(["reference", str(run.root), str(tmp_path / "mine")]) == 0
    assert main(["verify", str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine/manifest.json").read_bytes() == reference.manifest.read_bytes()


@pytest.mark.parametrize("root", sorted(PROJECT.glob("results/reference/*/")), ids=lambda p: p.name)
def test_each_committed_reference_can_be_read_and_is_small(root):
    results = read_run_results(root)
    assert len(results.averages) > 10
    files = {path: path.stat().st_size for path in root.rglob("*") if path.suffix != ".html"}
    assert sum(files.values()) < 1e7
    if "reference" in results.manifest:
        assert verify(root) == []
