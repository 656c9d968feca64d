"""Several trainings of the task networks, crossed with those of the denoisers."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp
from settings import laboratory_config
from synthetic_run import write_synthetic_run

from dhl.analysis.claims import compute_claims
from dhl.analysis.measurements import read_measurements
from dhl.config.methods import PARTS
from dhl.config.parse import parse_config
from dhl.errors import UserError
from dhl.evaluation.evaluate import evaluate
from dhl.run.evaluations import evaluated_draws, evaluated_models, experiments
from dhl.run.folder import RunFolder
from dhl.run.model_graph import all_models, model_spec
from dhl.seeding import FIRST, Draw
from dhl.training.train import train_model

SIGMA, SEEDS, TASK_SEEDS = 30, 2, 3
DRAWS = [Draw(*pair) for pair in itertools.product((1, 2, 3), (1, 2))]


@pytest.fixture(scope="module")
def config():
    parts = {part: {"sigmas": [SIGMA]} for part in PARTS}
    return laboratory_config(parts, seeds=SEEDS, task_seeds=TASK_SEEDS)


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory) -> RunFolder:
    return write_synthetic_run(config, tmp_path_factory.mktemp("task-seeds"), images=20)


def test_a_denoiser_of_a_further_task_network_keeps_its_start_and_its_batches(config):
    spec = model_spec(config, "joint-classification/sigma30-task3-seed2")
    assert spec.parents == ("separate/sigma30-seed2", "classifier/clean-seed3")
    assert model_spec(config, "matched-classification/sigma30-seed2").seed_name == spec.seed_name
    retrained = model_spec(config, "retrained-segmentation/sigma30-task2")
    assert retrained.parents == ("segmenter/clean-seed2",)
    assert model_spec(config, "segmenter/clean-seed2").seed_name == "segmenter/clean-seed2"


@pytest.mark.parametrize(
    "key",
    [
        "separate/sigma30-task2",
        "matched-classification/sigma30-task2",
        "classifier/clean-task2",
        "classifier/clean-seed4",
        "classifier/clean-seed1",
        "joint-classification/sigma30-task1",
        "joint-classification/sigma30-task4",
        "joint-classification/sigma30-task02",
        "joint-classification/sigma30-seed2-task2",
    ],
)
def test_a_training_that_does_not_exist_is_refused(config, key):
    with pytest.raises(UserError) as caught:
        model_spec(config, key)
    assert key in caught.value.mistake


def test_models_are_trained_once_for_each_network_that_they_depend_on(config):
    guided = ("joint", "permuted", "perceptual", "retrained")
    once = all_models(config.model_copy(update={"seeds": 1, "task_seeds": 1}))
    counts = [
        TASK_SEEDS * (1 if key.endswith("/clean") else SEEDS)
        if key.endswith("/clean") or key.startswith(guided)
        else SEEDS
        for key in once
    ]
    assert len(all_models(config)) == sum(counts)


def test_an_evaluation_has_the_methods_whose_networks_are_other_ones(config):
    assert list(evaluated_draws(config, "classification", SIGMA)) == DRAWS

    def methods(part, *draw):
        return {one.name for one in experiments(config, part, SIGMA, Draw(*draw))}

    everything = set(config.parts["classification"].methods)
    assert methods("classification", 2, 1) == everything
    assert everything - methods("classification", 2, 2) == {"clean", "noisy", "cbm3d"}
    assert methods("denoising", 1, 2) == set(config.parts["denoising"].methods) - {"noisy", "cbm3d"}
    of_task_networks = {"joint-classification", "joint-segmentation"}
    assert methods("denoising", 2, 1) == methods("denoising", 2, 2) == of_task_networks


def test_features_have_an_axis_of_trainings_and_one_of_task_networks(config, folder):
    measurements = read_measurements(config, folder, "classification", SIGMA)
    shapes = {name: measurements.features[name, "top1"].shape for name in ("joint", "noisy")}
    assert shapes == {"joint": (20, SEEDS, TASK_SEEDS, 1), "noisy": (20, 1, TASK_SEEDS, 1)}
    denoising = read_measurements(config, folder, "denoising", SIGMA)
    assert denoising.features["separate", "psnr"].shape == (20, SEEDS, 1, 1)
    for draw in DRAWS:
        rows = pd.read_csv(folder.evaluation("classification", SIGMA, draw))
        joint = rows[rows["method"] == "joint"].sort_values("image_id")["cross_entropy"]
        found = measurements.features["joint", "cross_entropy"][:, draw.seed - 1, draw.task - 1, 0]
        np.testing.assert_allclose(found, joint)


def test_a_comparison_has_the_interval_of_the_task_networks(config, folder):
    gaps = np.empty((TASK_SEEDS, SEEDS))
    for draw in DRAWS:
        rows = pd.read_csv(folder.evaluation("classification", SIGMA, draw))
        top1 = rows.groupby("method")["top1"].mean()
        gaps[draw.task - 1, draw.seed - 1] = top1["joint"] - top1["separate"]
    claims = compute_claims(config, folder)
    (row,) = claims[
        (claims["claim"] == "classification-joint-over-separate") & claims["sigma"].notna()
    ].to_dict("records")
    assert (row["networks"], row["seeds"]) == (TASK_SEEDS, SEEDS)
    reference = ttest_1samp(gaps.mean(axis=1), 0).confidence_interval(0.95)
    assert (row["network_low"], row["network_high"]) == pytest.approx(tuple(reference))
    assert row["difference"] == pytest.approx(gaps.mean())


def test_several_task_networks_let_a_comparison_be_reproduced(config, folder):
    claims = compute_claims(config, folder)
    rows = claims[claims["claim"] == "segmentation-cbm3d-over-noisy"]
    assert set(rows["verdict"]) == {"reproduced"}
    assert set(rows["reason"]) == {""}


def with_published_task_networks(content, *tasks):
    """Replace the recipes of some task networks by given weights."""
    content = content | {"task_seeds": 2}
    for task, network in (("classification", "resnet50"), ("segmentation", "deeplab-largefov")):
        if task in tasks:
            part = content["parts"][task]
            del part["training"]["task_network"]
            part["task_network"] = {"name": network, "weights": "task_network.pt"}
    return content


def test_a_published_task_network_is_the_same_in_every_draw(tiny_content):
    content = with_published_task_networks(tiny_content, "classification")
    config = parse_config(content, source="tiny.yaml")
    models = set(all_models(config))
    assert {key for key in models if key.startswith(("classifier", "joint-classification"))} == {
        "classifier/clean", "joint-classification/sigma30",
    }  # fmt: skip
    assert {"segmenter/clean-seed2", "joint-segmentation/sigma30-task2"} <= models
    for key in ("classifier/clean-seed2", "joint-classification/sigma30-task2"):
        with pytest.raises(UserError):
            model_spec(config, key)
    draw = Draw(task=2)
    # The denoiser of `cross` is guided by the other task's network.
    assert {one.name for one in experiments(config, "classification", SIGMA, draw)} == {"cross"}
    cross = next(one for one in experiments(config, "segmentation", SIGMA) if one.name == "cross")
    assert cross.models(config, draw) == ("joint-classification/sigma30", "segmenter/clean-seed2")


def test_several_trainings_need_a_task_network_that_is_trained(tiny_content):
    content = with_published_task_networks(tiny_content, "classification", "segmentation")
    with pytest.raises(UserError) as caught:
        parse_config(content, source="tiny.yaml")
    assert "task_seeds: 2" in caught.value.came


def test_a_second_task_network_is_trained_and_evaluated(tiny_content, run_copy):
    tiny_content["task_seeds"] = 2
    tiny = parse_config(tiny_content, source="tiny.yaml")
    draw = Draw(task=2)
    models = evaluated_models(tiny, "classification", SIGMA, draw)
    parents = [one for key in models for one in model_spec(tiny, key).parents]
    for key in dict.fromkeys([*parents, *models]):
        if not run_copy.model(key).exists():
            train_model(tiny, key, run_copy)
    evaluate(tiny, "classification", SIGMA, run_copy, draw=draw)
    rows = [
        pd.read_csv(run_copy.evaluation("classification", SIGMA, one)).set_index("method")
        for one in (FIRST, draw)
    ]
    assert (rows[0].loc["noisy", "cross_entropy"] != rows[1].loc["noisy", "cross_entropy"]).all()
    assert rows[0].loc["separate", "psnr"].tolist() == rows[1].loc["separate", "psnr"].tolist()
    assert (rows[0].loc["joint", "psnr"] != rows[1].loc["joint", "psnr"]).all()
