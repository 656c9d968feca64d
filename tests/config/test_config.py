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
        ("parts.classification.training.joint.task_wieght", 1,
         ["`parts.classification.training.joint.task_wieght`", "write `task_weight`"]),
        ("parts.denoising.training.separate.optimizer.zzz", 1,
         ["`parts.denoising.training.separate.optimizer.zzz`", "name, lr, momentum, weight_decay"]),
        ("parts.denoising.data.trian", 1, ["`parts.denoising.data.trian`", "write `train`"]),
        ("parts.denoising.data.train", "many", ["`parts.denoising.data.train`", "whole number", '"many"']),
        ("parts.denoising.data.train", True, ["`parts.denoising.data.train`", "whole number", "true"]),
        ("parts.denoising.data.train", 0, ["`parts.denoising.data.train`", "greater than or equal to 1"]),
        ("parts.denoising.data.kind", "imagenet",
         ["`parts.denoising.data.kind` is photo-digits, folder, or your own code", "`imagenet`"]),
        ("parts.classification.data.kind", "image-folder",
         ["`parts.classification.data.kind`", "`image-folder`", "write `image_folder`"]),
        ("parts.denoising.data.kind", "del", ["no `parts.denoising.data.kind`"]),
        ("parts.denoising.data", "photos", ["`parts.denoising.data` holds keys", '"photos"']),
        ("parts.denoising.denoiser", "released", ["`parts.denoising.denoiser` holds keys", "name, width, depth"]),
        ("base_seed", -1, ["`base_seed`", "-1", "greater than or equal to 0"]),
        ("base_seed", 1.5, ["`base_seed`", "1.5", "whole number"]),
        ("run", "../elsewhere", ["`run`", "`../elsewhere`", "letters, digits, `.`, `_` and `-`"]),
        ("run", "my run", ["`run`", "`my run`", "such as `my-run`"]),
        ("run", 2026, ["`run` is text", "2026", "quotes"]),
        ("device", "gpu", ["`device`", "`gpu`", "`auto`, `cpu`, `mps`, `cuda`"]),
        ("compile", "yes", ["`compile` is on or off", '"yes"', "`true` or `false`"]),
        ("precision", "float16", ["`precision`", '"float16"', "'bfloat16'"]),
        ("parts.denoising.sigmas", [0.1], ["`parts.denoising.sigmas`", "0.1", "from 1 to 255"]),
        ("parts.segmentation.sigmas", [30, 300], ["`parts.segmentation.sigmas`", "300", "from 1 to 255"]),
        ("parts.denoising.sigmas", [-5], ["`parts.denoising.sigmas`", "-5", "from 1 to 255"]),
        ("parts.denoising.sigmas", [], ["`parts.denoising.sigmas`", "[]", "at least 1"]),
        ("parts.denoising.sigmas", 30, ["`parts.denoising.sigmas` is a list", "found: 30 ", "write `[30]`"]),
        ("parts.denoising.sigmas", ["30"], ["`parts.denoising.sigmas.0`", '"30"', "number"]),
        ("parts.denoising.sigmas", [30, 30.0], ["`parts.denoising.sigmas`", "twice"]),
        ("parts.denoising.methods", ["bm4d"], ["`parts.denoising.methods`", "`bm4d`",
                                         ", ".join(ALLOWED["denoising"])]),
        ("parts.segmentation.methods", ["dncnn-joint"], ["`parts.segmentation.methods`", "retrained"]),
        ("parts.denoising.methods", [], ["`parts.denoising.methods`", "[]", "at least 1"]),
        ("parts.denoising.methods", ["noisy", "noisy"], ["`parts.denoising.methods`", "`noisy` twice"]),
        ("parts.denoising.methods", ["seperate"], ["`seperate`", "write `separate`"]),

        ("parts.denoising.denoiser.name", "unet",
         ["`parts.denoising.denoiser.name: unet`", "released, paper, dncnn"]),
        ("parts.denoising.denoiser.depth", 9, ["`parts.denoising.denoiser.depth`", "`dncnn`"]),
        ("parts.segmentation.task_network.width", 0, ["`parts.segmentation.task_network.width`", "0"]),
        ("parts.segmentation.training.joint.task_weight", -0.5,
         ["`parts.segmentation.training.joint.task_weight`", "-0.5", "greater than or equal to 0"]),
        ("parts.segmentation.training.joint.task_weight", float("nan"),
         ["`parts.segmentation.training.joint.task_weight`", "NaN"]),
        ("parts.denoising.training.separate.optimizer.lr", "1e-3",
         ["`parts.denoising.training.separate.optimizer.lr` is a number", 'found: "1e-3"',
          "write 0.001 or 1.0e-3: YAML reads 1e-3 as text"]),
        ("parts.denoising.training.separate.steps", "1e6", ["`parts.denoising.training.separate.steps`", "write 1000000"]),
        ("parts.denoising.training.separate.schedule", {"name": "step"},
         ["`parts.denoising.training.separate.schedule`", "`every`"]),
        ("parts.denoising.training.separate.schedule", {"name": "cosine", "every": 3},
         ["`parts.denoising.training.separate.schedule`", "`every`"]),
        ("parts.denoising.training.separate.patch", 50,
         ["multiple of 4", "found: `parts.denoising.training.separate.patch: 50` in", "write 48 or 52"]),
        ("parts.denoising.training.warm_start.sigma_low", 200, ["`parts.denoising.training.warm_start`", "`sigma_low: 200`"]),
        ("training", "del", ["no `training`", "add it"]),
        ("training", None, ["`training`", "null"]),
        ("parts.denoising.data", "del", ["no `parts.denoising.data`"]),
        ("parts.classification.training.joint", "del", ["`parts.classification.training.joint`", "`joint"]),
        ("sensitivity", {"sigma": 25, "weight_factors": [10]},
         ["found: `sensitivity.sigma: 25` in", "`parts.classification.sigmas`: 30"]),
        ("sensitivity", {"sigma": 30, "classifiers": {"My Net": {"name": "small-vgg"}}},
         ["`My Net`, `sensitivity.classifiers.My Net`", "lower-case letters"]),
        ("sensitivity", {"sigma": 30, "classifiers": {"a": {"nmae": "small-vgg"}}},
         ["`sensitivity.classifiers.a.nmae`", "write `name`"]),

        ("parts.segmentation.training.retrained", "del",
         ["`parts.segmentation.training.retrained`", "`retrained`", "`parts.segmentation.methods`"]),
        ("parts.classification.sigmas", "del", ["`parts.classification.data`", "`parts.classification.sigmas`"]),
        ("parts.segmentation.methods", "del", ["`parts.segmentation.data`", "`parts.segmentation.methods`"]),
        ("processes", 3,
         ["`processes: 3`", "`parts.classification.training.joint.batch: 4`",
          "`parts.denoising.training.warm_start.batch: 4`", "multiple of 3"]),
        ("parts.denoising.training.warm_start.patch", 96,
         ["`parts.denoising.training.warm_start.patch: 96`", "40 px in `parts.denoising.data`", "write 40 or less"]),
        ("parts.classification.training.task_network.patch", 36,
         ["`parts.classification.training.task_network.patch: 36`", "32 px in `parts.classification.data`"]),
        ("parts.classification.task_network", {"name": "vgg16", "weights": "imagenet"},
         ["1000 classes", "`vgg16`", "10 classes in `parts.classification.data`", "take `weights` out"]),
        ("sensitivity",
         {"sigma": 30, "classifiers": {"r": {"name": "resnet50", "weights": "imagenet"}}},
         ["`resnet50` with `weights: imagenet`", "10 classes in `parts.classification.data`"]),
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
    with pytest.raises(UserError, match=r"`parts.denoising.data.nmae`[\s\S]*write `name`"):
        parse_config(changed(tiny_content, "parts.denoising.data", spec), source="mine.yaml")


