"""Reading of evaluation files: files that were edited by hand are refused by name."""

import gc
import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from claim_rows import set_metric
from scipy import stats
from settings import PUBLISHED, laboratory_config
from synthetic_run import write_synthetic_run

from dhl.analysis.claims import compute_claims
from dhl.analysis.measurements import read_measurements
from dhl.analysis.tables import build_table
from dhl.config.methods import FURTHER_METRICS, PARTS
from dhl.errors import UserError
from dhl.run.folder import RunFolder
from dhl.run.results import Arrays


@pytest.fixture(scope="module")
def config():
    return laboratory_config({part: {"sigmas": [30]} for part in PARTS})


@pytest.fixture
def folder(config, tmp_path) -> RunFolder:
    return write_synthetic_run(config, tmp_path, images=12)


def edit(folder, part, change):
    """Change the rows of an evaluation."""
    path = folder.evaluation(part, 30)
    change(pd.read_csv(path)).to_csv(path, index=False)
    return path


def edit_arrays(folder, change):
    path = folder.evaluation("segmentation", 30).with_suffix(".npz")
    with np.load(path) as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez(path, **arrays)
    return path


def test_values_are_those_of_the_file(config, folder):
    measurements = read_measurements(config, folder, "denoising", 30)
    frame = pd.read_csv(folder.evaluation("denoising", 30))
    expected = frame[frame["method"] == "cbm3d"].sort_values("image_id")
    assert measurements.image_ids == tuple(expected["image_id"])
    np.testing.assert_array_equal(measurements.features["cbm3d", "psnr"].ravel(), expected["psnr"])
    assert measurements.score("cbm3d", "psnr") == pytest.approx(expected["psnr"].mean())
    assert measurements.source == "evaluation/denoising/sigma30.csv"


def test_the_order_of_rows_and_arrays_does_not_matter(config, folder):
    before = read_measurements(config, folder, "segmentation", 30)
    edit(folder, "segmentation", lambda frame: frame.sample(frac=1, random_state=1))
    order = np.random.default_rng(2).permutation(12)

    def shuffle(arrays):
        for name in arrays:
            if name == "image_ids" or name.startswith("confusion/"):
                arrays[name] = arrays[name][order]

    edit_arrays(folder, shuffle)
    after = read_measurements(config, folder, "segmentation", 30)
    for key, features in before.features.items():
        np.testing.assert_array_equal(features, after.features[key])


def test_without_psnr_a_task_method_has_none(config, folder):
    edit(
        folder,
        "classification",
        lambda frame: frame.assign(psnr=frame["psnr"].where(frame["method"] != "retrained")),
    )
    measurements = read_measurements(config, folder, "classification", 30)
    assert ("retrained", "psnr") not in measurements.features
    assert ("joint", "psnr") in measurements.features
    assert np.isnan(measurements.score("retrained", "psnr"))


def test_the_mean_cross_entropy_is_over_the_images_with_labelled_pixels(config, folder):
    def unlabel(frame):
        return frame.assign(
            cross_entropy=frame["cross_entropy"].where(frame["image_id"] != "test-0002")
        )

    def empty(arrays):
        for name in arrays:
            if name.startswith("confusion/"):
                arrays[name][arrays["image_ids"].tolist().index("test-0002")] = 0

    edit_arrays(folder, empty)
    rows = unlabel(pd.read_csv(edit(folder, "segmentation", unlabel)))
    expected = rows[rows["method"] == "joint"]["cross_entropy"]
    measurements = read_measurements(config, folder, "segmentation", 30)
    summary = measurements.summary("joint", "cross_entropy")
    assert summary["value"] == pytest.approx(expected.dropna().mean())
    assert summary["n"] == 11
    assert measurements.summary("joint", "miou")["n"] == 12
    low, high = measurements.interval("joint", "cross_entropy", confidence=0.95)
    # Of a mean of 11 values; the empty one counts as a draw, but not as a value.
    reach = stats.t.ppf(0.975, 11) * np.sqrt(12 / 11 * expected.var(ddof=0) / 11)
    assert (low + high) / 2 == pytest.approx(expected.mean())
    assert (high - low) / 2 == pytest.approx(reach)


