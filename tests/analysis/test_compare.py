"""`dhl compare`: the cells that moved between two runs, against SciPy, pandas and hand counts."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pandas as pd
import pytest
from compared_runs import (
    CONFIG,
    IMAGES,
    REFERENCE,
    SIGMA,
    cell,
    cells_with,
    compared,
    configure,
    edit,
    finish,
    lower_one_cell,
    old_reference,
    per_image,
    shift_dncnn,
    sign,
)
from scipy import stats
from synthetic_run import drop_method, write_synthetic_run

from dhl.analysis.compare import MOVED, ONLY_A, ONLY_B, SAME, WITHIN_CHANCE
from dhl.analysis.comparison_text import to_text
from dhl.config.methods import FURTHER_METRICS, TABLES
from dhl.errors import UserError
from dhl.run.folder import RunFolder
from dhl.seeding import Draw


def test_a_run_with_itself_is_the_same(base_run):
    comparison = compared(base_run, base_run)
    tables = [pd.read_csv(base_run.table(number)) for number in TABLES.values()]
    averages = sum((table["image_id"] == "average").sum() for table in tables)
    assert len(comparison.cells) == averages > 0
    assert set(comparison.cells["verdict"]) == {SAME}
    assert (comparison.cells["difference"] == 0).all()
    assert not comparison.changed
    assert comparison.settings == ()
    assert comparison.unpaired == {}
    assert comparison.powerless == 0


def test_the_one_method_that_was_shifted_is_found_and_nothing_else(base_run, base_copy):
    edit(base_copy, "denoising", shift_dncnn)
    comparison = compared(base_run, base_copy)
    assert cells_with(comparison, MOVED) == {("denoising", "dncnn", m) for m in ("psnr", "ssim")}
    assert not cells_with(comparison, WITHIN_CHANCE)
    row = cell(comparison, "denoising", "dncnn", "psnr")
    assert (row["difference"], row["ci_low"], row["ci_high"]) == pytest.approx((0.5, 0.5, 0.5))
    assert (row["p_value"], row["p_adjusted"]) == (0, 0)


def test_a_mean_is_tested_image_by_image_as_scipy_does(base_run, base_copy):
    rng = np.random.default_rng(1)

    def disturb(frame):
        chosen = frame["method"] == "separate"
        frame.loc[chosen, "psnr"] += rng.normal(0.08, 0.3, chosen.sum())

    edit(base_copy, "denoising", disturb)
    comparison = compared(base_run, base_copy)
    row = cell(comparison, "denoising", "separate", "psnr")
    old, new = (per_image(one, "denoising", "psnr", "separate") for one in (base_run, base_copy))
    reference = stats.ttest_rel(new, old)
    assert 0.02 < row["p_value"] < 0.9
    assert row["p_value"] == pytest.approx(reference.pvalue)
    ends = tuple(reference.confidence_interval())
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(ends)
    # The spread of the images themselves, ten times as wide, does not enter.
    assert row["ci_high"] - row["ci_low"] < 0.25
    assert row["test"] == "paired, by images"


def test_accuracy_is_tested_by_the_images_whose_answer_changed(base_run, base_copy):
    def flip(frame):
        rows = frame.index[frame["method"] == "joint"]
        right = frame.loc[rows, "top1"] == 1
        frame.loc[rows[right][:9], "top1"] = 0.0
        frame.loc[rows[~right][:1], "top1"] = 1.0

    edit(base_copy, "classification", flip)
    row = cell(compared(base_run, base_copy), "classification", "joint", "top1")
    changes = np.repeat([-1, 1, 0], [9, 1, IMAGES - 10])
    assert row["p_value"] == pytest.approx(stats.ttest_1samp(changes, 0).pvalue)
    assert row["difference"] == pytest.approx(-8 / IMAGES)
    assert row["verdict"] == WITHIN_CHANCE  # 0.01, but one of many cells


def test_miou_is_resampled_with_the_same_images_in_both_runs(base_run, base_copy):
    path = base_copy.evaluation("segmentation", SIGMA).with_suffix(".npz")
    with np.load(path) as stored:
        arrays = dict(stored)
    old = arrays["confusion/cross"].copy()
    moved = arrays["confusion/cross"]
    worse = old[:, np.arange(11), np.arange(11)] // 20
    moved[:, np.arange(11), np.arange(11)] -= worse
    moved[:, np.arange(11), (np.arange(11) + 2) % 11] += worse
    np.savez(path, **arrays)
    edit(base_copy, "segmentation", lambda frame: None)
    comparison = compared(base_run, base_copy)
    assert cells_with(comparison, MOVED) == {("segmentation", "cross", "miou")}
    row = cell(comparison, "segmentation", "cross", "miou")

    def score(matrices):
        total = matrices.sum(axis=0)
        hits = np.diag(total)
        return np.mean(hits / (total.sum(axis=0) + total.sum(axis=1) - hits))

    assert row["difference"] == pytest.approx(score(moved) - score(old))
    assert row["ci_low"] < row["difference"] < row["ci_high"] < 0


def test_without_the_images_a_difference_is_tested_by_the_tables(base_run, tmp_path):
    other = write_synthetic_run(CONFIG, tmp_path / "other", images=IMAGES, draw=7)
    finish(CONFIG, other, claims=False)
    shutil.rmtree(other.root / "evaluation")
    comparison = compared(base_run, other)
    reason = f"{other.root} does not have all per-image files"
    assert comparison.unpaired == {(part, SIGMA): reason for part in CONFIG.parts}
    assert set(comparison.cells["test"]) == {"unpaired, by intervals"}
    assert not comparison.moved
    differ = comparison.cells[comparison.cells["difference"] != 0]
    assert len(differ) > 20
    assert differ["p_value"].between(0, 0.999).all()


def test_other_images_are_not_paired(base_run, base_copy):
    def rename(frame):
        frame["image_id"] += "x"

    edit(base_copy, "denoising", rename)
    comparison = compared(base_run, base_copy)
    assert comparison.unpaired == {("denoising", SIGMA): "the runs have different images"}


def test_other_pixels_under_the_same_names_and_seeds_are_not_paired(base_run, base_copy):
    path = base_copy.noise("denoising", SIGMA)
    record = pd.read_csv(path)
    record.loc[0, "sha256"] = hashlib.sha256(b"another contrast").hexdigest()
    record.to_csv(path, index=False)
    sign(base_copy.root, path)
    comparison = compared(base_run, base_copy)
    reason = "the noisy images of the same names differ"
    assert comparison.unpaired == {("denoising", SIGMA): reason}
    tests = comparison.cells.groupby("part")["test"].unique()
    assert list(tests["denoising"]) == ["unpaired, by intervals"]
    assert all(test.startswith("paired") for test in tests["classification"])


def test_without_the_record_of_the_noise_nothing_is_paired(base_run, base_copy):
    base_copy.noise("denoising", SIGMA).unlink()
    for pair in ((base_run, base_copy), (base_copy, base_run)):
        ((level, reason),) = compared(*pair).unpaired.items()
        assert level == ("denoising", SIGMA)
        assert f"{base_copy.root} lacks noise/denoising/sigma{SIGMA}.csv" in reason


@pytest.mark.parametrize(
    ("part", "seed", "suffix"), [("segmentation", 1, ".npz"), ("denoising", 2, ".csv")]
)
def test_runs_that_lack_a_per_image_file_are_not_paired(two_runs, tmp_path, part, seed, suffix):
    copy = RunFolder(shutil.copytree(two_runs[1].root, tmp_path / "copy"))
    copy.evaluation(part, SIGMA, Draw(seed=seed)).with_suffix(suffix).unlink()
    comparison = compared(two_runs[1], copy)
    reason = f"{copy.root} does not have all per-image files"
    assert comparison.unpaired == {(part, SIGMA): reason}


def test_runs_of_three_and_two_trainings(two_runs):
    first, second = two_runs
    comparison = compared(first, second)
    p_values_are_corrected(comparison.cells)
    assert comparison.unpaired == {}
    row = cell(comparison, "denoising", "separate", "psnr")
    sides = [
        np.array([per_image(one, "denoising", "psnr", "separate", seed + 1) for seed in range(n)])
        for one, n in ((first, 3), (second, 2))
    ]
    assert (row["seeds_a"], row["seeds_b"]) == (3, 2)
    assert row["difference"] == pytest.approx(sides[1].mean() - sides[0].mean())
    assert row["test"] == "paired, by images; by 3 and 2 trainings"
    gaps = sides[1].mean(axis=0) - sides[0].mean(axis=0)
    squares = np.array(
        [gaps.var(ddof=1) / IMAGES, *(one.mean(axis=1).var(ddof=1) / len(one) for one in sides)]
    )
    freedom = squares.sum() ** 2 / np.sum(squares**2 / [IMAGES - 1, 2, 1])
    expected = 2 * stats.t.sf(abs(row["difference"]) / np.sqrt(squares.sum()), freedom)
    assert row["p_value"] == pytest.approx(expected)
    untrained = cell(comparison, "denoising", "cbm3d", "psnr")
    assert (untrained["seeds_a"], untrained["seeds_b"]) == (1, 1)
    assert untrained["test"] == "paired, by images"


def p_values_are_corrected(cells: pd.DataFrame) -> None:
    """Check Holm's correction by pandas alone."""
    p_values = cells["p_value"].sort_values()
    expected = (p_values * np.arange(len(cells), 0, -1)).cummax().clip(upper=1)
    pd.testing.assert_series_equal(
        cells["p_adjusted"], expected.sort_index(), check_names=False, check_exact=False
    )


