"""Presets: each value against a table typed from the paper and the released code."""

from __future__ import annotations

from operator import attrgetter

import pytest
from settings import refused, shipped, write_settings

from dhl.config.methods import TASKS
from dhl.config.parse import load_config, parse_config
from dhl.config.parts import Parts
from dhl.config.presets import merge
from dhl.files import project_file

# The source of a value: [P] the paper's text, [C] the released code, [S] a summary of the paper,
# [M] an unverified recollection, [D] DeepLab's paper or its released solver.
AUTHORS = {
    "denoising.training.separate.steps": 1_000_000,  # [C]
    "denoising.training.separate.batch": 64,  # [C]
    "denoising.training.separate.patch": 40,  # [C]
    "denoising.training.separate.augment": "none",  # [C]
    "denoising.training.separate.optimizer.name": "sgd",  # [C]
    "denoising.training.separate.optimizer.lr": 1e-4,  # [C]
    "denoising.training.separate.optimizer.momentum": 0.9,  # [C]
    "denoising.training.separate.optimizer.weight_decay": 5e-4,  # [C]
    "denoising.training.separate.optimizer.last_layer_lr": 0.1,  # [C]
    "denoising.training.separate.optimizer.bias_lr": 2,  # [C]
    "denoising.training.separate.optimizer.bias_decay": 0,  # [C]
    "denoising.training.separate.schedule.name": "constant",  # [C]
    "denoising.training.separate.clip_norm": 100,  # [C]
    "denoising.training.warm_start": None,  # [C]
    "denoising.training.dncnn": None,
    "classification.training.task_network": None,  # a published classifier is used as it is
    "segmentation.training.task_network.steps": 6000,  # [D]
    "segmentation.training.task_network.batch": 20,  # [D]
    "segmentation.training.task_network.patch": 321,  # [D]
    "segmentation.training.task_network.augment": "mirror",  # [D]
    "segmentation.training.task_network.optimizer.lr": 1e-3,  # [D]
    "segmentation.training.task_network.optimizer.momentum": 0.9,  # [D]
    "segmentation.training.task_network.optimizer.weight_decay": 5e-4,  # [D]
    "segmentation.training.task_network.optimizer.last_layer_lr": 10,  # [D]
    "segmentation.training.task_network.optimizer.bias_lr": 2,  # [D]
    "segmentation.training.task_network.optimizer.bias_decay": 0,  # [D]
    "segmentation.training.task_network.schedule.every": 2000,  # [D]
    "segmentation.training.task_network.schedule.gamma": 0.1,  # [D]
    "classification.training.joint.steps": 180_000,  # [C]
    "classification.training.joint.batch": 10,  # [C]
    "classification.training.joint.patch": 232,  # [C]
    "classification.training.joint.augment": "mirror",  # [C]
    "classification.training.joint.optimizer.name": "sgd",  # [C]
    "classification.training.joint.optimizer.lr": 1e-5,  # [C]
    "classification.training.joint.optimizer.momentum": 0.9,  # [C]
    "classification.training.joint.optimizer.weight_decay": 5e-4,  # [C]
    "classification.training.joint.optimizer.last_layer_lr": 0.1,  # [C]
    "classification.training.joint.schedule.name": "step",  # [C]
    "classification.training.joint.schedule.every": 80_000,  # [C]
    "classification.training.joint.schedule.gamma": 0.1,  # [C]
    "classification.training.joint.clip_norm": None,  # [C]
    "segmentation.training.joint.steps": 60_000,  # [C]
    "segmentation.training.joint.batch": 6,  # [C]
    "segmentation.training.joint.patch": 321,  # [C]
    "segmentation.training.joint.augment": "mirror",  # [C]
    "segmentation.training.joint.optimizer.lr": 1e-3,  # [C]
    "segmentation.training.joint.optimizer.momentum": 0.9,  # [C]
    "segmentation.training.joint.optimizer.weight_decay": 5e-4,  # [C]
    "segmentation.training.joint.optimizer.last_layer_lr": 0.1,  # [C]
    "segmentation.training.joint.schedule.every": 12_000,  # [C]
    "segmentation.training.joint.schedule.gamma": 0.2,  # [C]
    "segmentation.training.joint.clip_norm": None,  # [C]
}
PAPER = AUTHORS | {
    "denoising.training.separate.steps": 1_500_000,  # [P]
    "denoising.training.separate.batch": 32,  # [S]
    "denoising.training.separate.patch": 48,  # [S]
    "denoising.training.separate.schedule.name": "step",  # [S]
    "denoising.training.separate.schedule.every": 500_000,  # [S]
    "classification.training.joint.task_weight": 0.25,  # [M]
    "segmentation.training.joint.task_weight": 0.5,  # [P]
}


