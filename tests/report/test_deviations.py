"""The deviations that a report lists are those of its configuration, and no others."""

from __future__ import annotations

import pytest
import yaml

from dhl.config.parse import load_config, parse_config
from dhl.files import PROJECT
from dhl.report.content import read_deviations

DEVIATIONS = PROJECT / "report/deviations.yaml"
AUTHORS_TRAINING = {
    "Augmentation for the separate denoiser", "Gradient clipping",
    "Joint training for classification", "Joint training for segmentation",
    "Learning rate of the denoiser's last layer",
    "Momentum of the separate denoiser", "Optimiser of the separate denoiser",
    "Reconstruction loss", "Task weight of classification", "Warm start",
}  # fmt: skip


def deviations(content: dict) -> dict[str, str]:
    """List what a configuration does otherwise than the paper, by topic."""
    config = parse_config(content, source="test")
    return {entry["topic"]: entry["ours"] for entry in read_deviations(config, DEVIATIONS)}


def shipped(name: str) -> dict:
    """Read a shipped configuration."""
    return yaml.safe_load((PROJECT / f"config/{name}.yaml").read_text())


def with_training(part: str, training: dict) -> dict:
    """Return the configuration of the paper with other keys over the authors' training."""
    content = shipped("paper")
    content["parts"][part]["training"] = training
    return content


def test_the_authors_training_does_not_deviate_from_itself():
    found = deviations(shipped("paper"))
    assert not AUTHORS_TRAINING & set(found)
    assert found["Start of the segmenter"].startswith("torchvision's VGG-16")
    assert found["Biases"].startswith("all, BatchNorm's included, have 2 times")
    assert "bfloat16" in found["Number format of training"]
    assert found["Training of DnCNN"].startswith("trained exactly as the denoiser")
    assert "Segmenter" not in found


@pytest.mark.parametrize(
    ("topic", "recipe", "ours"),
    [
        ("Augmentation for the separate denoiser", {"augment": "mirror"}, "mirror"),
        ("Gradient clipping", {"clip_norm": 5}, "clipped at 5, of a loss that is 32"),
        ("Gradient clipping", {"clip_norm": None}, "not clipped"),
        ("Gradient clipping", {"loss_scale": 1}, "that is 1 times the mean squared"),
        ("Reconstruction loss", {"loss_scale": 1}, "1 times the mean squared error"),
        ("Momentum of the separate denoiser", {"optimizer": {"momentum": 0}}, "0"),
        ("Optimiser of the separate denoiser", {"optimizer": {"weight_decay": 0}}, "decay 0"),
        ("Learning rate of the denoiser's last layer", {"optimizer": {"last_layer_lr": 1}},
         "1 times"),
    ],
)  # fmt: skip
def test_a_changed_recipe_of_the_separate_denoiser_deviates(topic, recipe, ours):
    assert ours in deviations(with_training("denoising", {"separate": recipe}))[topic]


@pytest.mark.parametrize(
    ("topic", "task", "recipe", "ours"),
    [
        ("Joint training for classification", "classification", {"patch": 224}, "224"),
        ("Joint training for classification", "classification", {"schedule": {"every": 9}},
         "x 0.1 every 9 steps"),
        ("Joint training for segmentation", "segmentation", {"schedule": {"name": "poly"}},
         "schedule poly"),
        ("Task weight of classification", "classification", {"loss_scale": 4, "task_weight": 0.25},
         "4 * (MSE + 0.25 * cross-entropy)"),
    ],
)  # fmt: skip
def test_a_changed_recipe_of_joint_training_deviates(topic, task, recipe, ours):
    assert ours in deviations(with_training(task, {"joint": recipe}))[topic]


@pytest.mark.parametrize("name", ["mini", "kodak-cpu"])
def test_a_short_training_deviates_in_what_it_does(name):
    found = deviations(shipped(name))
    parts = load_config(PROJECT / f"config/{name}.yaml").parts
    assert found["Gradient clipping"].startswith("norms are clipped at 0.01, of a loss that is 1 ")
    assert found["Augmentation for the separate denoiser"] == "dihedral"
    assert found["Learning rate of the denoiser's last layer"].startswith("1 times")
    assert found["Training of DnCNN"].startswith(
        f"by a recipe of its own: {parts.denoising.training.dncnn.separate.steps} steps"
    )
    assert not [ours for ours in found.values() if "validation split" in ours]
    assert ("Number format of training" in found) == (name == "mini")
    assert ("Joint training for segmentation" in found) == (name == "mini")
    assert "Start of the segmenter" not in found


def test_methods_that_are_not_run_do_not_deviate():
    content = shipped("kodak-cpu")
    content["parts"]["denoising"]["methods"] = ["noisy", "separate"]
    assert not {"DnCNN", "Training of DnCNN", "CBM3D"} & set(deviations(content))