def test_a_task_that_needs_another_ones_denoiser_needs_its_data(tiny_content):
    for section in ("data", "sigmas", "methods"):
        tiny_content[section].pop("segmentation")
    tiny_content["parts"]["denoising"]["methods"] = ["noisy", "separate"]
    with pytest.raises(
        UserError, match=r"`cross` in `parts.classification.methods`, and no `data.seg"
    ):
        parse_config(tiny_content, source="mine.yaml")
    tiny_content["parts"]["classification"]["methods"].remove("cross")
    assert parse_config(tiny_content, source="mine.yaml").parts == ("denoising", "classification")


def test_only_recipes_that_are_used_must_suit_the_processes_and_the_images(tiny_content):
    tiny_content["methods"] = {
        "denoising": ["noisy", "dncnn"],
        "classification": ["clean", "noisy", "retrained"],
        "segmentation": ["clean", "noisy"],
    }
    recipe = tiny_content["parts"]["denoising"]["training"]["separate"] | {"batch": 6}
    tiny_content["parts"]["denoising"]["training"]["dncnn"] = {
        "warm_start": None,
        "separate": recipe,
    }
    for task in ("classification", "segmentation"):
        tiny_content["parts"][task]["training"]["task_network"]["batch"] = 6
    tiny_content["parts"]["classification"]["training"]["retrained"]["batch"] = 9
    tiny_content["parts"]["denoising"]["training"]["warm_start"]["patch"] = 96  # not used
    config = parse_config(tiny_content | {"processes": 3}, source="mine.yaml")
    assert list(used_recipes(config)) == [
        "parts.denoising.training.dncnn.separate", "parts.classification.training.retrained",
        "parts.classification.training.task_network", "parts.segmentation.training.task_network",
    ]  # fmt: skip
    tiny_content["parts"]["denoising"]["training"]["dncnn"] = None  # trained as the denoiser is
    with pytest.raises(
        UserError, match=r"processes: 3` and `parts.denoising.training.separate.batch: 4`, `train"
    ):
        parse_config(tiny_content | {"processes": 3}, source="mine.yaml")


