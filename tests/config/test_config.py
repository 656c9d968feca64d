"""Configurations: each mistake stops with the key path, the value and what is legal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from settings import changed

from dhl.config.methods import ALLOWED
from dhl.config.parse import load_config, parse_config
from dhl.config.rules import used_recipes
from dhl.errors import UserError

CONFIGS = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_is_legal_and_named_after_its_file(path):
    assert load_config(path).run == path.stem


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("sigams", [1], ["unknown key `sigams`", "write `sigmas`"]),
        ("training.joint.classification.task_wieght", 1,
         ["`training.joint.classification.task_wieght`", "write `task_weight`"]),
        ("training.separate.optimizer.zzz", 1,
         ["`training.separate.optimizer.zzz`", "name, lr, momentum, weight_decay"]),
        ("data.denoising.trian", 1, ["`data.denoising.trian`", "write `train`"]),
        ("data.denoising.train", "many", ["`data.denoising.train`", "whole number", '"many"']),
        ("data.denoising.train", True, ["`data.denoising.train`", "whole number", "true"]),
        ("data.denoising.train", 0, ["`data.denoising.train`", "greater than or equal to 1"]),
        ("data.denoising.kind", "imagenet",
         ["`data.denoising.kind` is photo-digits, folder, or your own code", "`imagenet`"]),
        ("data.classification.kind", "image-folder",
         ["`data.classification.kind`", "`image-folder`", "write `image_folder`"]),
        ("data.denoising.kind", "del", ["no `data.denoising.kind`"]),
        ("data.denoising", "photos", ["`data.denoising` holds keys", '"photos"']),
        ("networks.denoiser", "released", ["`networks.denoiser` holds keys", "name, width, depth"]),
        ("base_seed", -1, ["`base_seed`", "-1", "greater than or equal to 0"]),
        ("base_seed", 1.5, ["`base_seed`", "1.5", "whole number"]),
        ("run", "../elsewhere", ["`run`", "`../elsewhere`", "letters, digits, `.`, `_` and `-`"]),
        ("run", "my run", ["`run`", "`my run`", "such as `my-run`"]),
        ("run", 2026, ["`run` is text", "2026", "quotes"]),
        ("device", "gpu", ["`device`", "`gpu`", "`auto`, `cpu`, `mps`, `cuda`"]),
        ("compile", "yes", ["`compile` is on or off", '"yes"', "`true` or `false`"]),
        ("precision", "float16", ["`precision`", '"float16"', "'bfloat16'"]),
        ("sigmas.denoising", [0.1], ["`sigmas.denoising`", "0.1", "from 1 to 255"]),
        ("sigmas.segmentation", [30, 300], ["`sigmas.segmentation`", "300", "from 1 to 255"]),
        ("sigmas.denoising", [-5], ["`sigmas.denoising`", "-5", "from 1 to 255"]),
        ("sigmas.denoising", [], ["`sigmas.denoising`", "[]", "at least 1"]),
        ("sigmas.denoising", 30, ["`sigmas.denoising` is a list", "found: 30 ", "write `[30]`"]),
        ("sigmas.denoising", ["30"], ["`sigmas.denoising.0`", '"30"', "number"]),
        ("sigmas.denoising", [30, 30.0], ["`sigmas.denoising`", "twice"]),
        ("methods.denoising", ["bm4d"], ["`methods.denoising`", "`bm4d`",
                                         ", ".join(ALLOWED["denoising"])]),
        ("methods.segmentation", ["dncnn-joint"], ["`methods.segmentation`", "retrained"]),
        ("methods.denoising", [], ["`methods.denoising`", "[]", "at least 1"]),
        ("methods.denoising", ["noisy", "noisy"], ["`methods.denoising`", "`noisy` twice"]),
        ("methods.denoising", ["seperate"], ["`seperate`", "write `separate`"]),

        ("networks.denoiser.name", "unet",
         ["`networks.denoiser.name: unet`", "released, paper, dncnn"]),
        ("networks.denoiser.depth", 9, ["`networks.denoiser.depth`", "`dncnn`"]),
        ("networks.segmenter.width", 0, ["`networks.segmenter.width`", "0"]),
        ("training.joint.segmentation.task_weight", -0.5,
         ["`training.joint.segmentation.task_weight`", "-0.5", "greater than or equal to 0"]),
        ("training.joint.segmentation.task_weight", float("nan"),
         ["`training.joint.segmentation.task_weight`", "NaN"]),
        ("training.separate.optimizer.lr", "1e-3",
         ["`training.separate.optimizer.lr` is a number", 'found: "1e-3"',
          "write 0.001 or 1.0e-3: YAML reads 1e-3 as text"]),
        ("training.separate.steps", "1e6", ["`training.separate.steps`", "write 1000000"]),
        ("training.separate.schedule", {"name": "step"},
         ["`training.separate.schedule`", "`every`"]),
        ("training.separate.schedule", {"name": "cosine", "every": 3},
         ["`training.separate.schedule`", "`every`"]),
        ("training.separate.patch", 50,
         ["multiple of 4", "found: `training.separate.patch: 50` in", "write 48 or 52"]),
        ("training.warm_start.sigma_low", 200, ["`training.warm_start`", "`sigma_low: 200`"]),
        ("training", "del", ["no `training`", "add it"]),
        ("training", None, ["`training`", "null"]),
        ("data.denoising", "del", ["no `data.denoising`"]),
        ("training.joint.classification", "del", ["`training.joint.classification`", "`joint"]),
        ("sensitivity", {"sigma": 25, "weight_factors": [10]},
         ["found: `sensitivity.sigma: 25` in", "`sigmas.classification`: 30"]),
        ("sensitivity", {"sigma": 30, "classifiers": {"My Net": {"name": "small-vgg"}}},
         ["`My Net`, `sensitivity.classifiers.My Net`", "lower-case letters"]),
        ("sensitivity", {"sigma": 30, "classifiers": {"a": {"nmae": "small-vgg"}}},
         ["`sensitivity.classifiers.a.nmae`", "write `name`"]),

        ("training.retrained.segmentation", "del",
         ["`training.retrained.segmentation`", "`retrained`", "`methods.segmentation`"]),
        ("sigmas.classification", "del", ["`data.classification`", "`sigmas.classification`"]),
        ("methods.segmentation", "del", ["`data.segmentation`", "`methods.segmentation`"]),
        ("processes", 3,
         ["`processes: 3`", "`training.joint.classification.batch: 4`",
          "`training.warm_start.batch: 4`", "multiple of 3"]),
        ("training.warm_start.patch", 96,
         ["`training.warm_start.patch: 96`", "40 px in `data.denoising`", "write 40 or less"]),
        ("training.task.classification.patch", 36,
         ["`training.task.classification.patch: 36`", "32 px in `data.classification`"]),
        ("networks.classifier", {"name": "vgg16", "weights": "imagenet"},
         ["1000 classes", "`vgg16`", "10 classes in `data.classification`", "take `weights` out"]),
        ("sensitivity",
         {"sigma": 30, "classifiers": {"r": {"name": "resnet50", "weights": "imagenet"}}},
         ["`resnet50` with `weights: imagenet`", "10 classes in `data.classification`"]),
        ("statistics.margin_accuracy", 2,
         ["0.02 is 2 points", "found: 2, `statistics.margin_accuracy`", "write 0.02 for 2 points"]),
        ("statistics.margin_miou", 0.2, ["found: 0.2, `statistics.margin_miou`", "below 0.2"]),
        ("statistics.margin_miou", 0, ["found: 0, `statistics.margin_miou`", "such as 0.02"]),
        ("statistics.confidence", 95, ["`statistics.confidence`", "95", "less than 1"]),
        ("evaluation.protocol", "matlab", ["`evaluation.protocol`", "'authors' or 'plain'"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_value_and_remedy(tiny_content, path, value, said):
    with pytest.raises(UserError) as caught:
        parse_config(changed(tiny_content, path, value), source="mine.yaml")
    message = str(caught.value)
    for words in said:
        assert words in message
    assert "mine.yaml" in message
    assert message.index("\n  found: ") < message.index("\n  to do: ")


def test_a_misspelt_key_of_a_folder_is_explained_by_the_keys_of_folders(tiny_content):
    spec = {"kind": "folder", "nmae": "mine", "test": "pictures"}
    with pytest.raises(UserError, match=r"`data.denoising.nmae`[\s\S]*write `name`"):
        parse_config(changed(tiny_content, "data.denoising", spec), source="mine.yaml")


def test_a_task_that_needs_another_ones_denoiser_needs_its_data(tiny_content):
    for section in ("data", "sigmas", "methods"):
        tiny_content[section].pop("segmentation")
    tiny_content["methods"]["denoising"] = ["noisy", "separate"]
    with pytest.raises(UserError, match=r"`cross` in `methods.classification`, and no `data.seg"):
        parse_config(tiny_content, source="mine.yaml")
    tiny_content["methods"]["classification"].remove("cross")
    assert parse_config(tiny_content, source="mine.yaml").parts == ("denoising", "classification")


def test_only_recipes_that_are_used_must_suit_the_processes_and_the_images(tiny_content):
    tiny_content["methods"] = {
        "denoising": ["noisy", "dncnn"],
        "classification": ["clean", "noisy", "retrained"],
        "segmentation": ["clean", "noisy"],
    }
    recipe = tiny_content["training"]["separate"] | {"batch": 6}
    tiny_content["training"]["dncnn"] = {"warm_start": None, "separate": recipe}
    for task in ("classification", "segmentation"):
        tiny_content["training"]["task"][task]["batch"] = 6
    tiny_content["training"]["retrained"]["classification"]["batch"] = 9
    tiny_content["training"]["warm_start"]["patch"] = 96  # not used
    config = parse_config(tiny_content | {"processes": 3}, source="mine.yaml")
    assert list(used_recipes(config)) == [
        "training.dncnn.separate", "training.retrained.classification",
        "training.task.classification", "training.task.segmentation",
    ]  # fmt: skip
    tiny_content["training"]["dncnn"] = None  # trained as the denoiser is
    with pytest.raises(UserError, match=r"processes: 3` and `training.separate.batch: 4`, `train"):
        parse_config(tiny_content | {"processes": 3}, source="mine.yaml")


def test_what_the_recipes_of_the_paper_cannot_share_is_named_before_anything_starts():
    content = yaml.safe_load((CONFIGS[0].parent / "paper.yaml").read_text())
    with pytest.raises(UserError) as caught:
        parse_config(content | {"processes": 4}, source="paper.yaml")
    assert "`training.joint.classification.batch: 10`" in str(caught.value)
    assert "`training.joint.segmentation.batch: 6`" in str(caught.value)
    assert "training.task" not in str(caught.value)
    assert parse_config(content | {"processes": 2}, source="paper.yaml").processes == 2


def test_patches_fit_into_images_whose_size_is_known(tiny_content):
    tiny_content["training"]["separate"]["patch"] = 324
    tiny_content["data"]["denoising"] = folder = {"kind": "folder", "name": "k", "test": "kodak"}
    with pytest.raises(UserError, match=r"separate.patch: 324`, and images of 321 px[\s\S]*320 or"):
        parse_config(changed(tiny_content, "data.denoising.train", "bsds500"), source="mine.yaml")
    for train in ("kodak-like", None):  # not known
        content = changed(tiny_content, "data.denoising", folder | {"train": train})
        assert parse_config(content, source="mine.yaml").training.separate.patch == 324
    tiny_content["training"]["separate"]["patch"] = 24
    tiny_content["training"]["joint"]["classification"]["patch"] = 264
    tiny_content["data"]["classification"] = {"kind": "imagenette"}
    with pytest.raises(UserError, match=r"images of 256 px in `data.classification`"):
        parse_config(tiny_content, source="mine.yaml")


FOLDER, CLASSES = ({"kind": kind, "name": "own"} for kind in ("folder", "image_folder"))


@pytest.mark.parametrize(
    ("part", "data", "train", "test", "said"),
    [
        ("denoising", FOLDER, "kodak", "kodak", "one folder"),
        ("denoising", FOLDER, "photos", "./photos/", "one folder"),
        ("denoising", FOLDER, "link", "photos", "one folder"),
        ("classification", CLASSES, "photos", "link", "one folder"),
        ("classification", CLASSES, "photos", "photos/test", "one inside the other"),
        ("classification", CLASSES, "link/train", "photos", "one inside the other"),
        ("denoising", FOLDER, "bsds500", "bsds500", None),  # its `val` is tested on
        ("denoising", FOLDER, "./kodak", "kodak", None),  # a folder, and the public set
        ("denoising", FOLDER, "photos", "photos/test", None),  # read without folders inside
        ("classification", CLASSES, "photos/train", "photos/test", None),
    ],
)
def test_images_to_train_on_are_not_those_that_are_tested_on(
    tiny_content, tmp_path, monkeypatch, part, data, train, test, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    content = changed(tiny_content, f"data.{part}", data | {"train": train, "test": test})
    if said is None:
        assert getattr(parse_config(content, source="mine.yaml").data, part).train == train
        return
    with pytest.raises(UserError) as caught:
        parse_config(content, source="mine.yaml")
    assert caught.value.came == (
        f"`train: {train}` and `test: {test}`, {said}, `data.{part}` in mine.yaml"
    )


def test_a_users_own_paths_may_begin_at_home(tiny_content, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    folders = {"train": "~/train", "test": "~/test"}
    tiny_content["data"]["denoising"] = FOLDER | folders
    tiny_content["data"]["classification"] = CLASSES | folders
    tiny_content["data"]["segmentation"] = {"kind": "voc", "name": "v", "path": "~", "test": "val"}
    tiny_content["networks"]["classifier"] = {"name": "resnet50", "weights": "~/weights.pth"}
    config = parse_config(tiny_content, source="mine.yaml")
    for part in (config.data.denoising, config.data.classification):
        assert (part.train, part.test) == ("/home/me/train", "/home/me/test")
    assert config.data.segmentation.path == "/home/me"
    assert config.networks.classifier.weights == "/home/me/weights.pth"
    imagenet = changed(tiny_content, "data.classification", {"kind": "ilsvrc2012", "path": "~/i"})
    assert parse_config(imagenet, source="mine.yaml").data.classification.path == "/home/me/i"


@pytest.mark.parametrize("count", [3, 1000])
def test_own_classes_take_imagenets_weights_only_if_there_are_a_thousand(
    tiny_content, tmp_path, count
):
    tiny_content["networks"]["classifier"] = {"name": "vgg16", "weights": "imagenet"}
    data = {"kind": "image_folder", "name": "own", "test": str(tmp_path / "own")}
    tiny_content["data"]["classification"] = data
    parse_config(tiny_content, source="mine.yaml")  # the folder is not there yet
    for index in range(count):
        (tmp_path / f"own/c{index:04d}").mkdir(parents=True)
    if count == 1000:
        assert parse_config(tiny_content, source="mine.yaml").data.classification.name == "own"
    else:
        with pytest.raises(UserError, match=r"`vgg16` with `weights: imagenet`, and 3 classes"):
            parse_config(tiny_content, source="mine.yaml")
    tiny_content["data"]["classification"] = data | {"classes": "imagenet"}
    assert parse_config(tiny_content, source="mine.yaml").data.classification.classes == "imagenet"


@pytest.mark.parametrize("text", ["1e-3", "25E-5", "1e6", "1.5e3", "10e-4"])
def test_yaml_reads_what_the_message_offers_as_the_number_that_was_meant(tiny_content, text):
    assert isinstance(yaml.safe_load(text), str)
    with pytest.raises(UserError) as caught:
        parse_config(tiny_content | {"statistics": {"confidence": text}}, source="mine.yaml")
    offered = re.search(r"write (\S+) or (\S+): YAML", caught.value.do).groups()
    assert [yaml.safe_load(one) for one in offered] == [float(text)] * 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"run: [1\n", "mend the syntax"),
        (b"\xff\xfe\x00", "mend the syntax"),
        (b"", "holds NoneType"),
        (b"- 1\n", "holds list"),
    ],
)
def test_a_file_that_is_no_mapping_is_named(tmp_path, content, said):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(UserError, match="no file") as caught:
        load_config(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_loaded_configuration_equals_its_file_and_cannot_be_changed(tmp_path, tiny_content):
    path = tmp_path / "tiny.yaml"
    tiny_content["training"]["joint"]["segmentation"]["task_weight"] = 0.0198
    path.write_text(yaml.safe_dump(tiny_content))
    config = load_config(path)
    assert config.sigmas.denoising == (30.0,)
    assert config.training.joint.segmentation.task_weight == 0.0198
    assert config.data.segmentation.size == 48
    with pytest.raises(ValidationError, match="frozen"):
        config.base_seed = 2


def test_defaults_are_those_of_the_released_solver_and_networks(tiny_content):
    tiny_content.pop("networks")
    tiny_content["training"]["separate"] = {"steps": 1, "batch": 1}
    config = parse_config(tiny_content, source="mine.yaml")
    solver = config.training.separate.optimizer
    assert (solver.name, solver.lr, solver.momentum, solver.weight_decay) == (
        "sgd", 1e-4, 0.9, 5e-4,
    )  # fmt: skip
    assert (config.networks.denoiser.name, config.networks.denoiser.width) == ("released", 64)
    assert (config.networks.dncnn.width, config.networks.dncnn.depth) == (64, 17)
    assert config.evaluation.protocol == "authors"