def test_cells_of_one_run_alone_are_listed(base_run, tmp_path):
    fewer = configure(sigmas=(SIGMA, 45), methods={"denoising": ["noisy", "cbm3d", "separate"]})
    other = finish(fewer, write_synthetic_run(fewer, tmp_path / "other", images=8))
    other.table(3).unlink()
    comparison = compared(base_run, other)
    kept = {"noisy", "cbm3d", "separate"}
    lost = set(CONFIG.parts.denoising.methods) - kept
    in_denoising = {
        method for part, method, _ in cells_with(comparison, ONLY_A) if part == "denoising"
    }
    assert in_denoising == lost
    only_b = comparison.cells[comparison.cells["verdict"] == ONLY_B]
    assert set(only_b["sigma"]) == {45}
    assert set(only_b["test"]) == {"none: not in a"}
    assert only_b["value_a"].isna().all()
    assert only_b["value_b"].notna().all()
    lines = " ".join(to_text(comparison).split())
    only_a = lines.split("Only in A: ")[1].split(".")[0].split("; ")
    assert sorted(only_a) == sorted([*(f"denoising, {name}" for name in lost), "segmentation"])
    assert "Only in B: denoising, sigma 45; classification, sigma 45." in lines
    only_a = lines.split("Verdicts only in A: ")[1].split(".")[0].split("; ")
    names = [dict.fromkeys(pd.read_csv(one.claims)["claim"]) for one in (base_run, other)]
    assert only_a == [name for name in names[0] if name not in names[1]]
    assert "denoising-separate-over-dncnn" in only_a
    claims = pd.read_csv(other.claims)
    count = (claims["sigma"] == 45).sum()
    assert f"Verdicts only in B: {count} at sigma 45 of claims that both have." in lines
    compared_cells = comparison.cells[comparison.cells["p_adjusted"].notna()]
    tasks = len(CONFIG.parts.classification.methods)
    assert len(compared_cells) == 3 * 4 + tasks * 3


