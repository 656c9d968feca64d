"""The parents and settings of each model, and the changes that make it stale."""

from __future__ import annotations

import pytest
from settings import changed, refused

from dhl.config.parse import load_config, parse_config
from dhl.config.recipes import Recipe
from dhl.config.rules import used_recipes
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.run.evaluations import evaluated_models
from dhl.run.fingerprints import settings_fingerprint
from dhl.run.model_graph import all_models, model_spec, waiting_models

START = "separate-start/all"


def config_of(content: dict) -> Config:
    return parse_config(content, source="tiny.yaml")


@pytest.mark.parametrize(
    ("key", "role", "part", "objective", "parents"),
    [
        ("separate-start/all", "denoiser", "denoising", "denoise", ()),
        ("separate/sigma30", "denoiser", "denoising", "denoise", (START,)),
        ("dncnn-start/all", "denoiser", "denoising", "denoise", ()),
        ("dncnn/sigma30", "denoiser", "denoising", "denoise", ("dncnn-start/all",)),
        ("classifier/clean", "classifier", "classification", "task", ()),
        ("segmenter/clean", "segmenter", "segmentation", "task", ()),
        ("joint-classification/sigma30", "denoiser", "classification", "joint",
         ("separate/sigma30", "classifier/clean")),
        ("joint-segmentation/sigma30", "denoiser", "segmentation", "joint",
         ("separate/sigma30", "segmenter/clean")),
        ("matched-classification/sigma30", "denoiser", "classification", "denoise",
         ("separate/sigma30",)),
        ("matched-segmentation/sigma30", "denoiser", "segmentation", "denoise",
         ("separate/sigma30",)),
        ("permuted-classification/sigma30", "denoiser", "classification", "permuted",
         ("separate/sigma30", "classifier/clean")),
        ("perceptual-segmentation/sigma30", "denoiser", "segmentation", "perceptual",
         ("separate/sigma30", "segmenter/clean")),
        ("retrained-classification/sigma30", "classifier", "classification", "task",
         ("classifier/clean",)),
        ("retrained-segmentation/sigma30", "segmenter", "segmentation", "task",
         ("segmenter/clean",)),
    ],
)  # fmt: skip
def test_each_kind_of_model_has_its_role_data_objective_and_parents(
    tiny_config, key, role, part, objective, parents
):
    spec = model_spec(tiny_config, key)
    assert (spec.role, spec.part, spec.objective, spec.parents) == (role, part, objective, parents)


def test_a_models_sigma_is_of_its_key_or_the_range_of_its_recipe(tiny_content):
    recipe = tiny_content["parts"]["denoising"]["training"]["warm_start"]
    recipe |= {"sigma_low": 5, "sigma_high": 70}
    keys = {START: (5, 70), "separate/sigma25.5": 25.5, "classifier/clean": None}
    config = config_of(tiny_content)
    assert {key: model_spec(config, key).sigma for key in keys} == keys


def test_without_a_warm_start_denoisers_have_no_parents(tiny_content):
    tiny_content["parts"]["denoising"]["training"]["warm_start"] = None
    config = config_of(tiny_content)
    assert model_spec(config, "separate/sigma30").parents == ()
    assert START not in all_models(config)
    with pytest.raises(UserError):
        model_spec(config, START)


@pytest.mark.parametrize(
    "key",
    ["separate", "separate/all", "separate/30", "separate/sigma30.0", "separate/sigma030",
     "separate/sigmaX", "unet/sigma30", "classifier/sigma30", "separate/clean",
     "joint/sigma30", "joint-captioning/sigma30", "joint-/sigma30", "", "/", "cbm3d/sigma30",
     "separate-start/sigma30", "classifier-start/all", "permuted-captioning/sigma30",
     "perceptual/sigma30", "permuted-classification-resnet/sigma30"],
)  # fmt: skip
def test_a_key_that_names_no_model_is_refused(tiny_config, key):
    with pytest.raises(UserError) as caught:
        model_spec(tiny_config, key)
    assert f"`{key}`" in caught.value.came
    assert "`dhl describe`" in caught.value.do


def test_a_key_off_the_255_scale_is_refused(tiny_config):
    with pytest.raises(UserError) as caught:
        model_spec(tiny_config, "separate/sigma0.1")
    assert "0.1" in caught.value.came


