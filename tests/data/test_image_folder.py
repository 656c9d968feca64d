"""A user's classified images: a folder per class."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_sets import make_folders, write_picture

from dhl.config.image_data_sets import ImageFolder
from dhl.data.classification import list_image_folder
from dhl.data.image_set import load_split
from dhl.errors import UserError

PART = "classification"


def by_id(listing) -> dict[str, int]:
    """Return the target of each image."""
    return dict(zip(listing.ids, listing.targets.tolist(), strict=True))


def image_folder(folder: Path, **options) -> ImageFolder:
    """Specify the folders `train` and `test` inside a folder."""
    paths = {name: str(folder / name) for name in ("train", "test")}
    return ImageFolder(kind="image_folder", name="mine", **(paths | options))


def test_folders_are_numbered_in_the_order_of_their_names(tmp_path):
    make_folders(tmp_path / "train", {"dog": 2, "Cat": 1, "eel": 3})
    make_folders(tmp_path / "test", {"eel": 1, "dog": 1})
    (tmp_path / "train/.hidden").mkdir()
    spec = image_folder(tmp_path)
    listings = list_image_folder(spec, tmp_path)
    assert by_id(listings["train"]) == {
        "Cat/0": 0, "dog/0": 1, "dog/1": 1, "eel/0": 2, "eel/1": 2, "eel/2": 2,
    }  # fmt: skip
    assert by_id(listings["test"]) == {"dog/0": 1, "eel/0": 2}
    assert spec.classes_of("classification") == listings["test"].classes == 3


def test_hidden_names_and_links_to_folders_are_left_out_and_named(tmp_path):
    make_folders(tmp_path / "train", {"cat": 3, "dog": 2, "__MACOSX": 2, ".git": 1})
    make_folders(tmp_path / "train/cat", {"young": 1, ".ipynb_checkpoints": 1})
    make_folders(tmp_path / "pool", {"eel": 2, "more": 2})
    train = tmp_path / "train"
    (train / "eel").symlink_to(tmp_path / "pool/eel")
    for link, target in (("self", "."), ("up", ".."), ("cat/self", "."), ("cat/round", "../.."),
                         ("cat/more", tmp_path / "pool/more"), ("kitten", "cat")):  # fmt: skip
        (train / link).symlink_to(target)
    (train / "read.me").write_text("")
    (train / "dog/2.gif").write_bytes(b"")
    (train / "dog/link.png").symlink_to(train / "dog/0.png")
    make_folders(tmp_path / "test", {"cat": 1})
    listings = list_image_folder(image_folder(tmp_path), tmp_path)
    assert by_id(listings["train"]) == {
        "cat/0": 0, "cat/1": 0, "cat/2": 0, "cat/young/0": 0, "dog/0": 1, "dog/1": 1, "dog/link": 1,
        "eel/0": 2, "eel/1": 2,
    }  # fmt: skip
    assert sorted(listings["train"].left_out) == sorted([
        "self/", "up/", "cat/self/", "cat/round/", "cat/more/", "kitten/", "read.me", "dog/2.gif",
        "__MACOSX/", ".git/", "cat/.ipynb_checkpoints/",
    ])  # fmt: skip
    assert listings["test"].class_names == ("cat", "dog", "eel")


@pytest.mark.parametrize("target", ["gone", "lost"])
def test_a_link_to_nothing_is_not_left_out(target, tmp_path):
    make_folders(tmp_path / "test", {"cat": 1})
    (tmp_path / "test/lost").symlink_to(target)
    with pytest.raises(UserError, match="lost"):
        list_image_folder(image_folder(tmp_path, train=None), tmp_path)


def test_folders_named_by_synset_have_imagenets_indices(tmp_path):
    make_folders(tmp_path / "test", {"n15075141": 1, "n01440764": 1})
    spec = image_folder(tmp_path, train=None, classes="imagenet")
    listings = list_image_folder(spec, tmp_path)
    assert by_id(listings["test"]) == {"n01440764/0": 0, "n15075141/0": 999}
    assert spec.classes_of("classification") == listings["test"].classes == 1000


@pytest.mark.parametrize(
    ("train", "test", "options", "message"),
    [
        ({"cat": 1, "dog": 0}, {"cat": 1}, {}, r"train [\s\S]*dog \(0\)"),
        ({"cat": 1}, {"cat": 1, "ant": 1}, {}, "found: ant in .*/test"),
        ({"n0": 1}, {"n0": 1}, {"classes": "imagenet"}, "found: n0 in .*/train"),
        ({}, {"cat": 1}, {}, "/train is missing"),
        ({"cat": 1}, {"cat": 1}, {"test": "/nowhere"}, "/nowhere is missing"),
    ],
)
def test_folders_that_are_not_classes_are_named(tmp_path, train, test, options, message):
    make_folders(tmp_path / "train", train)
    make_folders(tmp_path / "test", test)
    with pytest.raises(UserError, match=message):
        list_image_folder(image_folder(tmp_path, **options), tmp_path)


def test_classes_of_a_missing_or_empty_folder_are_refused_when_a_run_is_planned(tmp_path):
    with pytest.raises(UserError, match="/train is missing"):
        image_folder(tmp_path).classes_of("classification")
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="no folder per class"):
        image_folder(tmp_path).classes_of("classification")


def test_two_files_with_one_name_before_the_ending_are_refused(tmp_path):
    make_folders(tmp_path / "test", {"cat": 2})
    write_picture(tmp_path / "test/cat/1.jpg")
    with pytest.raises(UserError, match="cat/1 more than once"):
        list_image_folder(image_folder(tmp_path, train=None), tmp_path)


def test_names_of_images_in_files_are_readable(written, tmp_path):
    for split in ("train", "test"):
        make_folders(tmp_path / split, {"dog": 1, "eel": 1})
    (picture,) = (tmp_path / "test/dog").iterdir()
    picture.rename(picture.with_name(os.fsdecode(b"\xe9") + "é" + picture.suffix))
    paths = {split: str(tmp_path / split) for split in ("train", "test")}
    folder = written(kind="image_folder", name="mine", **paths)
    test = load_split(folder.data(PART), "test")
    assert test.ids == [r"dog/\xe9é", "eel/0"]
    assert test.images[0].ndim == 3
