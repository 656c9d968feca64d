"""Configurations: each mistake stops with the key path, the value and what is legal."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from pydantic import ValidationError
from settings import changed, refused

from dhl.config.methods import ALLOWED
from dhl.config.parse import load_config, parse_config
from dhl.config.rules import unequal_images, used_recipes
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.run.model_graph import all_models

CONFIGS = sorted((PROJECT / "config").glob("*.yaml"))
FOLDER, CLASSES = ({"kind": kind, "name": "mine"} for kind in ("folder", "image_folder"))
IMAGENET = {"name": "resnet50", "weights": "imagenet"}
DENOISING, CLASSIFICATION = "parts.denoising", "parts.classification"
SEPARATE = "parts.denoising.training.separate"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_is_legal_and_reloads_to_the_same(path):
    config = load_config(path)
    assert config.run == path.stem
    assert Config.model_validate(config.model_dump()) == config
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert parse_config(config.model_dump(mode="json"), source="resolved.yaml") == config


@pytest.mark.parametrize(
    ("path", "value", "legal"),
    [
        # Keys
        ("evalution", {}, "evaluation"),
        (f"{CLASSIFICATION}.training.joint.task_wieght", 1, "task_weight"),
        (f"{SEPARATE}.optimizer.zzz", 1, "name, lr, momentum, weight_decay"),
        (f"{DENOISING}.data.trian", 1, "train"),
        (f"{DENOISING}.data", FOLDER | {"nmae": "mine"}, "name"),
        (f"{DENOISING}.data", "del", "add it"),
        (f"{DENOISING}.data.kind", "del", "add it"),
        (f"{CLASSIFICATION}.sigmas", "del", "add it"),
        ("sensitivity", {"sigma": 30, "classifiers": {"a": {"nmae": "small-vgg"}}}, "name"),
        # Types
        (f"{DENOISING}.data.train", "many", "whole number"),
        (f"{DENOISING}.data", "photos", "kind"),
        (f"{DENOISING}.denoiser", "released", "name, width, depth"),
        (f"{DENOISING}.sigmas", 30, "[30]"),
        (f"{DENOISING}.sigmas", ["30"], "30, without quotes"),
        ("base_seed", 1.5, "whole number"),
        ("run", 1.5, "quotes"),
        ("run", True, "quotes"),
        ("compile", "yes", "`true` or `false`"),
        (f"{SEPARATE}.optimizer.lr", "1e-3", "0.001 or 1.0e-3"),
        # Ranges and names
        (f"{DENOISING}.data.train", 0, "greater than or equal to 1"),
        (f"{DENOISING}.data.kind", "imagenet", "photo-digits, folder"),
        (f"{CLASSIFICATION}.data.kind", "image-folder", "`image_folder`"),
        ("base_seed", -1, "greater than or equal to 0"),
        ("run", "../elsewhere", "letters, digits"),
        ("run", "my run", "`my-run`"),
        ("run", "reference", "not `reference`"),
        ("seeds", 1000000, "less than or equal to 100"),
        ("base_seed", 10**20, "less than or equal to"),
        (f"{SEPARATE}.steps", 10**20, "at most 1000000000"),
        (f"{SEPARATE}.optimizer.lr", float("inf"), "finite"),
        ("downloads", {"root": "a\0b"}, "null"),
        ("device", "gpu", "`auto`, `cpu`, `mps`, `cuda`"),
        ("precision", "float16", "'bfloat16'"),
        (f"{DENOISING}.sigmas", [0.1], "1 to 255"),
        (f"{DENOISING}.sigmas", [], "add"),
        (f"{DENOISING}.sigmas", [30, 30.0], "remove"),
        (f"{DENOISING}.sigmas", [30.0000001, 30], "write 30."),
        (f"{DENOISING}.sigmas", [10**400], "1 to 255"),
        (f"{DENOISING}.training.warm_start.sigma_low", 33.33333333, "write 33.3333."),
        (f"{DENOISING}.test_sets", {"folder": 5}, "`parts.denoising.test_sets.folder`"),
        (f"{DENOISING}.methods", ["bm4d"], ", ".join(ALLOWED["denoising"])),
        (f"{DENOISING}.methods", ["seperate"], "`separate`"),
        (f"{DENOISING}.methods", ["noisy", "noisy"], "remove"),
        (f"{DENOISING}.denoiser.name", "unet", "released, paper, dncnn"),
        (f"{DENOISING}.denoiser.depth", 9, "`dncnn`"),
        ("parts.segmentation.training.joint.task_weight", float("nan"), "finite"),
        ("sensitivity", {"sigma": 30, "classifiers": {"My Net": {"name": "small-vgg"}}},
         "lower-case letters"),
        ("statistics", {"confidence": 95}, "less than 1"),
        ("evaluation.protocol", "matlab", "'authors' or 'plain'"),
        # Rules between keys
        (f"{SEPARATE}.schedule", {"name": "step"}, "`every`"),
        (f"{SEPARATE}.schedule", {"name": "cosine", "every": 3}, "`every`"),
        (f"{SEPARATE}.patch", 50, "48 or 52"),
        (f"{DENOISING}.training.warm_start.sigma_low", 200, "`sigma_high: 65`"),
        (f"{DENOISING}.training.warm_start.patch", 96, "40 or less"),
        (f"{CLASSIFICATION}.training.task_network.patch", 36, "32 or less"),
        (f"{CLASSIFICATION}.training.joint", "del", "add"),
        ("parts.segmentation.training.retrained", "del", "`parts.segmentation.methods`"),
        ("sensitivity", {"sigma": 25, "weight_factors": [10]}, "`parts.classification.sigmas`: 30"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key_path_its_value_and_what_is_legal(
    tiny_content, path, value, legal
):
    error = refused(changed(tiny_content, path, value))
    found = f"{error.mistake} {error.came}"
    assert "mine.yaml" in found
    assert all(key in found for key in path.split("."))
    if isinstance(value, int | float | str) and value != "del":
        assert json.dumps(value).strip('"') in found
    assert legal in f"{found} {error.do}"


@pytest.mark.parametrize("method", ["cross", "cross-matched"])
def test_a_task_that_needs_the_denoiser_of_another_task_needs_its_part(tiny_content, method):
    tiny_content["parts"].pop("segmentation")
    tiny_content["parts"]["denoising"]["methods"] = ["noisy", "separate"]
    tiny_content["parts"]["classification"]["methods"] = ["clean", "separate", method]
    error = refused(tiny_content)
    assert f"`{method}`" in error.mistake
    assert "`parts.segmentation`" in error.mistake or "`parts.segmentation`" in error.came
    tiny_content["parts"]["classification"]["methods"].remove(method)
    parts = parse_config(tiny_content, source="mine.yaml").parts
    assert list(parts) == ["denoising", "classification"]


def test_labels_are_permuted_among_two_images_at_least(tiny_content):
    segmentation = tiny_content["parts"]["segmentation"]
    segmentation["training"]["joint"]["batch"] = 1
    parse_config(tiny_content, source="mine.yaml")
    segmentation["methods"].append("joint-permuted")
    error = refused(tiny_content)
    assert "`joint-permuted`" in error.mistake
    assert "`parts.segmentation.training.joint.batch: 1`" in error.came
    segmentation["training"]["joint"]["batch"] = 2
    parse_config(tiny_content, source="mine.yaml")


def test_cross_needs_the_network_of_its_own_task(tiny_content):
    for part, methods in (("denoising", ["noisy", "separate"]), ("segmentation", ["joint"])):
        tiny_content["parts"][part]["methods"] = methods
    tiny_content["parts"]["classification"] |= {"methods": ["cross"], "training": {}}
    assert "`parts.classification.training.task_network`" in refused(tiny_content).mistake


def test_baselines_alone_need_no_trained_denoiser(tiny_content):
    denoising = tiny_content["parts"]["denoising"]
    denoising |= {"methods": ["noisy", "cbm3d"], "training": {}}
    config = parse_config(tiny_content | {"parts": {"denoising": denoising}}, source="mine.yaml")
    assert all_models(config) == ()


@pytest.mark.parametrize(
    ("network", "sigma", "mistake"),
    [
        ({"dncnn": {"name": "dncnn", "weights": "published"}}, 25, "depth 20"),
        ({"dncnn": {"name": "dncnn", "weights": "published", "depth": 20}}, 30, "for sigma 30"),
        ({"tnrd": {"name": "tnrd", "width": 49}}, 25, "at most 48 wide"),
    ],
)
def test_a_peer_has_the_shape_and_sigmas_of_its_weights(tiny_content, network, sigma, mistake):
    (name,) = network
    denoising = tiny_content["parts"]["denoising"]
    denoising |= {"methods": ["noisy", name, "separate"], "sigmas": [sigma], **network}
    denoising["training"][name] = {"separate": None} if name == "dncnn" else None
    assert mistake in refused(tiny_content | {"parts": {"denoising": denoising}}).mistake


@pytest.mark.parametrize("path", sorted((PROJECT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations_retrain_on_as_many_images_as_joint(path):
    assert unequal_images(load_config(path)) == {}


def test_unequal_numbers_of_images_are_found_if_both_methods_are_run(tiny_content):
    classification = tiny_content["parts"]["classification"]
    classification["training"]["retrained"] |= {"steps": 7, "batch": 3}
    assert classification["training"]["joint"]["steps"] == 5
    found = unequal_images(parse_config(tiny_content, source="mine.yaml"))
    assert found == {"classification": (21, 20)}
    classification["methods"].remove("joint")
    assert unequal_images(parse_config(tiny_content, source="mine.yaml")) == {}


def test_only_the_recipes_of_trained_models_are_used(tiny_content):
    denoising, classification, segmentation = tiny_content["parts"].values()
    denoising["methods"] = ["noisy", "dncnn"]
    classification["methods"] = ["clean", "noisy", "retrained"]
    segmentation["methods"] = ["clean", "noisy"]
    denoising["training"]["dncnn"] = {"separate": denoising["training"]["separate"]}
    denoising["training"]["warm_start"]["patch"] = 96  # larger than the images, but not used
    assert list(used_recipes(parse_config(tiny_content, source="mine.yaml"))) == [
        "parts.classification.training.retrained",
        "parts.classification.training.task_network",
        "parts.denoising.training.dncnn.separate",
        "parts.segmentation.training.task_network",
    ]
    denoising["training"]["dncnn"] = None  # DnCNN is trained as the denoiser
    assert "`parts.denoising.training.warm_start.patch: 96`" in refused(tiny_content).came


def test_only_the_patches_of_the_papers_denoiser_are_multiples_of_4(tiny_content):
    training = tiny_content["parts"]["denoising"]["training"]
    recipe = training["separate"] | {"patch": 38}
    training["dncnn"] = {"separate": recipe}
    parsed = parse_config(tiny_content, source="mine.yaml").parts.denoising.training
    assert parsed.of("dncnn").separate.patch == 38
    training["separate"] = recipe
    assert "not a multiple of 4" in refused(tiny_content).mistake


def test_patches_fit_into_images_of_known_size(tiny_content):
    denoising, classification, _ = tiny_content["parts"].values()
    denoising["training"]["separate"]["patch"] = 324
    denoising["data"] = FOLDER | {"test": "kodak", "train": "bsds500"}
    error = refused(tiny_content)
    assert "images of 321 px" in error.came
    assert "320" in error.do
    for train in ("photos", None):  # their size is not known
        denoising["data"]["train"] = train
        assert parse_config(tiny_content, source="mine.yaml").parts.denoising.data.train == train
    classification["training"]["joint"]["patch"] = 264
    classification["data"] = {"kind": "imagenette"}
    assert "images of 256 px in `parts.classification.data`" in refused(tiny_content).came


@pytest.mark.parametrize(
    ("part", "data", "train", "test", "how"),
    [
        ("denoising", FOLDER, "kodak", "kodak", "one folder"),
        ("denoising", FOLDER, "photos", "./photos/", "one folder"),
        ("denoising", FOLDER, "link", "photos", "one folder"),
        ("classification", CLASSES, "photos", "link", "one folder"),
        ("classification", CLASSES, "photos", "photos/test", "one inside the other"),
        ("classification", CLASSES, "link/train", "photos", "one inside the other"),
        ("denoising", FOLDER, "bsds500", "bsds500", None),  # other parts of one download
        ("denoising", FOLDER, "./kodak", "kodak", None),  # a folder and a download
        ("denoising", FOLDER, "photos", "photos/test", None),  # subfolders are not read
        ("classification", CLASSES, "photos/train", "photos/test", None),
    ],
)
def test_training_and_test_images_are_in_different_folders(
    tiny_content, tmp_path, monkeypatch, part, data, train, test, how
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    folders = {"train": train, "test": test}
    content = changed(tiny_content, f"parts.{part}.data", data | folders)
    if how is None:
        assert parse_config(content, source="mine.yaml").parts[part].data.train == train
    else:
        came = refused(content).came
        for words in (f"`train: {train}`", f"`test: {test}`", how, f"`parts.{part}.data`"):
            assert words in came


def test_paths_may_begin_with_the_users_home(tiny_content, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    folders = {"train": "~/train", "test": "~/test"}
    denoising, classification, segmentation = tiny_content["parts"].values()
    denoising["data"], classification["data"] = FOLDER | folders, CLASSES | folders
    segmentation["data"] = {"kind": "voc", "name": "v", "path": "~", "test": "val"}
    classification["task_network"] = {"name": "resnet50", "weights": "~/weights.pth"}
    parts = parse_config(tiny_content, source="mine.yaml").parts
    for data in (parts.denoising.data, parts.classification.data):
        assert (data.train, data.test) == ("/home/me/train", "/home/me/test")
    assert parts.segmentation.data.path == "/home/me"
    assert parts.classification.task_network.weights == "/home/me/weights.pth"
    classification["data"] = {"kind": "ilsvrc2012", "path": "~/i"}
    parts = parse_config(tiny_content, source="mine.yaml").parts
    assert parts.classification.data.path == "/home/me/i"


@pytest.mark.parametrize(
    "change",
    [(f"{CLASSIFICATION}.task_network", IMAGENET),
     ("sensitivity", {"sigma": 30, "classifiers": {"r": IMAGENET}})],
    ids=["task_network", "sensitivity"],
)  # fmt: skip
def test_imagenets_weights_need_imagenets_classes(tiny_content, change):
    error = refused(changed(tiny_content, *change))
    assert "`resnet50`" in error.mistake
    assert "1000" in error.mistake
    assert "10 classes in `parts.classification.data`" in error.came


@pytest.mark.parametrize(("count", "legal"), [(3, False), (1000, True)])
def test_folders_of_classes_are_counted(tiny_content, tmp_path, count, legal):
    part = tiny_content["parts"]["classification"]
    part["task_network"] = IMAGENET
    part["data"] = CLASSES | {"test": str(tmp_path / "mine")}
    parse_config(tiny_content, source="mine.yaml")  # a missing folder is reported by another step
    for index in range(count):
        (tmp_path / f"mine/c{index:04d}").mkdir(parents=True)
    if legal:
        parse_config(tiny_content, source="mine.yaml")
    else:
        assert "3 classes" in refused(tiny_content).came
    part["data"]["classes"] = "imagenet"
    config = parse_config(tiny_content, source="mine.yaml")
    assert config.parts.classification.data.classes == "imagenet"


@pytest.mark.parametrize("text", ["1e-3", "25E-5", "1e6", "1.5e3", "10e-4"])
def test_yaml_reads_the_advised_number_as_the_intended_one(tiny_content, text):
    assert isinstance(yaml.safe_load(text), str)
    error = refused(tiny_content | {"statistics": {"confidence": text}})
    advised = re.search(r"write (\S+) or (\S+): YAML", error.do).groups()
    assert [yaml.safe_load(one) for one in advised] == [float(text)] * 2


@pytest.mark.parametrize("content", [b"run: [1\n", b"\xff\xfe\x00", b"", b"- 1\n", None])
def test_a_file_that_is_missing_or_not_a_mapping_is_named(tmp_path, content):
    path = tmp_path / "broken.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert str(path) in caught.value.mistake


def test_a_configuration_cannot_be_changed(tiny_config):
    with pytest.raises(ValidationError, match="frozen"):
        tiny_config.base_seed = 2


def test_defaults_are_those_of_the_released_solver_and_networks(tiny_content):
    part = tiny_content["parts"]["denoising"]
    del part["denoiser"], part["dncnn"]
    part["training"]["separate"] = {"steps": 1, "batch": 1}
    config = parse_config(tiny_content, source="mine.yaml")
    part = config.parts.denoising
    solver = part.training.separate.optimizer
    assert solver.model_dump(include={"name", "lr", "momentum", "weight_decay"}) == {
        "name": "sgd", "lr": 1e-4, "momentum": 0.9, "weight_decay": 5e-4,
    }  # fmt: skip
    assert (part.denoiser.name, part.denoiser.width) == ("released", 64)
    assert (part.dncnn.width, part.dncnn.depth) == (64, 17)
    assert config.evaluation.protocol == "authors"
