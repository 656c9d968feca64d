"""Presets: each figure against a table typed from the paper's and the released code's own."""

from __future__ import annotations

import pytest
import yaml

from dhl.config.parse import load_config, parse_config
from dhl.config.presets import expand_preset, merge
from dhl.config.recipes import Training
from dhl.errors import UserError
from dhl.files import project_file

# Where a figure stands: [P] the paper's text, [C] the released code, [S] a summary of the paper,
# [M] an unverified recollection, [D] DeepLab's paper or its released solver.
AUTHORS = {
    "separate.steps": 1_000_000,  # [C]
    "separate.batch": 64,  # [C]
    "separate.patch": 40,  # [C]
    "separate.augment": "none",  # [C]
    "separate.optimizer.name": "sgd",  # [C]
    "separate.optimizer.lr": 1e-4,  # [C]
    "separate.optimizer.momentum": 0.9,  # [C]
    "separate.optimizer.weight_decay": 5e-4,  # [C]
    "separate.optimizer.last_layer_lr": 0.1,  # [C]
    "separate.optimizer.bias_lr": 2,  # [C]
    "separate.optimizer.bias_decay": 0,  # [C]
    "separate.schedule.name": "constant",  # [C]
    "separate.clip_norm": 100,  # [C]
    "warm_start": None,  # [C]
    "dncnn": None,
    "task.classification": None,  # a published classifier is used as it is
    "task.segmentation.steps": 6000,  # [D]
    "task.segmentation.batch": 20,  # [D]
    "task.segmentation.patch": 321,  # [D]
    "task.segmentation.augment": "mirror",  # [D]
    "task.segmentation.optimizer.lr": 1e-3,  # [D]
    "task.segmentation.optimizer.momentum": 0.9,  # [D]
    "task.segmentation.optimizer.weight_decay": 5e-4,  # [D]
    "task.segmentation.optimizer.last_layer_lr": 10,  # [D]
    "task.segmentation.optimizer.bias_lr": 2,  # [D]
    "task.segmentation.optimizer.bias_decay": 0,  # [D]
    "task.segmentation.schedule.every": 2000,  # [D]
    "task.segmentation.schedule.gamma": 0.1,  # [D]
    "joint.classification.steps": 180_000,  # [C]
    "joint.classification.batch": 10,  # [C]
    "joint.classification.patch": 232,  # [C]
    "joint.classification.augment": "mirror",  # [C]
    "joint.classification.optimizer.name": "sgd",  # [C]
    "joint.classification.optimizer.lr": 1e-5,  # [C]
    "joint.classification.optimizer.momentum": 0.9,  # [C]
    "joint.classification.optimizer.weight_decay": 5e-4,  # [C]
    "joint.classification.optimizer.last_layer_lr": 0.1,  # [C]
    "joint.classification.schedule.name": "step",  # [C]
    "joint.classification.schedule.every": 80_000,  # [C]
    "joint.classification.schedule.gamma": 0.1,  # [C]
    "joint.classification.clip_norm": None,  # [C]
    "joint.segmentation.steps": 60_000,  # [C]
    "joint.segmentation.batch": 6,  # [C]
    "joint.segmentation.patch": 321,  # [C]
    "joint.segmentation.augment": "mirror",  # [C]
    "joint.segmentation.optimizer.lr": 1e-3,  # [C]
    "joint.segmentation.optimizer.momentum": 0.9,  # [C]
    "joint.segmentation.optimizer.weight_decay": 5e-4,  # [C]
    "joint.segmentation.optimizer.last_layer_lr": 0.1,  # [C]
    "joint.segmentation.schedule.every": 12_000,  # [C]
    "joint.segmentation.schedule.gamma": 0.2,  # [C]
    "joint.segmentation.clip_norm": None,  # [C]
}
PAPER = AUTHORS | {
    "separate.steps": 1_500_000,  # [P]
    "separate.batch": 32,  # [S]
    "separate.patch": 48,  # [S]
    "separate.optimizer.lr": 1e-4,  # [S]
    "separate.schedule.name": "step",  # [S]
    "separate.schedule.every": 500_000,  # [S]
    "separate.schedule.gamma": 0.1,  # [S]
    "joint.classification.task_weight": 0.25,  # [M]
    "joint.segmentation.task_weight": 0.5,  # [P]
}


def preset(name: str, **own) -> Training:
    """Return the recipes of a preset as the program reads them."""
    content = expand_preset({"training": {"preset": name, **own}}, source="mine.yaml")
    return Training.model_validate(content["training"])


def figure(training: Training, path: str):
    """Look up a value by its key path."""
    value = training
    for key in path.split("."):
        value = getattr(value, key)
    return value