def test_a_metric_that_an_older_run_lacks_is_named_once(base_run, base_copy):
    for number in (1, 2, 3):
        path = base_copy.table(number)
        frame = pd.read_csv(path)
        frame[~frame["metric"].isin(FURTHER_METRICS)].to_csv(path, index=False)
        sign(base_copy.root, path)
    text = " ".join(to_text(compared(base_copy, base_run)).split())
    only_b = text.split("Only in B: ")[1].split(".")[0].split("; ")
    assert only_b == [
        "denoising, GMSD", "denoising, Relative gradient", "classification, Cross-entropy",
        "segmentation, Cross-entropy",
    ]  # fmt: skip


def test_a_single_lost_cell_is_named(base_run, base_copy):
    path = base_copy.table(2)
    frame = pd.read_csv(path)
    lost = (frame["method"] == "joint") & (frame["metric"] == "top5")
    frame.loc[lost, ["value", "ci_low", "ci_high"]] = np.nan
    frame.to_csv(path, index=False)
    sign(base_copy.root, path)
    comparison = compared(base_run, base_copy)
    assert cells_with(comparison, ONLY_A) == {("classification", "joint", "top5")}
    assert comparison.changed
    assert not comparison.moved
    text = to_text(comparison)
    assert f"Only in A: classification, sigma {SIGMA}, joint, Top-5 accuracy." in text