@pytest.mark.parametrize("control", ["matched", "permuted", "perceptual"])
def test_joint_and_its_controls_share_draws_start_steps_and_schedule(tiny_config, control):
    shared = set(Recipe.model_fields)
    for task in ("classification", "segmentation"):
        joint, other = (
            model_spec(tiny_config, f"{name}-{task}/sigma30") for name in ("joint", control)
        )
        assert joint.seed_name == other.seed_name
        assert joint.start == other.start
        assert joint.recipe.model_dump(include=shared) == other.recipe.model_dump(include=shared)
        assert joint.network == other.network


@pytest.mark.parametrize(("configured", "weight"), [(None, 0.0041), (0.3, 0.3)])
def test_features_have_the_weight_of_the_task_unless_they_have_their_own(
    tiny_content, configured, weight
):
    recipe = tiny_content["parts"]["classification"]["training"]["joint"]
    assert recipe["task_weight"] == 0.0041
    recipe["feature_weight"] = configured
    config = config_of(tiny_content)
    weights = {
        name: model_spec(config, f"{name}-classification/sigma30").recipe.task_weight
        for name in ("joint", "permuted", "perceptual")
    }
    assert weights == {"joint": 0.0041, "permuted": 0.0041, "perceptual": weight}


def test_the_weight_of_the_features_decides_the_perceptual_denoiser_alone(tiny_content):
    kinds = ("joint", "matched", "permuted", "perceptual")
    path = "parts.segmentation.training.joint.feature_weight"
    before, after = (
        {kind: settings_fingerprint(config, f"{kind}-segmentation/sigma30") for kind in kinds}
        for config in map(config_of, (tiny_content, changed(tiny_content, path, 0.5)))
    )
    assert {kind for kind in kinds if before[kind] != after[kind]} == {"perceptual"}


def test_the_matched_denoiser_of_the_other_task_is_the_control_of_cross(tiny_content):
    classification = tiny_content["parts"]["classification"]
    classification["methods"] = ["clean", "noisy", "cross", "cross-matched"]
    found = evaluated_models(config_of(tiny_content), "classification", 30)
    assert set(found) == {
        "joint-segmentation/sigma30", "matched-segmentation/sigma30", "classifier/clean",
    }  # fmt: skip


def test_models_of_different_keys_draw_from_different_seeds(tiny_config):
    keys = [key for key in all_models(tiny_config) if not key.startswith("matched-")]
    assert len({model_spec(tiny_config, key).seed_name for key in keys}) == len(keys)


def test_all_models_come_after_their_parents_and_once(tiny_config):
    keys = all_models(tiny_config)
    assert len(keys) == len(set(keys)) == 12
    for place, key in enumerate(keys):
        assert set(model_spec(tiny_config, key).parents) <= set(keys[:place])


def test_evaluations_read_the_models_of_their_methods(tiny_config):
    assert set(evaluated_models(tiny_config, "segmentation", 30)) == {
        "separate/sigma30", "matched-segmentation/sigma30", "joint-segmentation/sigma30",
        "joint-classification/sigma30", "retrained-segmentation/sigma30", "segmenter/clean",
    }  # fmt: skip
    assert set(evaluated_models(tiny_config, "denoising", 30)) == {
        "dncnn/sigma30", "separate/sigma30", "joint-classification/sigma30",
        "joint-segmentation/sigma30", "matched-classification/sigma30",
        "matched-segmentation/sigma30",
    }  # fmt: skip


ALL = {
    "separate-start/all", "separate/sigma30", "dncnn-start/all", "dncnn/sigma30",
    "classifier/clean", "segmenter/clean", "joint-classification/sigma30",
    "joint-segmentation/sigma30", "matched-classification/sigma30",
    "matched-segmentation/sigma30", "retrained-classification/sigma30",
    "retrained-segmentation/sigma30",
}  # fmt: skip
JOINT = {key for key in ALL if key.startswith("joint-")}
MATCHED = {key for key in ALL if key.startswith("matched-")}