@pytest.mark.parametrize(("name", "figures"), [("authors", AUTHORS), ("paper", PAPER)])
def test_every_figure_is_the_published_one(name, figures):
    training = preset(name)
    assert {path: figure(training, path) for path in figures} == figures


def test_the_released_losses_are_restated_exactly():
    training = preset("authors")
    squares = 255**2 / 2  # half a squared error on 0-255 in units of one on [0, 1]
    assert parts.denoising.training.separate.loss_scale == squares
    for task, weight, side in (("classification", 5e-8, 224), ("segmentation", 5e-9, 322)):
        joint = getattr(training.joint, task)
        assert joint.loss_scale == pytest.approx(weight * squares * 3 * side**2, rel=1e-7)
        assert joint.loss_scale * joint.task_weight == pytest.approx(1, rel=1e-7)
    # The factors of the mean squared error on [0, 1] as the literature's restatement has them.
    assert round(parts.classification.training.joint.loss_scale, 1) == 244.7
    assert round(parts.segmentation.training.joint.loss_scale, 1) == 50.6


def test_in_the_papers_joint_loss_the_cross_entropy_has_the_released_weight():
    for task in ("classification", "segmentation"):
        joint = getattr(preset("paper").joint, task)
        assert joint.loss_scale * joint.task_weight == 1


def test_the_retrained_network_sees_as_many_images_as_the_joint_denoiser():
    for name in ("authors", "paper"):
        training = preset(name)
        for task in ("classification", "segmentation"):
            joint, retrained = (getattr(getattr(training, kind), task)
                                for kind in ("joint", "retrained"))  # fmt: skip
            assert joint.steps * joint.batch == retrained.steps * retrained.batch


def test_every_preset_is_tested_here():
    assert sorted(path.stem for path in project_file("config/presets").iterdir()) == ["authors", "paper"]


def test_the_users_keys_win_and_the_rest_stays():
    training = preset("paper", joint={"classification": {"steps": 20, "optimizer": {"lr": 0.5}}})
    joint = parts.classification.training.joint
    assert (joint.steps, joint.optimizer.lr) == (20, 0.5)
    assert (joint.batch, joint.optimizer.momentum, joint.task_weight) == (10, 0.9, 0.25)
    assert parts.segmentation.training.joint == preset("paper").joint.segmentation
    assert parts.denoising.training.separate == preset("paper").separate


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


def test_a_schedule_of_another_name_needs_nothing_taken_back():
    training = preset("paper", separate={"schedule": {"name": "cosine"}})
    assert (
        parts.denoising.training.separate.schedule.name,
        parts.denoising.training.separate.schedule.every,
    ) == ("cosine", None)


def test_a_configuration_from_a_file_has_its_preset_expanded(tmp_path, tiny_content):
    own = {key: tiny_content["training"][key] for key in ("task", "retrained")}
    tiny_content["training"] = {"preset": "paper", **own, "joint": {"segmentation": {"steps": 7}}}
    tiny_content["parts"]["denoising"]["data"]["size"] = 48  # large enough for its patches
    tiny_content["parts"]["classification"]["data"] = {"kind": "imagenette"}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tiny_content))
    config = load_config(path)
    assert config.parts.denoising.training.separate.steps == 1_500_000
    assert config.parts.segmentation.training.joint.steps == 7
    assert (
        config.parts.classification.training.task_network.steps
        == own["task"]["classification"]["steps"]
    )
    resolved = config.model_dump(mode="json")
    assert "preset" not in resolved["training"]
    assert parse_config(resolved, source="resolved.yaml") == config


@pytest.mark.parametrize("name", ["autors", 3, ["paper"], None, "../paper"])
def test_an_unknown_preset_is_named_with_the_legal_ones(tiny_content, name):
    tiny_content["training"] = {"preset": name}
    with pytest.raises(UserError, match=r"training\.preset") as caught:
        parse_config(tiny_content, source="mine.yaml")
    for words in (f"`{name}`", "mine.yaml", "authors or paper"):
        assert words in str(caught.value)


def test_a_misspelt_preset_key_is_explained(tiny_content):
    tiny_content["training"]["prest"] = "paper"
    with pytest.raises(UserError, match=r"`training.prest`[\s\S]*write `preset`"):
        parse_config(tiny_content, source="mine.yaml")


def test_a_wrong_key_beside_a_preset_is_named(tiny_content):
    tiny_content["training"] = {"preset": "authors", "joint": {"classification": {"step": 3}}}
    with pytest.raises(UserError, match=r"`parts.classification.training.joint.step`"):
        parse_config(tiny_content, source="mine.yaml")