def test_an_interval_ends_at_the_bounds_of_its_metric(config, folder):
    right = np.r_[0.0, np.ones(11)]
    values = {"joint": right, "separate": 1 - right}
    set_metric(folder, "classification", 30, "top1", values)
    measurements = read_measurements(config, folder, "classification", 30)
    low, high = stats.ttest_1samp(right, 0).confidence_interval()
    assert high > 1
    for method, expected in (("joint", (low, 1)), ("separate", (0, 1 - low))):
        found = measurements.interval(method, "top1", confidence=0.95)
        assert found == pytest.approx(expected)


def test_an_infinite_psnr_of_a_task_leaves_its_other_metrics(config, folder):
    path = folder.evaluation("segmentation", 30)
    frame = pd.read_csv(path)
    frame.loc[(frame["method"] == "joint") & (frame["image_id"] == "test-0000"), "psnr"] = np.inf
    frame.to_csv(path, index=False)
    measurements = read_measurements(config, folder, "segmentation", 30)
    assert np.isnan(measurements.score("joint", "psnr"))
    assert np.isfinite(measurements.score("joint", "miou"))
    assert np.isfinite(measurements.score("separate", "psnr"))


def test_a_class_without_test_pixels_does_not_count_even_where_it_is_predicted(config, folder):
    def empty_a_class(arrays, *, predicted):
        for name in arrays:
            if name.startswith("confusion/"):
                counts = arrays[name]
                counts[:, :, 0] += counts[:, :, 3]
                counts[:, :, 3] = counts[:, 3] = 0
                if name == "confusion/joint" and predicted:
                    counts[0, 0, 0] -= 1
                    counts[0, 0, 3] += 1

    found = []
    for predicted in (False, True):
        edit_arrays(folder, partial(empty_a_class, predicted=predicted))
        measurements = read_measurements(config, folder, "segmentation", 30)
        found.append(measurements.score("joint", "miou"))
    # One pixel of ten classes, and not a mean over eleven instead of ten.
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    assert found[1] < found[0]


def test_a_file_of_an_older_version_lacks_the_further_metrics(config, folder):
    edit(folder, "classification", lambda frame: frame.drop(columns=list(FURTHER_METRICS)))
    measurements = read_measurements(config, folder, "classification", 30)
    assert {metric for _, metric in measurements.features} == {"psnr", "top1", "top5"}


def blank(column):
    """Return an edit that empties the first cell of a column."""

    def change(frame):
        frame.loc[frame.index[5], column] = np.nan
        return frame

    return change


