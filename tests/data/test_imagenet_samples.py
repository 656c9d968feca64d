"""One photograph of each ImageNet class: its archive from GitHub, its splits, and its pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from settings import refused as refused_config
from tiny_archives import LAYOUTS, offer, tar_of
from tiny_sets import write_picture

from dhl.config.data_sets import Folder
from dhl.config.parse import parse_config
from dhl.data.classification import imagenet_synsets
from dhl.data.download import fetch
from dhl.data.folder import read_denoising
from dhl.data.image_set import load_split
from dhl.errors import UserError

PART = "classification"


@pytest.fixture
def samples(tmp_path):
    """Write a picture for each class, wide or high, and some of them grey."""
    for index, synset in enumerate(imagenet_synsets()):
        write_picture(tmp_path / f"imagenet-samples/{synset}_name.JPEG", height=24 + index % 16)
    for synset in ("n01440764", "n01443537"):  # classes 0 and 1
        path = tmp_path / f"imagenet-samples/{synset}_name.JPEG"
        Image.open(path).convert("L").save(path)
    (tmp_path / "imagenet-samples/README.md").write_text("samples")
    return tmp_path


def test_an_archive_of_github_is_known_by_its_files(site, monkeypatch, tmp_path):
    content = offer("imagenet-samples", site, monkeypatch)
    (address,) = site.files
    site.files[address] = packed = tar_of(LAYOUTS["imagenet-samples"], "w")
    assert packed != content  # GitHub does not promise the same bytes
    folder = fetch("imagenet-samples", root=tmp_path, mirrors={})
    wanted = {path.partition("/")[2]: of for path, of in LAYOUTS["imagenet-samples"].items()}
    assert {path: (folder / path).read_bytes() for path in wanted} == wanted
    assert json.loads((tmp_path / "digests.json").read_text()) == {"imagenet-samples": {}}


@pytest.mark.parametrize("change", ["another byte", "renamed", "missing", "added", "cut off"])
def test_another_content_of_an_archive_of_github_is_refused(change, site, monkeypatch, tmp_path):
    content = offer("camvid", site, monkeypatch)
    (address,) = site.files
    files = dict(LAYOUTS["camvid"])
    name = next(path for path in files if path.endswith("CamVid/train/0001TP_train.png"))
    pixels = files[name] if change == "added" else files.pop(name)
    files |= {
        "another byte": {name: pixels[:-1] + b"!"},
        "renamed": {name.replace("0001TP", "0002TP"): pixels},
        "added": {f"{name}.txt": b"more"},
    }.get(change, {})
    site.files[address] = content[:-600] if change == "cut off" else tar_of(files)
    with pytest.raises(UserError) as caught:
        fetch("camvid", root=tmp_path, mirrors={})
    assert ("not contents:" in caught.value.came) == (change != "cut off")
    assert not (tmp_path / "camvid").exists()


@pytest.mark.parametrize(
    ("test", "tested", "trained", "count"), [("odd", 1, 0, 500), ("even", 0, 1, 400)]
)
def test_a_class_is_in_one_split_and_its_index_is_that_of_its_synset(
    test, tested, trained, count, written, samples
):
    path = written(kind="imagenet-samples", test=test, resize=24, crop=16).data(PART)
    splits = {name: load_split(path, name) for name in ("train", "validation", "test")}
    assert {name: len(one) for name, one in splits.items()} == {
        "train": 400, "validation": 100, "test": count,
    }  # fmt: skip
    synsets = list(imagenet_synsets())
    for one in splits.values():
        assert [name.partition("_")[0] for name in one.ids] == [synsets[i] for i in one.targets]
    assert set(splits["test"].targets % 2) == {tested}
    # Of the training half's classes in order, every fifth from the third on.
    assert list(splits["validation"].targets) == list(range(trained + 4, 1000, 10))
    assert set(splits["train"].targets % 2) == set(splits["validation"].targets % 2) == {trained}
    assert not set(splits["train"].ids) & set(splits["validation"].ids)
    assert {tuple(size) for name in ("validation", "test") for size in splits[name].sizes} == {
        (16, 16)
    }
    assert min(splits["train"].sizes.ravel()) == 24


def test_photographs_on_which_settings_were_chosen_are_never_tested(written, samples):
    path = written(kind="imagenet-samples", test="odd", resize=24, crop=16).data(PART)
    chosen_on = set(load_split(path, "validation").ids)
    path = written(kind="imagenet-samples", test="even", resize=24, crop=16).data(PART)
    assert len(chosen_on) == 100
    assert not chosen_on & set(load_split(path, "test").ids)


def test_denoisers_are_trained_on_one_half_shrunk_and_tested_on_the_other(samples):
    spec = Folder(
        kind="folder", name="s", train="imagenet-samples-even", test="imagenet-samples-odd"
    )
    splits, _ = read_denoising(spec, samples)
    assert {name: len(one) for name, one in splits.items()} == {
        "train": 400, "validation": 100, "test": 500,
    }  # fmt: skip
    assert splits["train"].ids[0] == "n01440764_name"
    grey = splits["train"].images[0]
    assert grey.shape == (256, 256 * 48 // 24, 3)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    assert (spec.downloads, spec.sources) == (("imagenet-samples",),) * 2


def test_an_incomplete_copy_is_refused(written, samples):
    (samples / "imagenet-samples/n01440764_name.JPEG").unlink()
    with pytest.raises(UserError) as caught:
        written(kind="imagenet-samples")
    assert caught.value.came.startswith("999 files")


@pytest.mark.parametrize("half", ["odd", "even"])
def test_no_half_is_trained_and_tested_on(half, tiny_content):
    parts = tiny_content["parts"]
    word = f"imagenet-samples-{half}"
    parts["denoising"]["data"] = {"kind": "folder", "name": "s", "train": word, "test": "kodak"}
    parts[PART]["data"] = {"kind": "imagenet-samples", "test": half, "resize": 40, "crop": 32}
    error = refused_config(tiny_content)
    assert word in error.came
    parts["denoising"]["data"]["test"] = word
    assert "one folder" in refused_config(tiny_content).came


@pytest.mark.parametrize("where", ["data.test", "test_sets"])
def test_no_denoiser_is_tested_on_the_half_that_classification_trains_on(where, tiny_content):
    denoising, word = tiny_content["parts"]["denoising"], "imagenet-samples-odd"
    denoising["data"] = {"kind": "folder", "name": "s", "train": "bsds500", "test": "kodak"}
    tiny_content["parts"][PART]["data"] = {
        "kind": "imagenet-samples", "test": "even", "resize": 40, "crop": 32,
    }  # fmt: skip
    parse_config(tiny_content, source="mine.yaml")
    if where == "test_sets":
        denoising["test_sets"] = {"mine": word}
    else:
        denoising["data"]["test"] = word
    error = refused_config(tiny_content)
    assert "trained on" in str(error)
    assert word in error.came
    denoising["methods"] = ["noisy", "separate"]  # no method that is trained on classified images
    parse_config(tiny_content, source="mine.yaml")