def preset(name: str, **recipes: dict) -> Parts:
    """Return the parts of `paper.yaml` with a preset, and with a part's own recipes over it."""
    content = shipped("paper", preset=name)
    for part, training in recipes.items():
        content["parts"][part]["training"] = training
    return parse_config(content, source="paper.yaml").parts


@pytest.mark.parametrize(("name", "values"), [("authors", AUTHORS), ("paper", PAPER)])
def test_every_value_is_the_published_one(name, values):
    parts = preset(name)
    assert {path: attrgetter(path)(parts) for path in values} == values


def test_the_released_losses_are_restated_exactly():
    parts = preset("authors")
    squares = 255**2 / 2  # half a squared error on 0-255 in units of one on [0, 1]
    assert parts.denoising.training.separate.loss_scale == squares
    for task, weight, side in (("classification", 5e-8, 224), ("segmentation", 5e-9, 322)):
        joint = parts[task].training.joint
        assert joint.loss_scale == pytest.approx(weight * squares * 3 * side**2, rel=1e-7)
        assert joint.loss_scale * joint.task_weight == pytest.approx(1, rel=1e-7)
        of_paper = preset("paper")[task].training.joint
        assert of_paper.loss_scale * of_paper.task_weight == 1
    # The factors of the mean squared error on [0, 1] as the literature's restatement has them.
    assert round(parts.classification.training.joint.loss_scale, 1) == 244.7
    assert round(parts.segmentation.training.joint.loss_scale, 1) == 50.6


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["authors", "paper"])
def test_the_retrained_network_sees_as_many_images_as_the_joint_denoiser(name, task):
    training = preset(name)[task].training
    joint, retrained = training.joint, training.retrained
    assert joint.steps * joint.batch == retrained.steps * retrained.batch


def test_every_preset_is_tested_here():
    shipped = project_file("config/presets").iterdir()
    assert sorted(path.stem for path in shipped) == ["authors", "paper"]


def test_the_users_keys_win_and_the_others_stay():
    before = preset("paper")
    after = preset("paper", classification={"joint": {"steps": 20, "optimizer": {"lr": 0.5}}})
    joint = after.classification.training.joint
    assert (joint.steps, joint.optimizer.lr) == (20, 0.5)
    assert (joint.batch, joint.optimizer.momentum, joint.task_weight) == (10, 0.9, 0.25)
    assert after.segmentation == before.segmentation
    assert after.denoising == before.denoising


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"name": "sgd", "momentum": 0.9}, {"name": "adamw"}, {"name": "adamw"}),
        ({"name": "sgd", "momentum": 0.9}, {"name": "sgd", "lr": 1},
         {"name": "sgd", "momentum": 0.9, "lr": 1}),
    ],
)  # fmt: skip
def test_mappings_merge_by_key_and_another_name_starts_afresh(base, over, merged):
    before = repr((base, over))
    assert merge(base, over) == merged
    assert repr((base, over)) == before


def with_preset(content: dict, name: str) -> dict:
    """Return settings whose denoisers and joint denoisers are trained by a preset."""
    parts = content["parts"]
    parts["denoising"].pop("training")
    parts["denoising"]["data"]["size"] = 48  # large enough for the preset's patches
    parts["classification"]["data"] = {"kind": "imagenette"}
    for task in TASKS:
        parts[task]["training"].pop("joint")
    return content | {"preset": name}


def test_a_configuration_from_a_file_has_its_preset_expanded(tmp_path, tiny_content):
    content = with_preset(tiny_content, "paper")
    content["parts"]["segmentation"]["training"]["joint"] = {"steps": 7}
    config = load_config(write_settings(tmp_path / "mine.yaml", content))
    assert config.parts.denoising.training.separate.steps == 1_500_000
    assert config.parts.segmentation.training.joint.steps == 7
    assert config.parts.classification.training.task_network.steps == 5
    resolved = config.model_dump(mode="json")
    assert "preset" not in resolved
    assert parse_config(resolved, source="resolved.yaml") == config


def test_a_preset_adds_no_part(tiny_content):
    content = with_preset(tiny_content, "authors")
    for task in TASKS:
        del content["parts"][task]
    content["parts"]["denoising"]["methods"] = ["noisy", "separate"]
    assert list(parse_config(content, source="mine.yaml").parts) == ["denoising"]


@pytest.mark.parametrize("name", ["autors", 3, ["paper"], None, "../paper"])
def test_an_unknown_preset_is_named_with_the_legal_ones(tiny_content, name):
    error = refused(tiny_content | {"preset": name})
    assert f"`{name}`" in error.mistake
    assert "mine.yaml" in error.mistake
    assert "authors, paper" in error.came
