"""The section `sensitivity`: its mistakes, and the models and studies that follow from it."""

from __future__ import annotations

import pytest
from settings import OTHER_SIGMA, SENSITIVITY, SIGMA, refused, with_sensitivity

from dhl.config.parse import parse_config
from dhl.errors import UserError
from dhl.run.downloads import needed_sets
from dhl.run.evaluations import experiments, studied, studies
from dhl.run.fingerprints import settings_fingerprint
from dhl.run.model_graph import all_models, model_spec
from dhl.seeding import Draw

NOTHING = {"weight_factors": [], "mismatch": [], "classifiers": {}, "segmenters": {}}
JOINT = "joint-classification/sigma30"


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
def test_a_varied_model_differs_from_the_joint_one_only_in_its_variation(
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
    with pytest.raises(UserError, match="from the list of `dhl describe`"):
        model_spec(config, key)


def test_the_section_leaves_the_models_of_the_tables_as_they_are(config, tiny_config):
    for key in all_models(tiny_config):
        assert settings_fingerprint(config, key) == settings_fingerprint(tiny_config, key)


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
    content["parts"][part] |= {"methods": methods, "sigmas": [SIGMA, OTHER_SIGMA]}
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


def test_the_studies_follow_from_the_section(tiny_content):
    def asked(**section):
        plain = dict.fromkeys(SENSITIVITY, None) | {"sigma": SIGMA}
        content = with_sensitivity(tiny_content)
        content["sensitivity"] = {
            key: value for key, value in (plain | section).items() if value is not None
        }
        config = parse_config(content, source="tiny.yaml")
        return studies(config), studied(config)

    tasks = (("classification", SIGMA), ("segmentation", SIGMA))
    assert asked(weight_factors=[10]) == (("task-weight",), tasks)
    assert asked(segmenters=SENSITIVITY["segmenters"]) == (("transfer",), tasks)
    noises = (("denoising", SIGMA), ("denoising", OTHER_SIGMA))
    assert asked(mismatch=["denoising"]) == (("sigma-mismatch",), noises)


def test_further_trainings_evaluate_trained_experiments_only(tiny_content):
    config = parse_config(with_sensitivity(tiny_content) | {"seeds": 2}, source="tiny.yaml")
    first, second = (experiments(config, "classification", SIGMA, Draw(seed=n)) for n in (1, 2))
    assert set(first) - set(second) == {one for one in first if one.draws(config).seed == 1}
    keys = {key for one in second for key in one.models(config, Draw(seed=2))}
    trained_once = {key for key in keys if "seed2" not in key}
    assert trained_once == {"classifier/clean", "classifier-resnet/clean"}
    assert f"{JOINT}-times10-seed2" in all_models(config)
