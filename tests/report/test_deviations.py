"""A report lists the deviations of its configuration, and no others."""

from __future__ import annotations

import pytest
from report_run import deviations
from settings import shipped

from dhl.config.parse import load_config, parse_config
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.report.deviations import read_deviations
from dhl.report.texts import fill_in

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
    for entry in entries:
        assert entry["source"]
        assert not [word for word in ("{", "None", "none ") if word in entry["ours"]], entry


@pytest.mark.parametrize(
    ("name", "trained", "tested"),
    [("photos-ffdnet", "400 classes with even", "500 classes with odd"),
     ("photos-ffdnet-swapped", "400 classes with odd", "400 classes with even")],
)  # fmt: skip
def test_a_published_denoiser_on_samples_of_imagenet(name, trained, tested):
    found = deviations(shipped(name))
    assert (
        f"{trained} indices to train on, {tested} indices to test on"
        in (found["Classification data"])
    )
    assert found["Architecture of the denoiser"] == "ffdnet instead of the paper's denoiser"
    assert not {"Width of the denoiser", "Start of the last layer"} & set(found)


def test_numbers_of_chosen_images_are_listed_once():
    content = shipped("photos-ffdnet-swapped")
    content["parts"]["classification"]["data"] |= {"test_without": 40, "train_images": 80}
    found = deviations(content)
    assert (
        ": classes with odd indices to train on, classes with even"
        in (found["Classification data"])
    )
    assert found["Number of images for classification"].startswith(
        "80 images to train on; all to test on, without the 40 that another run tests on"
    )


@pytest.mark.parametrize(("name", "width"), [("mini", "16 channels"), ("paper", None)])
def test_the_width_is_that_of_the_papers_network(name, width):
    found = deviations(shipped(name))
    assert "released code" in found["Architecture of the denoiser"]
    assert found["Start of the last layer"].startswith("near zero")
    assert found.get("Width of the denoiser", "").split(" in the")[0] == (width or "")


@pytest.mark.parametrize(
    ("denoiser", "text"),
    [
        ({"name": "tnrd", "width": 24}, "tnrd instead of the paper's denoiser, 24 channels"),
        ({"name": "kair-dncnn", "depth": 5}, "kair-dncnn instead of the paper's denoiser, depth 5"),
        ({"name": "dncnn"}, "dncnn instead of the paper's denoiser"),
    ],
)
def test_another_denoiser_is_named(denoiser, text):
    content = shipped("mini")
    content["parts"]["denoising"]["denoiser"] = denoiser
    found = deviations(content)
    assert found["Architecture of the denoiser"] == text
    assert ("Start of the last layer" in found) == (denoiser["name"] == "dncnn")


def test_given_weights_do_not_start_near_zero(tmp_path):
    content = shipped("mini")
    part = content["parts"]["denoising"]
    part["denoiser"]["weights"] = str(tmp_path / "mine.pt")
    part["training"]["warm_start"] = None
    assert "Start of the last layer" not in deviations(content)


def test_peers_with_given_weights_are_not_called_trained():
    content = shipped("kodak-cpu")
    part = content["parts"]["denoising"]
    part["sigmas"] = [25]
    part["dncnn"] = {"name": "dncnn", "depth": 20, "weights": "published"}
    part["training"]["dncnn"] = {"separate": None}
    found = deviations(content)
    assert found["DnCNN"] == "with the weights published"
    assert found["Training of DnCNN"] == "not trained here"


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


@pytest.mark.parametrize(
    "entry",
    [
        "when: nosie != 1\n  ours: text",
        "at: parts.denoising.dat\n  ours: text",
        "ours: '{{ run.stpes }} steps'",
        "ours: '{% if %}'",
    ],
)
def test_an_unknown_key_is_an_error(tmp_path, entry):
    path = tmp_path / "deviations.yaml"
    path.write_text(f"- topic: Noise\n  paper: none\n  {entry}\n")
    with pytest.raises(UserError, match="text of the report"):
        read_deviations(parse_config(shipped("mini"), source="test"), path)


def test_values_are_formatted_for_sentences():
    assert fill_in("{{ a }}, {{ b }}: {{ c }}", {"a": 1500000, "b": [25.0, 0.5], "c": "x"}) == (
        "1,500,000, 25, 0.5: x"
    )