def test_what_the_recipes_of_the_paper_cannot_share_is_named_before_anything_starts():
    content = yaml.safe_load((CONFIGS[0].parent / "paper.yaml").read_text())
    with pytest.raises(UserError) as caught:
        parse_config(content | {"processes": 4}, source="paper.yaml")
    assert "`parts.classification.training.joint.batch: 10`" in str(caught.value)
    assert "`parts.segmentation.training.joint.batch: 6`" in str(caught.value)
    assert "training.task" not in str(caught.value)
    assert parse_config(content | {"processes": 2}, source="paper.yaml").processes == 2


def test_patches_fit_into_images_whose_size_is_known(tiny_content):
    tiny_content["parts"]["denoising"]["training"]["separate"]["patch"] = 324
    tiny_content["parts"]["denoising"]["data"] = folder = {
        "kind": "folder",
        "name": "k",
        "test": "kodak",
    }
    with pytest.raises(UserError, match=r"separate.patch: 324`, and images of 321 px[\s\S]*320 or"):
        parse_config(
            changed(tiny_content, "parts.denoising.data.train", "bsds500"), source="mine.yaml"
        )
    for train in ("kodak-like", None):  # not known
        content = changed(tiny_content, "parts.denoising.data", folder | {"train": train})
        assert (
            parse_config(content, source="mine.yaml").parts.denoising.training.separate.patch == 324
        )
    tiny_content["parts"]["denoising"]["training"]["separate"]["patch"] = 24
    tiny_content["parts"]["classification"]["training"]["joint"]["patch"] = 264
    tiny_content["parts"]["classification"]["data"] = {"kind": "imagenette"}
    with pytest.raises(UserError, match=r"images of 256 px in `parts.classification.data`"):
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
    tiny_content["parts"]["denoising"]["data"] = FOLDER | folders
    tiny_content["parts"]["classification"]["data"] = CLASSES | folders
    tiny_content["parts"]["segmentation"]["data"] = {
        "kind": "voc",
        "name": "v",
        "path": "~",
        "test": "val",
    }
    tiny_content["parts"]["classification"]["task_network"] = {
        "name": "resnet50",
        "weights": "~/weights.pth",
    }
    config = parse_config(tiny_content, source="mine.yaml")
    for part in (config.parts.denoising.data, config.parts.classification.data):
        assert (part.train, part.test) == ("/home/me/train", "/home/me/test")
    assert config.parts.segmentation.data.path == "/home/me"
    assert config.parts.classification.task_network.weights == "/home/me/weights.pth"
    imagenet = changed(
        tiny_content, "parts.classification.data", {"kind": "ilsvrc2012", "path": "~/i"}
    )
    assert parse_config(imagenet, source="mine.yaml").parts.classification.data.path == "/home/me/i"


@pytest.mark.parametrize("count", [3, 1000])
def test_own_classes_take_imagenets_weights_only_if_there_are_a_thousand(
    tiny_content, tmp_path, count
):
    tiny_content["parts"]["classification"]["task_network"] = {
        "name": "vgg16",
        "weights": "imagenet",
    }
    data = {"kind": "image_folder", "name": "own", "test": str(tmp_path / "own")}
    tiny_content["parts"]["classification"]["data"] = data
    parse_config(tiny_content, source="mine.yaml")  # the folder is not there yet
    for index in range(count):
        (tmp_path / f"own/c{index:04d}").mkdir(parents=True)
    if count == 1000:
        assert (
            parse_config(tiny_content, source="mine.yaml").parts.classification.data.name == "own"
        )
    else:
        with pytest.raises(UserError, match=r"`vgg16` with `weights: imagenet`, and 3 classes"):
            parse_config(tiny_content, source="mine.yaml")
    tiny_content["parts"]["classification"]["data"] = data | {"classes": "imagenet"}
    assert (
        parse_config(tiny_content, source="mine.yaml").parts.classification.data.classes
        == "imagenet"
    )


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
    tiny_content["parts"]["segmentation"]["training"]["joint"]["task_weight"] = 0.0198
    path.write_text(yaml.safe_dump(tiny_content))
    config = load_config(path)
    assert config.parts.denoising.sigmas == (30.0,)
    assert config.parts.segmentation.training.joint.task_weight == 0.0198
    assert config.parts.segmentation.data.size == 48
    with pytest.raises(ValidationError, match="frozen"):
        config.base_seed = 2


def test_defaults_are_those_of_the_released_solver_and_networks(tiny_content):
    tiny_content.pop("networks")
    tiny_content["parts"]["denoising"]["training"]["separate"] = {"steps": 1, "batch": 1}
    config = parse_config(tiny_content, source="mine.yaml")
    solver = config.parts.denoising.training.separate.optimizer
    assert (solver.name, solver.lr, solver.momentum, solver.weight_decay) == (
        "sgd", 1e-4, 0.9, 5e-4,
    )  # fmt: skip
    assert (config.parts.denoising.denoiser.name, config.parts.denoising.denoiser.width) == (
        "released",
        64,
    )
    assert (config.parts.denoising.dncnn.width, config.parts.denoising.dncnn.depth) == (64, 17)
    assert config.evaluation.protocol == "authors"