def put(column, value):
    """Return an edit that overwrites the first cell of a column."""

    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[frame.index[0], column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("denoising", blank("psnr"), "a missing `psnr` of the method `noisy`"),
        ("denoising", blank("ssim"), "a missing `ssim`"),
        ("denoising", blank("gmsd"), "a missing `gmsd`"),
        ("denoising", blank("image_id"), "a row without image_id"),
        ("denoising", put("psnr", np.inf), "`test-0000` after `noisy` is infinite"),
        ("denoising", put("psnr", -50), "a `psnr` of the method `noisy` outside 0 to inf"),
        ("denoising", put("ssim", 7), "a `ssim` of the method `noisy` outside -1 to 1"),
        ("denoising", put("gmsd", -0.1), "a `gmsd`"),
        ("denoising", put("gradient", -1), "a `gradient`"),
        ("classification", put("cross_entropy", -1), "a `cross_entropy`"),
        ("classification", put("top5", 2), "a `top5`"),
        ("segmentation", blank("cross_entropy"), "a cross-entropy of `clean`"),
        ("denoising", put("sigma", 25), "sigma `25"),
        ("denoising", put("part", "segmentation"), "part `segmentation`"),
        ("denoising", put("method", "mine"), "method `mine`"),
        ("denoising", put("protocol", "plain"), "several or no values of `protocol`"),
        ("denoising", lambda frame: frame.iloc[1:], "11 of 12 images for the method `noisy`"),
        ("denoising", lambda frame: pd.concat([frame, frame[3:4]]), "two rows of `noisy`"),
        ("classification", blank("top1"), "a missing `top1`"),
        ("classification", put("top1", 0.5), "neither 0 nor 1"),
        ("classification", blank("cross_entropy"), "a missing `cross_entropy`"),
        ("segmentation", put("cross_entropy", np.inf), "`test-0000` after `clean` is infinite"),
        ("segmentation", lambda frame: frame[frame["image_id"] != "test-0003"], "image_ids"),
    ],
)
def test_hand_edited_rows_are_refused(config, folder, part, change, message):
    path = edit(folder, part, change)
    with pytest.raises(UserError) as caught:
        read_measurements(config, folder, part, 30)
    assert str(path.with_suffix("")) in caught.value.came
    assert message in caught.value.came


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("confusion/joint"), "confusion/joint"),
        (lambda arrays: arrays.update({"confusion/joint": np.ones((12, 11, 10))}), "of shape"),
        (lambda arrays: arrays.update({"confusion/joint": -np.ones((12, 11, 11))}), "of shape"),
        (lambda arrays: arrays.update({"confusion/joint": arrays["confusion/joint"] * np.nan}),
         "float64"),
        (lambda arrays: arrays.update({"confusion/joint": 0 * arrays["confusion/joint"]}),
         "other pixels in `confusion/joint`"),
        (lambda arrays: arrays.update({name: 0 * counts for name, counts in arrays.items()
                                       if name.startswith("confusion/")}), "cross-entropy"),
        (lambda arrays: arrays.update({"image_ids": arrays["image_ids"][:-1]}), "image_ids"),
    ],
)  # fmt: skip
def test_hand_edited_arrays_are_refused(config, folder, change, message):
    path = edit_arrays(folder, change)
    with pytest.raises(UserError) as caught:
        read_measurements(config, folder, "segmentation", 30)
    assert str(path.with_suffix("")) in caught.value.came
    assert message in caught.value.came


def test_the_confusion_matrices_of_one_method_at_a_time_are_in_memory(config, folder, monkeypatch):
    held: list[weakref.ref] = []
    read = Arrays.__getitem__

    def kept(arrays, name):
        array = read(arrays, name)
        if name.startswith("confusion/"):
            gc.collect()
            assert sum(one() is not None for one in held) <= 1  # that of the loop's last round
            held.append(weakref.ref(array))
        return array

    monkeypatch.setattr(Arrays, "__getitem__", kept)
    read_measurements(config, folder, "segmentation", 30)
    assert len(held) > 2


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"PK no zip"), Path.unlink])
def test_missing_and_broken_array_files_are_named(config, folder, change):
    path = folder.evaluation("segmentation", 30).with_suffix(".npz")
    change(path)
    with pytest.raises(UserError) as caught:
        read_measurements(config, folder, "segmentation", 30)
    assert str(path) in caught.value.came


def test_label_maps_without_labels_give_no_verdict(config, folder):
    edit(folder, "segmentation", lambda frame: frame.assign(cross_entropy=np.nan))
    edit_arrays(folder, lambda arrays: arrays.update({
        name: 0 * counts for name, counts in arrays.items() if name.startswith("confusion/")
    }))  # fmt: skip
    rows = compute_claims(config, folder).query("part == 'segmentation' and metric == 'miou'")
    assert len(rows)
    assert set(rows["verdict"]) == set(rows["verdict_adjusted"]) == {"not tested"}
    assert rows["reason"].str.contains("no test image has a miou").all()
    assert rows[["p_value", "p_adjusted", "low", "high"]].isna().all(axis=None)
    table = build_table(config, "segmentation", folder, PUBLISHED).query("metric == 'miou'")
    assert table["value"].isna().all()
    assert (table["n"] == 0).all()
    assert table["status"].str.startswith("not measured").all()
