"""A report lists the deviations of its configuration, and no others."""

from __future__ import annotations

import pytest
from report_run import deviations
from settings import shipped

from dhl.config.parse import load_config
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


def test_the_authors_training_does_not_deviate_from_itself():
    found = deviations(shipped("paper"))
    assert not AUTHORS_TRAINING & set(found)
    assert "torchvision's VGG-16" in found["Start of the segmenter"]
    assert "have 2 times" in found["Biases"]
    assert "bfloat16" in found["Number format of training"]
    assert found["Training of DnCNN"].startswith("trained exactly as the denoiser")
    assert "Segmenter" not in found


@pytest.mark.parametrize("path", sorted((PROJECT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_configuration_has_its_deviations(path):
    entries = read_deviations(load_config(path), DEVIATIONS)
    assert entries
    assert not [entry for entry in entries if "{" in entry["ours"] or not entry["source"]]


@pytest.mark.parametrize(
    ("part", "topic", "recipe", "ours"),
    [
        ("denoising", "Augmentation for the separate denoiser", {"augment": "mirror"}, "mirror"),
        ("denoising", "Gradient clipping", {"clip_norm": 5}, "clipped at 5, of a loss that is 32"),
        ("denoising", "Gradient clipping", {"clip_norm": None}, "not clipped"),
        ("denoising", "Gradient clipping", {"loss_scale": 1}, "that is 1 times the mean squared"),
        ("denoising", "Reconstruction loss", {"loss_scale": 1}, "1 times the mean squared error"),
        ("denoising", "Momentum of the separate denoiser", {"optimizer": {"momentum": 0}}, "0"),
        ("denoising", "Optimiser of the separate denoiser", {"optimizer": {"weight_decay": 0}},
         "decay 0"),
        ("denoising", "Learning rate of the denoiser's last layer",
         {"optimizer": {"last_layer_lr": 1}}, "1 times"),
        ("classification", "Joint training for classification", {"patch": 224}, "224"),
        ("classification", "Joint training for classification", {"schedule": {"every": 9}},
         "x 0.1 every 9 steps"),
        ("segmentation", "Joint training for segmentation", {"schedule": {"name": "poly"}},
         "schedule poly"),
        ("classification", "Task weight of classification", {"loss_scale": 4, "task_weight": 0.25},
         "4 * (MSE + 0.25 * cross-entropy)"),
    ],
)  # fmt: skip
def test_a_changed_recipe_deviates(part, topic, recipe, ours):
    content = shipped("paper")
    name = "separate" if part == "denoising" else "joint"
    content["parts"][part]["training"] = {name: recipe}
    assert ours in deviations(content)[topic]


@pytest.mark.parametrize("name", ["laboratory", "kodak-cpu"])
def test_the_deviations_of_a_short_training_are_listed(name):
    found = deviations(shipped(name))
    parts = load_config(PROJECT / f"config/{name}.yaml").parts
    assert found["Gradient clipping"].startswith("norms are clipped at 0.01, of a loss that is 1 ")
    assert found["Augmentation for the separate denoiser"] == "dihedral"
    assert found["Learning rate of the denoiser's last layer"].startswith("1 times")
    assert found["Training of DnCNN"].startswith(
        f"with its own recipe: {parts.denoising.training.dncnn.separate.steps} steps"
    )
    assert ("Number format of training" in found) == (name == "laboratory")
    assert ("Joint training for segmentation" in found) == (name == "laboratory")
    assert "Start of the segmenter" not in found


def test_methods_that_are_not_run_do_not_deviate():
    content = shipped("kodak-cpu")
    content["parts"]["denoising"]["methods"] = ["noisy", "separate"]
    assert not {"DnCNN", "Training of DnCNN", "CBM3D"} & set(deviations(content))