def test_an_old_reference_is_of_one_training(tmp_path):
    comparison = compared(old_reference(tmp_path / "old"), lower_one_cell(tmp_path / "lower"))
    (row,) = comparison.cells[comparison.cells["verdict"] == MOVED].to_dict("records")
    assert (row["part"], row["sigma"], row["method"]) == ("classification", 45, "joint")
    assert (row["seeds_a"], row["seeds_b"]) == (1, 1)
    table = pd.read_csv(REFERENCE / "tables" / "table2.csv")
    old = table.query("method == 'joint' and sigma == 45 and metric == 'top1'").iloc[0]
    error = (old["ci_high"] - old["ci_low"]) / (2 * stats.norm.ppf(0.975))
    assert row["p_value"] == pytest.approx(2 * stats.norm.sf(0.15 / (error * np.sqrt(2))))
    assert row["p_adjusted"] == pytest.approx(row["p_value"] * len(comparison.cells))
    text = to_text(comparison)
    assert "With one training in both runs" in text
    assert "Tested without pairing" in text


def test_cells_that_can_never_move_are_counted(tmp_path):
    folders = []
    for draw in (0, 1):
        folder = write_synthetic_run(CONFIG, tmp_path / str(draw), images=1, draw=draw)
        folders.append(finish(CONFIG, folder, claims=False))
    edit(folders[1], "denoising", lambda frame: frame.update(frame["psnr"] - 20))
    comparison = compared(*folders)
    assert not comparison.moved
    assert comparison.powerless == len(comparison.cells)
    assert "have a single test image" in to_text(comparison)


def test_a_significant_difference_that_prints_the_same_is_the_same(base_run, base_copy):
    def nudge(frame):
        frame.loc[frame["method"] == "dncnn", "psnr"] += 1e-5

    edit(base_copy, "denoising", nudge)
    row = cell(compared(base_run, base_copy), "denoising", "dncnn", "psnr")
    assert row["p_value"] < 0.001
    assert row["difference"] > 0
    assert row["verdict"] == SAME


def test_a_method_without_per_image_rows_is_named(base_run, base_copy):
    path = base_copy.evaluation("denoising", SIGMA)
    drop_method(path, "dncnn")
    sign(base_copy.root, path)
    with pytest.raises(UserError) as caught:
        compared(base_run, base_copy)
    assert "no psnr of `dncnn`" in caught.value.came


def test_a_verdict_that_is_none_is_refused(base_run, base_copy):
    frame = pd.read_csv(base_copy.claims)
    frame.loc[3, "verdict"] = "great"
    frame.to_csv(base_copy.claims, index=False)
    sign(base_copy.root, base_copy.claims)
    with pytest.raises(UserError) as caught:
        compared(base_run, base_copy)
    assert "`great`" in caught.value.came