@pytest.mark.parametrize(
    ("path", "value", "stale"),
    [
        ("base_seed", 2, ALL),
        ("precision", "bfloat16", ALL),
        ("threads", 2, ALL),
        ("parts.classification.training.joint.task_weight", 0.5,
         {"joint-classification/sigma30"}),
        ("parts.segmentation.training.joint.steps", 6,
         {"joint-segmentation/sigma30", "matched-segmentation/sigma30"}),
        ("parts.denoising.training.separate.batch", 3,
         {"separate/sigma30", "dncnn/sigma30"} | JOINT | MATCHED),
        ("parts.denoising.training.warm_start.batch", 3,
         ALL - {key for key in ALL if key.startswith(("classifier", "segmenter", "retrained"))}),
        ("parts.classification.training.task_network.batch", 3,
         {"classifier/clean", "retrained-classification/sigma30", "joint-classification/sigma30"}),
        ("parts.segmentation.training.retrained.batch", 3, {"retrained-segmentation/sigma30"}),
        ("parts.denoising.dncnn.depth", 5, {"dncnn-start/all", "dncnn/sigma30"}),
        ("parts.denoising.training.dncnn", {"separate": {"steps": 9, "batch": 4, "patch": 24}},
         {"dncnn-start/all", "dncnn/sigma30"}),
        ("parts.segmentation.task_network.width", 9,
         {"segmenter/clean", "retrained-segmentation/sigma30", "joint-segmentation/sigma30"}),
        ("parts.classification.data.contrast", 0.7, set()),  # the digest of the images decides
        ("statistics", {"confidence": 0.9}, set()),
        ("evaluation.protocol", "plain", set()),
        ("evaluation.batch", 3, set()),
        ("run", "other", set()),
        ("parts.denoising.training.separate.checkpoint_every", 4, set()),
        ("parts.denoising.methods", ["noisy", "dncnn", "separate"], set()),
    ],
)  # fmt: skip
def test_a_setting_makes_exactly_the_models_stale_that_it_decides(tiny_content, path, value, stale):
    before, after = (
        {key: settings_fingerprint(config, key) for key in all_models(config)}
        for config in map(config_of, (tiny_content, changed(tiny_content, path, value)))
    )
    assert set(before) == ALL
    assert {key for key in ALL if after.get(key) != before[key]} == stale


def test_the_joint_denoiser_of_cropped_images_feeds_the_classifier_its_own_crop(tiny_content):
    tiny_content["parts"]["classification"]["training"]["joint"]["patch"] = 232
    tiny_content["parts"]["classification"]["data"] = {"kind": "imagenette"}
    config = parse_config(tiny_content, source="tiny.yaml")
    for name in ("joint", "matched"):
        assert model_spec(config, f"{name}-classification/sigma30").crop == 224
        assert model_spec(config, f"{name}-segmentation/sigma30").crop is None


@pytest.mark.parametrize("patch", [223, 226, 228, 230, 233])
def test_a_joint_patch_that_leaves_no_crop_is_refused(tiny_content, patch):
    tiny_content["parts"]["classification"]["training"]["joint"]["patch"] = patch
    tiny_content["parts"]["classification"]["data"] = {"kind": "imagenette"}
    error = refused(tiny_content)
    assert f"patch: {patch}`" in error.came
    assert all(number in error.do for number in ("224", "232"))


@pytest.mark.parametrize("path", sorted((PROJECT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_recipes_that_a_configuration_checks_are_those_of_its_models(path):
    config = load_config(path)
    specs = [model_spec(config, key) for key in all_models(config)]
    trained = {(spec.part, _decisive(spec.recipe)) for spec in specs if spec.recipe}
    assert {(part, _decisive(recipe)) for part, recipe in used_recipes(config).values()} == trained


def _decisive(recipe: Recipe) -> tuple:
    """Return the settings that tell recipes apart; the task weight is none of them."""
    return recipe.steps, recipe.batch, recipe.patch, recipe.optimizer


def test_models_that_others_start_from_have_more_models_waiting(tiny_config):
    waiting = waiting_models(tiny_config)
    assert list(waiting) == list(all_models(tiny_config))
    assert waiting[START] == 2  # the separate denoiser, and then the joint one
    assert waiting["separate/sigma30"] == waiting["classifier/clean"] == 1
    assert waiting["joint-classification/sigma30"] == 0
