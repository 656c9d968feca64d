"""Task weights, wrong noise levels and other task networks: from models to figures."""

from __future__ import annotations

import copy
import shutil

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from report_run import small_config
from skimage.metrics import peak_signal_noise_ratio
from synthetic_run import write_synthetic_run

from dhl.analysis.measurements import read_measurements
from dhl.analysis.sensitivity import (
    build_sensitivity,
    denoiser_label,
    reader_label,
    write_sensitivity,
)
from dhl.cli.parser import main
from dhl.config.parse import parse_config
from dhl.data.image_set import load_split
from dhl.data.noise import noisy_image
from dhl.data.prepare import write_noise
from dhl.errors import UserError
from dhl.evaluation.evaluate import evaluate
from dhl.evaluation.untrained import BaselineJob, write_baseline
from dhl.models import checkpoint
from dhl.report.figures import read_curves
from dhl.report.sensitivity_figures import sigma_mismatch, task_weight, transfer
from dhl.run.downloads import needed_sets
from dhl.run.evaluations import experiments, studied, studies
from dhl.run.failures import record_failure
from dhl.run.fingerprints import fingerprint
from dhl.run.folder import RunFolder
from dhl.run.model_graph import all_models, model_spec
from dhl.run.results import (
    IMAGE_COLUMNS,
    NOISE_COLUMNS,
    SENSITIVITY_COLUMNS,
    read_csv,
)
from dhl.training.train import train_model

SIGMA, OTHER = 30, 45
SECTION = {
    "sigma": SIGMA,
    "weight_factors": [10, 0.0001],
    "mismatch": ["denoising"],
    "classifiers": {"resnet": {"name": "small-resnet", "width": 8}},
    "segmenters": {"unet": {"name": "small-unet", "width": 8}},
}
NOTHING = {"weight_factors": [], "mismatch": [], "classifiers": {}, "segmenters": {}}
JOINT = "joint-classification/sigma30"


def with_sensitivity(content: dict, **section) -> dict:
    """Return settings at two sigmas of denoising that ask for experiments."""
    content = copy.deepcopy(content)
    content["sensitivity"] = SECTION | section
    content["parts"]["denoising"]["sigmas"] = [SIGMA, OTHER]
    return content


@pytest.fixture
def config(tiny_content):
    return parse_config(with_sensitivity(tiny_content), source="tiny.yaml")


@pytest.mark.parametrize(
    ("key", "role", "parents", "draws", "weight"),
    [
        (f"{JOINT}-times10", "denoiser", ("separate/sigma30", "classifier/clean"), JOINT, 0.041),
        (f"{JOINT}-times0.0001", "denoiser", ("separate/sigma30", "classifier/clean"), JOINT,
         4.1e-7),
        ("joint-classification-resnet/sigma30", "denoiser",
         ("separate/sigma30", "classifier-resnet/clean"), JOINT, 0.0041),
        ("joint-segmentation-unet/sigma30", "denoiser",
         ("separate/sigma30", "segmenter-unet/clean"), "joint-segmentation/sigma30", 0.0198),
        ("classifier-resnet/clean", "classifier", (), "classifier-resnet/clean", None),
        ("segmenter-unet/clean", "segmenter", (), "segmenter-unet/clean", None),
    ],
)  # fmt: skip
def test_a_varied_model_differs_from_the_joint_one_in_what_is_varied_alone(
    config, key, role, parents, draws, weight
):
    spec = model_spec(config, key)
    assert (spec.role, spec.parents, spec.seed_name) == (role, parents, draws)
    assert key in all_models(config)
    if weight is not None:
        assert spec.recipe.task_weight == pytest.approx(weight)
        plain = model_spec(config, spec.seed_name)
        without = {"task_weight"}
        assert spec.recipe.model_dump(exclude=without) == plain.recipe.model_dump(exclude=without)
        assert spec.network == plain.network


