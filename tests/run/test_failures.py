"""Failed results: how they are written, and how evaluations, tables and report show them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from html_tree import parse
from report_run import TEMPLATES, small_config, write_shown_figures
from settings import PUBLISHED
from synthetic_run import drop_method, write_results

from dhl.analysis.measurements import read_measurements
from dhl.cli.parser import main
from dhl.errors import UserError
from dhl.evaluation.evaluate import evaluate
from dhl.report.page import write_report
from dhl.run.evaluations import failed_experiments
from dhl.run.failures import failed_results, failure_of, record_failure
from dhl.run.folder import RunFolder
from dhl.run.manifest import verify, write_manifest
from dhl.run.results import CLAIM_COLUMNS, TABLE_COLUMNS, read_csv
from dhl.training.train import train_model

MISTAKE = "dhl: a loss is finite.\n  found: nan within the 5 steps before step 7\n  to do: less.\n"


@pytest.mark.parametrize(
    ("log", "status", "reason"),
    [
        (f"step 1\n{MISTAKE}", 1, "a loss is finite. Found: nan within the 5 steps before step 7"),
        ("Traceback (most recent call last):\n  ...\nKeyError: 'x'\n\n", 1, "KeyError: 'x'"),
        ("step 30 of 100\n", 137, "killed, probably because the memory was full"),
        ("", 3, "exit status 3"),
    ],
)
def test_a_failed_result_has_the_reason_at_the_end_of_the_log(tmp_path, log, status, reason):
    (tmp_path / "job.log").write_text(log)
    path = tmp_path / "deep/model.pt"
    assert record_failure([path], status=status, log=tmp_path / "job.log") == reason
    assert failure_of(path) == reason
    assert failure_of(tmp_path / "job.log") is None
    assert failure_of(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["--status", "1"], 0),
        (["--status", "137"], 0),
        (["--status", "143"], 143),  # stopped: resumed later
        (["--status", "130"], 130),
        (["--status", "1", "--last", "0"], 1),  # a cluster tries it again
    ],
)
def test_the_command_records_a_failure_of_the_last_try(tmp_path, options, status):
    log, path = tmp_path / "job.log", tmp_path / "model.pt"
    log.write_text(MISTAKE)
    assert main(["record-failure", str(path), "--log", str(log), *options]) == status
    assert (failure_of(path) is not None) == (status == 0)


def test_a_training_that_starts_from_a_failed_model_fails_with_its_reason(tiny_config, run_copy):
    record_failure([run_copy.model("separate/sigma30")], status=9, log=run_copy.root / "none.log")
    run_copy.model("joint-classification/sigma30").unlink()
    with pytest.raises(UserError) as caught:
        train_model(tiny_config, "joint-classification/sigma30", run_copy)
    assert caught.value.came == "separate/sigma30 failed: exit status 9"


def test_an_evaluation_measures_the_methods_that_did_not_fail(tiny_config, run_copy):
    before = pd.read_csv(run_copy.evaluation("segmentation", 30))
    record_failure(
        [run_copy.model("joint-segmentation/sigma30")], status=9, log=run_copy.root / "none"
    )
    evaluate(tiny_config, "segmentation", 30, run_copy)
    after = pd.read_csv(run_copy.evaluation("segmentation", 30))
    kept = before[before["method"] != "joint"].reset_index(drop=True)
    pd.testing.assert_frame_equal(after, kept)
    evaluate(tiny_config, "classification", 30, run_copy)
    others = pd.read_csv(run_copy.evaluation("classification", 30))
    assert "cross" not in set(others["method"])
    assert "joint" in set(others["method"])


def test_without_the_task_network_the_retrained_one_alone_is_measured(tiny_config, run_copy):
    record_failure([run_copy.model("segmenter/clean")], status=9, log=run_copy.root / "none")
    evaluate(tiny_config, "segmentation", 30, run_copy)
    rows = pd.read_csv(run_copy.evaluation("segmentation", 30))
    assert set(rows["method"]) == {"retrained"}


def test_a_failure_of_cbm3d_leaves_out_that_method_alone(tiny_config, run_copy):
    record_failure(
        [run_copy.baseline("denoising", "cbm3d", 30)], status=9, log=run_copy.root / "none"
    )
    assert failed_experiments(tiny_config, run_copy, "denoising", 30) == {"cbm3d": "exit status 9"}
    evaluate(tiny_config, "denoising", 30, run_copy)
    assert "cbm3d" not in set(pd.read_csv(run_copy.evaluation("denoising", 30))["method"])


@pytest.fixture(scope="module")
def config():
    return small_config()


def fail_joint(folder: RunFolder) -> None:
    """Write the files that a failed training of the joint denoiser at sigma 60 leaves."""
    (folder.root / "job.log").write_text(MISTAKE)
    failed = [
        folder.model("joint-segmentation/sigma60"),
        folder.training("joint-segmentation/sigma60"),
    ]
    record_failure(failed, status=1, log=folder.root / "job.log")
    for part, method in (("segmentation", "joint"), ("classification", "cross")):
        drop_method(folder.evaluation(part, 60), method)


def test_the_report_is_built_and_says_what_failed(config, drawn_copy):
    fail_joint(drawn_copy)
    write_results(config, drawn_copy)
    write_report(config, drawn_copy, templates=TEMPLATES, published=PUBLISHED)
    table = read_csv(drawn_copy.table(3), TABLE_COLUMNS)
    failed = table[table["status"].astype(str).str.startswith("failed")]
    assert set(failed["method"]) == {"joint"}
    assert set(failed["sigma"]) == {60}
    assert set(failed["status"]) == {
        "failed: a loss is finite. Found: nan within the 5 steps before step 7"
    }
    assert failed["value"].isna().all()
    assert "| failed |" in drawn_copy.table(3, "md").read_text()
    claims = read_csv(drawn_copy.claims, CLAIM_COLUMNS)
    row = claims[(claims["claim"] == "segmentation-joint-over-cbm3d") & (claims["sigma"] == 60)]
    assert row["reason"].item() == "joint failed at sigma 60"
    page = parse(drawn_copy.report.read_text("utf-8"))
    (notice,) = page.find("aside", class_="failures")
    links = {link.text: link.attributes["href"] for link in notice.find("a")}
    assert links == {
        "Joint, segmentation at sigma 60": "#made-segmentation-60-joint",
        "Joint, cross-task, classification at sigma 60": "#made-classification-60-cross",
    }
    assert "nan within the 5 steps" in notice.text
    cells = [cell for cell in page.find("td", class_="failed")]
    assert len(cells) == 2 + 3  # mIoU, both accuracies, and the cross-entropy of each task


def test_with_every_evaluation_missing_there_is_still_a_report(config, drawn_copy):
    for part in config.parts:
        for sigma in config.parts[part].sigmas:
            path = drawn_copy.evaluation(part, sigma)
            record_failure([path, path.with_suffix(".npz")], status=1, log=drawn_copy.root / "none")
    write_results(config, drawn_copy)
    write_shown_figures(config, drawn_copy)
    write_report(config, drawn_copy, templates=TEMPLATES, published=PUBLISHED)
    measured = read_measurements(config, drawn_copy, "classification", 30)
    assert measured.features == {}
    assert set(measured.failures) == set(config.parts.classification.methods)
    text = drawn_copy.report.read_text("utf-8")
    assert "Nothing to show" in text
    (browser,) = parse(text).find("section", id="browser")
    assert "No evaluation succeeded." in browser.text
    cells = {cell.text for cell in parse(text).find("td", class_="failed")}
    assert cells == {"failed: exit status 1 (log)"}
    claims = read_csv(drawn_copy.claims, CLAIM_COLUMNS)
    assert set(claims["verdict"]) == {"not tested"}


def test_a_whole_run_says_nothing_of_failures(config, drawn_copy):
    write_report(config, drawn_copy, templates=TEMPLATES, published=PUBLISHED)
    assert list(parse(drawn_copy.report.read_text("utf-8")).find("aside", class_="failures")) == []
    assert list(failed_results(drawn_copy)) == []


def test_the_manifest_lists_no_failed_results(config, drawn_copy):
    fail_joint(drawn_copy)
    write_manifest(config, drawn_copy)
    failed = list(failed_results(drawn_copy))
    assert [path.suffix for path, _ in failed] == [".pt", ".csv"]
    for path, _ in failed:
        path.unlink()
    assert verify(drawn_copy.root) == []


def test_one_failed_method_changes_no_other_number(config, drawn_copy, drawn_run):
    tasks = list(config.parts)[1:]
    before = {part: read_measurements(config, drawn_run, part, 60) for part in tasks}
    fail_joint(drawn_copy)
    for part, old in before.items():
        new = read_measurements(config, drawn_copy, part, 60)
        lost = {"segmentation": "joint", "classification": "cross"}[part]
        assert set(old.features) - set(new.features) == {
            key for key in old.features if key[0] == lost
        }
        for key, values in new.features.items():
            np.testing.assert_array_equal(values, old.features[key])
