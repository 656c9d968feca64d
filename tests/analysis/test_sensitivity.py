"""Task weights, wrong noise levels and other task networks: from models to the table."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from report_run import small_config
from scipy.stats import t
from settings import OTHER_SIGMA, SIGMA, tiny_settings, with_sensitivity, write_settings
from skimage.metrics import peak_signal_noise_ratio
from synthetic_run import write_synthetic_run

from dhl.analysis.measurements import read_measurements
from dhl.analysis.sensitivity import build_sensitivity, write_sensitivity
from dhl.cli.parser import main
from dhl.config.parse import parse_config
from dhl.data.image_set import load_split
from dhl.data.noise import noisy_image
from dhl.data.prepare import write_noise
from dhl.evaluation.baseline import BaselineJob, write_baseline
from dhl.evaluation.evaluate import evaluate
from dhl.models import checkpoint
from dhl.report.figures import read_curves
from dhl.report.sensitivity_figures import transfer
from dhl.run.evaluations import experiments, studied, studies
from dhl.run.failures import record_failure
from dhl.run.folder import RunFolder
from dhl.run.model_graph import all_models
from dhl.run.results import IMAGE_COLUMNS, NOISE_COLUMNS, SENSITIVITY_COLUMNS, read_csv
from dhl.seeding import FIRST, Draw
from dhl.training.train import train_model

JOINT = "joint-classification/sigma30"


@pytest.fixture(scope="module")
def studied_run(tiny_run, tmp_path_factory):
    """The tiny run with the experiments of the studies; not to be changed."""
    config = parse_config(with_sensitivity(tiny_settings()), source="tiny.yaml")
    folder = RunFolder(shutil.copytree(tiny_run.root, tmp_path_factory.mktemp("studies") / "run"))
    write_noise(config, "denoising", OTHER_SIGMA, folder)
    for key in all_models(config):
        if not folder.model(key).exists() and ("times" in key or "net" in key or "/sigma45" in key):
            train_model(config, key, folder)
    job = BaselineJob("denoising", "cbm3d", OTHER_SIGMA)
    write_baseline(config, job, folder, processes=1)
    for part, sigma in studied(config):
        evaluate(config, part, sigma, folder)
    return config, folder


@pytest.mark.parametrize("part", ["classification", "segmentation"])
def test_a_method_of_the_table_is_evaluated_once_and_as_without_the_studies(
    studied_run, tiny_run, tiny_config, part
):
    config, folder = studied_run
    names = [one.name for one in experiments(config, part, SIGMA)]
    sources = [(one.source, one.task_network) for one in experiments(config, part, SIGMA)]
    assert len(set(names)) == len(set(sources)) == len(names)
    assert names[: len(config.parts[part].methods)] == list(config.parts[part].methods)
    with_studies = read_measurements(config, folder, part, SIGMA)
    without = read_measurements(tiny_config, tiny_run, part, SIGMA)
    assert with_studies.features.keys() == without.features.keys()
    for key, values in without.features.items():
        np.testing.assert_array_equal(with_studies.features[key], values)


def test_methods_are_experiments_of_the_studies(studied_run):
    config, _ = studied_run
    found = {one.name: one for one in experiments(config, "classification", SIGMA)}
    assert found["cross"].source == "joint-segmentation/sigma30"
    assert found["cross"].task_network == "classifier/clean"
    assert found["retrained"].models(config, Draw(seed=2)) == (
        "retrained-classification/sigma30-seed2",
    )
    name = "joint-segmentation/sigma30 + classifier-resnet/clean"
    assert found[name].models(config, FIRST) == (
        "joint-segmentation/sigma30",
        "classifier-resnet/clean",
    )
    assert [one.has_psnr for one in (found["clean"], found["retrained"], found["noisy"])] == [
        False, False, True,
    ]  # fmt: skip


def test_a_denoiser_is_applied_to_the_noise_of_another_sigma(studied_run):
    _, folder = studied_run
    rows = read_csv(folder.evaluation("denoising", SIGMA), IMAGE_COLUMNS)
    assert {name for name in rows["method"] if "/" in name} == {
        "separate/sigma45", "dncnn/sigma45",
    }  # fmt: skip
    clean = load_split(folder.data("denoising"), "test")
    noise = read_csv(folder.noise("denoising", SIGMA), NOISE_COLUMNS).set_index("image_id")
    network, _ = checkpoint.load_model(folder.model("dncnn/sigma45"))
    psnr = rows[rows["method"] == "dncnn/sigma45"].set_index("image_id")["psnr"]
    for image_id, image in zip(clean.ids, clean.images, strict=True):
        noisy = noisy_image(image, sigma=SIGMA, seed=int(noise.loc[image_id, "seed"]))
        with torch.inference_mode():
            denoised = network(torch.from_numpy(noisy).permute(2, 0, 1)[None])[0]
        levels = np.rint(np.clip(denoised.permute(1, 2, 0).numpy(), 0, 1).astype(float) * 255)
        inner = np.s_[3:-3, 3:-3]
        expected = peak_signal_noise_ratio(
            image[inner], levels.astype(np.uint8)[inner], data_range=255
        )
        assert psnr[image_id] == pytest.approx(expected, abs=1e-3)


def test_almost_no_weight_trains_almost_the_matched_control(studied_run):
    _, folder = studied_run

    def weights(key):
        state = checkpoint.load(folder.model(key))["state"]
        return torch.cat([value.flatten().float() for value in state.values()])

    matched = weights("matched-classification/sigma30")
    distances = [
        float((weights(key) - matched).norm())
        for key in (f"{JOINT}-times0.0001", JOINT, f"{JOINT}-times10")
    ]
    assert distances[0] < 0.1 * distances[1] < 0.1 * distances[2]


def test_the_table_holds_the_values_and_the_paired_differences(studied_run):
    config, folder = studied_run
    table = build_sensitivity(config, folder)
    assert tuple(table.columns) == SENSITIVITY_COLUMNS
    assert list(dict.fromkeys(table["experiment"])) == list(studies(config))
    rows = pd.read_csv(folder.evaluation("classification", SIGMA))
    found = {one.name: one for one in experiments(config, "classification", SIGMA)}
    rows["models"] = [
        f"{found[name].source} + {found[name].task_network}" for name in rows["method"]
    ]
    means = rows.groupby("models")[["psnr", "top1", "top5", "cross_entropy"]].mean()
    chosen = table[table["part"] == "classification"]
    assert len(chosen) > 30
    ends = ["ci_low", "difference_low", "difference_high"]
    assert np.isfinite(chosen[ends]).any().all()
    for row in chosen.itertuples():
        value = means.loc[f"{row.denoiser} + {row.reader}", row.metric]
        assert row.value == pytest.approx(value)
        assert not row.ci_low > row.value
        assert row.n == 12
        if isinstance(row.reference, str):
            assert row.reference == "matched-classification/sigma30"
            against = means.loc[f"{row.reference} + {row.reader}", row.metric]
            assert row.difference == pytest.approx(value - against, abs=1e-12)
            assert not row.difference_low > row.difference
            assert not row.difference_high < row.difference
    weights = chosen.loc[
        (chosen["experiment"] == "task-weight") & (chosen["metric"] == "top1"), "task_weight"
    ]
    np.testing.assert_allclose(weights, [0, 4.1e-7, 0.0041, 0.041])


def test_a_network_that_failed_leaves_a_reason_and_the_rest(studied_run, tmp_path):
    config, folder = studied_run
    folder = RunFolder(shutil.copytree(folder.root, tmp_path / "run"))
    record_failure([folder.model("classifier-resnet/clean")], status=9, log=tmp_path / "none")
    evaluate(config, "classification", SIGMA, folder)
    table = build_sensitivity(config, folder)
    failed = table[table["status"].notna()]
    assert set(failed["reader"]) == {"classifier-resnet/clean"}
    assert set(failed["status"]) == {"failed: exit status 9"}
    assert failed["value"].isna().all()
    assert len(failed) == sum(table["reader"] == "classifier-resnet/clean")
    assert table.loc[table["status"].isna(), "value"].notna().all()
    write_sensitivity(config, folder)
    texts = [text.get_text() for text in transfer(config, folder).axes[0].texts]
    assert texts.count("failed") == 8  # of sixteen cells


def test_with_several_trainings_values_are_averages_with_their_spread(tmp_path):
    config = small_config(seeds=3, task_seeds=2)  # studies read the first task network
    folder = write_synthetic_run(config, tmp_path, images=20)
    table = build_sensitivity(config, folder)
    row = table[
        (table["experiment"] == "transfer") & (table["reader"] == "segmenter-unet/clean")
        & (table["denoiser"] == "joint-classification/sigma60") & (table["metric"] == "psnr")
    ].iloc[0]  # fmt: skip
    name = "joint-classification/sigma60 + segmenter-unet/clean"
    against = "matched-segmentation/sigma60 + segmenter-unet/clean"
    values, gaps, of_images = [], [], []
    for seed in (1, 2, 3):
        frame = pd.read_csv(folder.evaluation("segmentation", 60, Draw(seed=seed)))
        means = frame.groupby("method")["psnr"].mean()
        values.append(means[name])
        gaps.append(means[name] - means[against])
        psnr = frame.pivot(index="image_id", columns="method", values="psnr")
        of_images.append(psnr[name] - psnr[against])
    assert row["seeds"] == 3
    assert row["value"] == pytest.approx(np.mean(values))
    assert row["seed_std"] == pytest.approx(np.std(values, ddof=1))
    assert row["difference"] == pytest.approx(np.mean(gaps))
    squares = np.array([np.mean(of_images, axis=0).var(ddof=1) / 20, np.var(gaps, ddof=1) / 3])
    freedom = squares.sum() ** 2 / np.sum(squares**2 / [19, 2])
    reach = t.ppf(0.975, freedom) * np.sqrt(squares.sum())
    assert row["difference_high"] == pytest.approx(np.mean(gaps) + reach)
    unguided = table[table["denoiser"] == "noisy"]
    assert set(unguided["seeds"]) == {1}


def test_curves_of_other_weights_are_not_drawn_among_the_others(studied_run):
    config, folder = studied_run
    curves = read_curves(config, folder)
    assert set(curves["joint-classification"]) == {SIGMA, OTHER_SIGMA}
    assert folder.training(f"{JOINT}-times10").exists()
    assert curves["joint-classification-resnet"][30]["loss"].notna().all()


def test_the_command_needs_the_section_and_describe_lists_studies(tmp_path, tiny_content, capsys):
    file = write_settings(tmp_path / "mine.yaml", with_sensitivity(tiny_content))
    common = ["--configfile", file, "--folder", str(tmp_path / "run")]
    empty = write_settings(tmp_path / "none.yaml", tiny_content)
    assert main(["sensitivity", "--configfile", empty]) == 1
    assert empty in capsys.readouterr().err
    assert main(["describe", *common]) == 0
    printed = capsys.readouterr().out
    assert "studies of classification at sigma 30: task-weight, transfer" in printed
    assert "studies of denoising at sigma 45: sigma-mismatch" in printed


def test_a_first_training_that_failed_leaves_the_rest_of_the_table(tmp_path):
    config = small_config(seeds=2)
    folder = write_synthetic_run(config, tmp_path, images=8)
    path = folder.evaluation("segmentation", 60)
    record_failure([path, path.with_suffix(".npz")], status=9, log=tmp_path / "none")
    table = build_sensitivity(config, folder)
    lost = (table["part"] == "segmentation") & (table["sigma"] == 60)
    assert set(table.loc[lost, "status"]) == {"failed: exit status 9"}
    assert table.loc[~lost, "value"].notna().all()