@pytest.mark.parametrize(
    "key",
    [f"{JOINT}-times2", f"{JOINT}-times1", f"{JOINT}-times10.0", "separate/sigma30-times10",
     "matched-classification/sigma30-times10", "joint-classification-vit/sigma30",
     "classifier-vit/clean", "segmenter-resnet/clean", "matched-classification-resnet/sigma30"],
)  # fmt: skip
def test_a_variation_that_was_not_configured_names_no_model(config, key):
    with pytest.raises(UserError, match="`dhl describe` lists"):
        model_spec(config, key)


def test_the_section_leaves_the_models_of_the_tables_as_they_are(config, tiny_config):
    for key in all_models(tiny_config):
        assert fingerprint(config, key) == fingerprint(tiny_config, key)


def refused(content: dict) -> UserError:
    """Return the error that a configuration raises."""
    with pytest.raises(UserError) as caught:
        parse_config(content, source="mine.yaml")
    return caught.value


@pytest.mark.parametrize(
    ("section", "key", "advice"),
    [
        ({"weight_factors": [1, 10]}, "sensitivity.weight_factors", "remove 1"),
        ({"weight_factors": [10, 10.0]}, "sensitivity.weight_factors", "repeated"),
        ({"weight_factors": [3.3333333]}, "sensitivity.weight_factors", "3.33333"),
        ({"weight_factors": [-1]}, "sensitivity.weight_factors.0", ""),
        ({"sigma": 60}, "sensitivity.sigma", "parts.classification.sigmas"),
        ({"classifiers": {"vgg": {"name": "big-vgg"}}}, "sensitivity.classifiers.vgg.name",
         "name one of them"),
        ({"segmenters": {"unet": {"name": "small-unet", "depth": 3}}},
         "sensitivity.segmenters.unet.depth", "remove `depth`"),
        ({"mismatch": ["segmentation"]}, "sensitivity.mismatch", "parts.segmentation.sigmas"),
        (NOTHING, "sensitivity", "docs/sensitivity.md"),
        ({"mismatch": True}, "sensitivity.mismatch", "[true]"),
        ({"segmenters": {"my net": {"name": "small-unet"}}}, "sensitivity.segmenters", "resnet50"),
        ({"weights": [2]}, "sensitivity.weights", "weight_factors"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_section_names_its_key(tiny_content, section, key, advice):
    error = refused(with_sensitivity(tiny_content, **section))
    assert key in error.mistake + error.came
    assert advice in error.do
    assert "mine.yaml" in str(error)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_no_multiple_of_a_weight_of_zero_is_trained(tiny_content, task):
    content = with_sensitivity(tiny_content)
    content["parts"][task]["training"]["joint"]["task_weight"] = 0
    assert f"parts.{task}.training.joint.task_weight" in refused(content).came
    content["sensitivity"]["weight_factors"] = []
    assert studies(parse_config(content, source="mine.yaml")) == ("sigma-mismatch", "transfer")


def test_weights_are_varied_only_with_a_task(tiny_content):
    content = with_sensitivity(tiny_content, **NOTHING | {"mismatch": ["denoising"]})
    content["parts"] = {"denoising": content["parts"]["denoising"]}
    content["parts"]["denoising"]["methods"] = ["noisy", "separate"]
    assert studies(parse_config(content, source="mine.yaml")) == ("sigma-mismatch",)
    content["sensitivity"]["weight_factors"] = [10]
    assert "no part classification or segmentation" in refused(content).came


@pytest.mark.parametrize(
    ("part", "methods", "came"),
    [("denoising", ["noisy", "cbm3d"], "`separate` nor `dncnn` in `parts.denoising.methods`"),
     ("classification", ["noisy", "separate"], "`joint` in `parts.classification.methods`")],
)  # fmt: skip
def test_a_mismatch_needs_a_trained_denoiser(tiny_content, part, methods, came):
    content = with_sensitivity(tiny_content, **NOTHING | {"mismatch": [part]})
    content["parts"][part] |= {"methods": methods, "sigmas": [SIGMA, OTHER]}
    if part == "denoising":
        content["parts"] = {part: content["parts"][part]}
    assert came in refused(content).came


def test_a_network_of_a_task_that_is_not_run_is_refused(tiny_content):
    content = with_sensitivity(tiny_content)
    content["parts"].pop("segmentation")
    content["parts"]["denoising"]["methods"] = ["noisy", "separate"]
    content["parts"]["classification"]["methods"].remove("cross")
    assert refused(content).came.startswith("`unet`, and no `parts.segmentation`")


def test_a_fresh_network_needs_the_recipe_of_its_task(tiny_content):
    content = with_sensitivity(tiny_content)
    content["parts"]["classification"]["data"] = {"kind": "imagenette"}
    content["parts"]["classification"]["task_network"] = {"name": "vgg16", "weights": "imagenet"}
    content["parts"]["classification"]["training"]["task_network"] = None
    mistake = refused(content).mistake
    assert "`small-resnet`" in mistake
    assert "parts.classification.training.task_network" in mistake
    content["sensitivity"]["classifiers"] = {"resnet": {"name": "resnet50", "weights": "imagenet"}}
    config = parse_config(content, source="mine.yaml")
    assert needed_sets(config) == ("imagenette", "vgg16-imagenet", "resnet50-imagenet")


def test_the_studies_follow_from_the_section(tiny_content):
    def asked(**section):
        plain = dict.fromkeys(SECTION, None) | {"sigma": SIGMA}
        content = with_sensitivity(tiny_content)
        content["sensitivity"] = {
            key: value for key, value in (plain | section).items() if value is not None
        }
        config = parse_config(content, source="tiny.yaml")
        return studies(config), studied(config)

    tasks = (("classification", SIGMA), ("segmentation", SIGMA))
    assert asked(weight_factors=[10]) == (("task-weight",), tasks)
    assert asked(segmenters=SECTION["segmenters"]) == (("transfer",), tasks)
    noises = (("denoising", SIGMA), ("denoising", OTHER))
    assert asked(mismatch=["denoising"]) == (("sigma-mismatch",), noises)


@pytest.fixture(scope="module")
def studied_run(tiny_run, tmp_path_factory):
    """The tiny run with the experiments of the studies; not to be changed."""
    from settings import tiny_settings

    config = parse_config(with_sensitivity(tiny_settings()), source="tiny.yaml")
    folder = RunFolder(shutil.copytree(tiny_run.root, tmp_path_factory.mktemp("studies") / "run"))
    write_noise(config, "denoising", OTHER, folder)
    for key in all_models(config):
        if not folder.model(key).exists() and ("times" in key or "net" in key or "/sigma45" in key):
            train_model(config, key, folder)
    job = BaselineJob("denoising", "cbm3d", OTHER)
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
    assert found["retrained"].models(2) == ("retrained-classification/sigma30-seed2",)
    name = "joint-segmentation/sigma30 + classifier-resnet/clean"
    assert found[name].models(1) == ("joint-segmentation/sigma30", "classifier-resnet/clean")
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
    means = rows.groupby("models")[["psnr", "top1", "top5"]].mean()
    chosen = table[table["part"] == "classification"]
    assert len(chosen) > 30
    for row in chosen.itertuples():
        value = means.loc[f"{row.denoiser} + {row.reader}", row.metric]
        assert row.value == pytest.approx(value)
        assert row.ci_low <= row.value + 1e-9
        assert row.n == 12
        if isinstance(row.reference, str):
            assert row.reference == "matched-classification/sigma30"
            against = means.loc[f"{row.reference} + {row.reader}", row.metric]
            assert row.difference == pytest.approx(value - against, abs=1e-12)
            assert row.difference_low <= row.difference + 1e-9 <= row.difference_high + 2e-9
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


def test_further_trainings_evaluate_trained_experiments_only(tiny_content):
    config = parse_config(with_sensitivity(tiny_content) | {"seeds": 2}, source="tiny.yaml")
    first, second = (experiments(config, "classification", SIGMA, seed) for seed in (1, 2))
    assert set(first) - set(second) == {one for one in first if not one.trained}
    assert {key for one in second for key in one.models(2) if "seed2" not in key} == {
        "classifier/clean", "classifier-resnet/clean",
    }  # fmt: skip
    assert f"{JOINT}-times10-seed2" in all_models(config)


def test_with_several_trainings_values_are_averages_with_their_spread(tmp_path):
    config = small_config(seeds=3)
    folder = write_synthetic_run(config, tmp_path, images=20)
    table = build_sensitivity(config, folder)
    row = table[
        (table["experiment"] == "transfer") & (table["reader"] == "segmenter-unet/clean")
        & (table["denoiser"] == "joint-classification/sigma60") & (table["metric"] == "psnr")
    ].iloc[0]  # fmt: skip
    name = "joint-classification/sigma60 + segmenter-unet/clean"
    against = "matched-segmentation/sigma60 + segmenter-unet/clean"
    values, gaps = [], []
    for seed in (1, 2, 3):
        frame = pd.read_csv(folder.evaluation("segmentation", 60, seed))
        means = frame.groupby("method")["psnr"].mean()
        values.append(means[name])
        gaps.append(means[name] - means[against])
    assert row["seeds"] == 3
    assert row["value"] == pytest.approx(np.mean(values))
    assert row["seed_std"] == pytest.approx(np.std(values, ddof=1))
    assert row["difference"] == pytest.approx(np.mean(gaps))
    half = 4.302652730 * np.std(gaps, ddof=1) / np.sqrt(3)  # Student's t with two degrees
    assert row["seed_high"] == pytest.approx(np.mean(gaps) + half, rel=1e-6)
    assert row["both_low"] < row["difference_low"] < row["difference_high"] < row["both_high"]
    unguided = table[table["denoiser"] == "noisy"]
    assert set(unguided["seeds"]) == {1}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A made-up run of mini at two sigmas, and its configuration."""
    config = small_config()
    folder = write_synthetic_run(config, tmp_path_factory.mktemp("drawn"), images=20)
    write_sensitivity(config, folder)
    return config, folder


def test_the_trade_off_goes_through_the_values_in_the_order_of_the_weights(drawn):
    config, folder = drawn
    table = read_csv(folder.sensitivity, SENSITIVITY_COLUMNS)
    axes = task_weight(config, folder).axes[1]
    rows = table[(table["experiment"] == "task-weight") & (table["part"] == "segmentation")]
    grid = rows.pivot(index="task_weight", columns="metric", values="value").sort_index()
    np.testing.assert_allclose(axes.lines[0].get_xdata().astype(float), grid["psnr"])
    np.testing.assert_allclose(axes.lines[0].get_ydata().astype(float), 100 * grid["miou"])
    assert [text.get_text() for text in axes.texts] == ["0", "0.00198", "0.0198", "0.198"]


def test_a_matrix_of_mismatches_has_the_tables_values_on_its_diagonal(drawn):
    config, folder = drawn
    figure = sigma_mismatch(config, folder)
    (axes,) = [
        one for one in figure.axes if one.get_title() == "Segmentation: Joint with small-largefov"
    ]
    texts = [text.get_text() for text in axes.texts]
    table = read_csv(folder.sensitivity, SENSITIVITY_COLUMNS)
    rows = table[(table["experiment"] == "sigma-mismatch") & (table["metric"] == "miou")]
    values = rows.set_index(["denoiser", "sigma"])["value"]
    assert texts == [
        f"{100 * values[f'joint-segmentation/sigma{trained}', noise]:.1f}"
        for trained in (30, 60)
        for noise in (30, 60)
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["30", "60"]
    assert {(patch.get_x(), patch.get_y()) for patch in axes.patches} == {(0, 0), (1, 1)}


def test_a_matrix_of_transfers_frames_the_networks_that_guided(drawn):
    config, folder = drawn
    figure = transfer(config, folder)
    axes = figure.axes[0]
    readers = [label.get_text() for label in axes.get_xticklabels()]
    denoisers = [label.get_text() for label in axes.get_yticklabels()]
    assert readers == ["small-vgg", "small-resnet"]
    assert denoisers == [
        "Clean image", "Noisy image", "Separate", "Separate, matched", "Joint with small-vgg",
        "Joint with small-resnet", "Joint with small-largefov", "Joint with small-unet",
    ]  # fmt: skip
    frames = {(patch.get_x(), patch.get_y()) for patch in axes.patches}
    assert frames == {(0, 4), (1, 5)}


def test_the_colour_of_a_cell_is_its_difference_to_the_control(drawn):
    config, folder = drawn
    axes = transfer(config, folder).axes[0]
    colors = axes.collections[0].get_facecolors().reshape(8, 2, 4)
    matched, noisy = colors[3, 0], colors[1, 0]
    assert matplotlib.colors.rgb_to_hsv(matched[:3])[1] < 0.1  # no difference: almost white
    assert noisy[2] > noisy[0]  # violet: worse


def test_curves_of_other_weights_are_not_drawn_among_the_others(studied_run):
    _, folder = studied_run
    curves = read_curves(folder)
    assert set(curves["joint-classification"]) == {SIGMA, OTHER}
    assert folder.training(f"{JOINT}-times10").exists()
    assert curves["joint-classification-resnet"][30]["loss"].notna().all()


def test_a_seed_or_a_table_that_does_not_exist_is_refused(tmp_path, tiny_content, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(with_sensitivity(tiny_content)))
    common = ["--configfile", str(path), "--folder", str(tmp_path / "run")]
    again = ["--part", "classification", "--sigma", "30", "--seed", "2"]
    assert main(["evaluate", *again, *common]) == 1
    assert "Seed 2 does not exist" in capsys.readouterr().err
    empty = tmp_path / "none.yaml"
    empty.write_text(yaml.safe_dump(tiny_content))
    assert main(["sensitivity", "--configfile", str(empty)]) == 1
    assert str(empty) in capsys.readouterr().err
    assert main(["describe", *common]) == 0
    printed = capsys.readouterr().out
    assert "studies of classification at sigma 30: task-weight, transfer" in printed
    assert "studies of denoising at sigma 45: sigma-mismatch" in printed


def test_two_networks_of_one_architecture_are_told_apart():
    section = {"sigma": 60, "classifiers": {"wide": {"name": "small-vgg", "width": 48}}}
    config = small_config(sensitivity=section)
    assert reader_label(config, "classifier/clean") == "small-vgg"
    assert reader_label(config, "classifier-wide/clean") == "small-vgg (wide)"
    assert denoiser_label(config, "joint-classification/sigma60") == "Joint with small-vgg"
    assert denoiser_label(config, "matched-segmentation/sigma60") == "Separate, matched"
    key = "joint-classification-wide/sigma60"
    assert denoiser_label(config, key) == "Joint with small-vgg (wide)"


def test_a_first_training_that_failed_leaves_the_rest_of_the_table(tmp_path):
    config = small_config(seeds=2)
    folder = write_synthetic_run(config, tmp_path, images=8)
    path = folder.evaluation("segmentation", 60)
    record_failure([path, path.with_suffix(".npz")], status=9, log=tmp_path / "none")
    table = build_sensitivity(config, folder)
    lost = (table["part"] == "segmentation") & (table["sigma"] == 60)
    assert set(table.loc[lost, "status"]) == {"failed: exit status 9"}
    assert table.loc[~lost, "value"].notna().all()


def test_a_segmenter_with_imagenets_first_layers_needs_a_recipe(tiny_content):
    content = with_sensitivity(tiny_content)
    network = {"name": "deeplab-largefov", "weights": "imagenet"}
    content["sensitivity"]["segmenters"] = {"dl": network}
    segmentation = content["parts"]["segmentation"]
    segmentation["task_network"] = network | {"weights": "mine.pth"}
    segmentation["training"]["task_network"] = None
    mistake = refused(content).mistake
    assert "`deeplab-largefov`" in mistake
    assert "parts.segmentation.training.task_network" in mistake
