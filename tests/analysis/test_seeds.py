"""Several trainings of each network: their files, and the statistics of their spread."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp
from settings import PUBLISHED, laboratory_config
from synthetic_run import drop_method, write_synthetic_run

from dhl.analysis import scores, statistics
from dhl.analysis.claims import compute_claims
from dhl.analysis.measurements import read_measurements
from dhl.analysis.published import read_published
from dhl.analysis.tables import build_table, format_table
from dhl.config.methods import PARTS
from dhl.config.parse import parse_config
from dhl.errors import UserError
from dhl.evaluation.evaluate import evaluate
from dhl.models.checkpoint import load_model
from dhl.run.evaluations import evaluated_draws, evaluated_models
from dhl.run.folder import RunFolder
from dhl.run.model_graph import all_models, model_spec
from dhl.seeding import FIRST, Draw
from dhl.training.train import train_model

SIGMA, SEEDS = 30, 3


@pytest.fixture(scope="module")
def config():
    return laboratory_config({part: {"sigmas": [SIGMA, 45]} for part in PARTS}, seeds=SEEDS)


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory) -> RunFolder:
    return write_synthetic_run(config, tmp_path_factory.mktemp("seeds"), images=20)


@pytest.fixture(scope="module")
def claims(config, folder) -> pd.DataFrame:
    return compute_claims(config, folder)


def values(folder: RunFolder, part: str, metric: str, sigma: float = SIGMA) -> pd.DataFrame:
    """Return images in rows, and (method, training) in columns, by pandas alone."""
    frames = [
        pd.read_csv(folder.evaluation(part, sigma, Draw(seed=seed))).assign(seed=seed)
        for seed in range(1, SEEDS + 1)
    ]
    return pd.concat(frames).pivot(index="image_id", columns=["method", "seed"], values=metric)


def test_a_further_training_has_its_parents_and_the_same_task_network(config):
    spec = model_spec(config, "joint-classification/sigma30-seed2")
    assert spec.parents == ("separate/sigma30-seed2", "classifier/clean")
    assert model_spec(config, spec.start).parents == ("separate-start/all-seed2",)
    retrained = model_spec(config, "retrained-segmentation/sigma30-seed3")
    assert retrained.parents == ("segmenter/clean",)


def test_draws_differ_between_trainings_but_not_between_joint_and_matched(config):
    names = [
        model_spec(config, f"{name}/sigma30{suffix}").seed_name
        for suffix in ("", "-seed2")
        for name in ("joint-segmentation", "matched-segmentation")
    ]
    assert names[0] == names[1] != names[2] == names[3]


@pytest.mark.parametrize(
    "variant", ["sigma30-seed1", "sigma30-seed4", "sigma30-seed02", "sigma30-seed", "sigma30-seedx"]
)
def test_a_number_that_no_training_has_is_refused(config, variant):
    with pytest.raises(UserError) as caught:
        model_spec(config, f"separate/{variant}")
    assert f"separate/{variant}" in str(caught.value)


def test_the_models_of_a_run_are_those_of_one_training_and_more(config):
    alone = all_models(config.model_copy(update={"seeds": 1}))
    models = all_models(config)
    networks = [key for key in alone if key.endswith("/clean")]
    assert len(models) == len(set(models)) == SEEDS * (len(alone) - len(networks)) + len(networks)
    assert set(alone) <= set(models)


def test_untrained_methods_have_one_evaluation(tiny_content):
    tiny_content["seeds"] = 2
    tiny_content["parts"]["denoising"]["methods"] = ["noisy", "cbm3d"]
    tiny = parse_config(tiny_content, source="tiny.yaml")
    assert evaluated_draws(tiny, "denoising", SIGMA) == (FIRST,)
    assert evaluated_draws(tiny, "segmentation", SIGMA) == (FIRST, Draw(seed=2))


def test_a_second_training_gives_other_weights_and_only_trained_methods(tiny_content, run_copy):
    tiny_content["seeds"] = 2
    tiny = parse_config(tiny_content, source="tiny.yaml")
    for key in evaluated_models(tiny, "denoising", SIGMA, draw=Draw(seed=2)):
        chain = [key]
        while parents := [one for one in model_spec(tiny, chain[0]).parents if "seed2" in one]:
            chain = parents + chain
        for one in chain:
            if not run_copy.model(one).exists():
                train_model(tiny, one, run_copy)
    evaluate(tiny, "denoising", SIGMA, run_copy, draw=Draw(seed=2))
    first = pd.read_csv(run_copy.evaluation("denoising", SIGMA))
    second = pd.read_csv(run_copy.evaluation("denoising", SIGMA, Draw(seed=2)))
    untrained = {"noisy", "cbm3d"}
    assert set(first["method"]) - set(second["method"]) == untrained
    merged = first.merge(second, on=["method", "image_id"], suffixes=("", "_2"))
    assert (merged["noise_seed"] == merged["noise_seed_2"]).all()
    assert (merged["psnr"] != merged["psnr_2"]).all()
    states = [
        load_model(run_copy.model(f"separate/sigma30{suffix}"))[0].state_dict()
        for suffix in ("", "-seed2")
    ]
    assert all((states[0][name] != value).any() for name, value in states[1].items()
               if name.endswith("weight"))  # fmt: skip
    measurements = read_measurements(tiny, run_copy, "denoising", SIGMA)
    assert measurements.features["separate", "psnr"].shape == (4, 2, 1, 1)
    assert measurements.features["noisy", "psnr"].shape == (4, 1, 1, 1)


def test_a_score_is_the_mean_of_the_trainings(config, folder):
    psnr = values(folder, "denoising", "psnr")
    measurements = read_measurements(config, folder, "denoising", SIGMA)
    means = psnr["separate"].mean()
    np.testing.assert_allclose(measurements.seed_scores("separate", "psnr"), means)
    assert measurements.score("separate", "psnr") == pytest.approx(means.mean())
    rows = build_table(config, "denoising", folder, PUBLISHED).set_index(
        ["sigma", "method", "metric", "image_id"]
    )
    row = rows.loc[(SIGMA, "separate", "psnr", "average")]
    assert (row["seeds"], row["n"]) == (SEEDS, 20)
    assert row["seed_std"] == pytest.approx(means.std())
    assert rows.loc[(SIGMA, "noisy", "psnr", "average")]["seeds"] == 1
    one = rows.loc[(SIGMA, "separate", "psnr", "test-0003")]
    assert one["value"] == pytest.approx(psnr.loc["test-0003", "separate"].mean())


def test_the_mean_of_miou_is_over_pooled_trainings(config, folder):
    measurements = read_measurements(config, folder, "segmentation", SIGMA)
    expected = []
    for seed in range(1, SEEDS + 1):
        path = folder.evaluation("segmentation", SIGMA, Draw(seed=seed)).with_suffix(".npz")
        with np.load(path) as arrays:
            expected.append(scores.miou(arrays["confusion/joint"]))
    np.testing.assert_allclose(measurements.seed_scores("joint", "miou"), expected)
    assert measurements.estimate("joint", "miou").value == pytest.approx(np.mean(expected))


def test_a_table_shows_the_deviation_of_trained_methods(config, folder):
    frame = build_table(config, "classification", folder, PUBLISHED)
    text = format_table(frame, config, "classification", read_published(2, PUBLISHED), "md")
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    assert "±" in lines["Joint"]
    assert "±" not in lines["CBM3D"]
    assert "3 of each denoiser" in text


def test_a_comparison_has_an_interval_for_each_source_of_error(folder, claims):
    rows = claims[claims["claim"] == "denoising-separate-over-noisy"].set_index("sigma")
    row = rows.loc[SIGMA]
    psnr = values(folder, "denoising", "psnr")
    gaps = psnr["separate"] - psnr["noisy"][[1]].to_numpy()
    trainings, images = (ttest_1samp(gaps.mean(axis=axis), 0) for axis in (0, 1))
    assert row["difference"] == pytest.approx(gaps.to_numpy().mean())
    assert (row["seeds"], row["networks"], row["n"]) == (SEEDS, 1, 20)
    assert (row["seed_low"], row["seed_high"]) == pytest.approx(
        tuple(trainings.confidence_interval(0.95))
    )
    assert (row["units_low"], row["units_high"]) == pytest.approx(
        tuple(images.confidence_interval(0.95))
    )
    errors = np.array([gaps.mean(axis=axis).sem() for axis in (0, 1)])
    freedom = (errors**2).sum() ** 2 / (errors**4 / (SEEDS - 1, 19)).sum()
    reach = t.ppf(0.975, freedom) * np.hypot(*errors)
    assert row["high"] - row["low"] == pytest.approx(2 * reach)
    assert np.isnan(row["network_low"])


def test_the_summary_pairs_trainings_and_averages_the_sigmas(folder, claims):
    (row,) = claims[
        (claims["claim"] == "denoising-separate-over-cbm3d") & claims["sigma"].isna()
    ].to_dict("records")
    gaps = []
    for sigma in (SIGMA, 45):
        psnr = values(folder, "denoising", "psnr", sigma)
        gaps.append(psnr["separate"].mean() - psnr["cbm3d"].mean()[1])
    reference = ttest_1samp(np.mean(gaps, axis=0), 0).confidence_interval(0.95)
    assert (row["seed_low"], row["seed_high"]) == pytest.approx(tuple(reference))
    assert row["seeds"] == SEEDS


def test_untrained_methods_have_no_spread(claims):
    rows = claims[claims["claim"] == "classification-cbm3d-over-noisy"]
    assert (rows["seeds"] == 1).all()
    assert rows["seed_low"].isna().all()
    # The classifier was trained once.
    assert (rows["verdict"] == "holds for these weights").all()
    assert set(rows["reason"]) == {"the classifier was trained once"}


def test_with_several_trainings_and_no_task_network_it_is_reproduced(claims):
    rows = claims[claims["claim"] == "denoising-separate-over-noisy"]
    assert set(rows["verdict"]) == {"reproduced"}
    assert set(rows["reason"]) == {""}


def test_trainings_that_disagree_leave_a_comparison_open(few, tmp_path):
    """The difference is clear over the images of each training, but trainings disagree."""
    other = write_synthetic_run(few, tmp_path, images=20)
    for sigma in (SIGMA, 45):
        noisy = pd.read_csv(other.evaluation("denoising", sigma)).query("method == 'noisy'")
        for seed, shift in ((1, 3.0), (2, -2.5), (3, 2.0)):
            path = other.evaluation("denoising", sigma, Draw(seed=seed))
            frame = pd.read_csv(path)
            frame.loc[frame["method"] == "separate", "psnr"] = noisy["psnr"].to_numpy() + shift
            frame.loc[frame["method"] == "separate", "psnr"] += np.linspace(0, 0.1, 20)
            frame.to_csv(path, index=False)
    claims = compute_claims(few, other)
    rows = claims[claims["claim"] == "denoising-separate-over-noisy"]
    assert (rows["units_low"] > 0).all()
    assert (rows["verdict"] == "inconclusive").all()


def test_a_method_that_lacks_a_training_has_no_measurements(few, tmp_path):
    other = write_synthetic_run(few, tmp_path, images=8)
    drop_method(other.evaluation("denoising", SIGMA, Draw(seed=2)), "dncnn")
    measurements = read_measurements(few, other, "denoising", SIGMA)
    assert ("dncnn", "psnr") not in measurements.features
    assert "dncnn" not in measurements.protocols
    assert ("separate", "psnr") in measurements.features


def test_other_images_in_a_further_training_are_refused(few, tmp_path):
    other = write_synthetic_run(few, tmp_path, images=8)
    path = other.evaluation("denoising", SIGMA, Draw(seed=3))
    frame = pd.read_csv(path)
    frame.assign(image_id=frame["image_id"] + "x").to_csv(path, index=False)
    with pytest.raises(UserError) as caught:
        read_measurements(few, other, "denoising", SIGMA)
    assert "sigma30-seed3.csv: other images than evaluation/" in caught.value.came


def simulate(rng, *, seeds: int, image: float = 0.0) -> float:
    """Return the p-value of two equally good denoisers.

    Each is trained `seeds` times and tested on 30 images. Trainings spread by 0.1 dB, and the
    difference of the two denoisers from image to image by `image` dB.
    """
    ease = rng.normal(0, 2, (30, 1, 1, 1))
    sides = [
        27 + ease + rng.normal(0, image / 2**0.5, (30, 1, 1, 1))
        + rng.normal(0, 0.1, (1, seeds, 1, 1)) + rng.normal(0, 0.2, (30, seeds, 1, 1))
        for _ in range(2)
    ]  # fmt: skip
    gap = statistics.estimate(sides[0], "psnr") - statistics.estimate(sides[1], "psnr")
    return statistics.infer(gap, {"images": np.arange(30)}, confidence=0.95).p_value


@pytest.mark.parametrize(
    ("seeds", "image", "least", "most"),
    [(1, 0.0, 0.3, 1), (3, 0.0, 0, 0.09), (5, 0.0, 0, 0.09), (10, 0.25, 0, 0.09)],
)
def test_only_several_trainings_prevent_false_alarms(seeds, image, least, most):
    # More than 9 % of 300 has a chance of 0.1 % at a true rate of 5 %.
    rng = np.random.default_rng(40)
    found = np.array([simulate(rng, seeds=seeds, image=image) for _ in range(300)])
    assert least <= np.mean(found < 0.05) <= most
