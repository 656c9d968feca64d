"""Images of the user that are turned, transparent, grey or too many, which public sets may be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image
from tiny_sets import (
    make_folders,
    make_imagenette,
    make_kodak,
    write_picture,
    write_png,
)

from dhl.config.data_sets import Folder
from dhl.data.folder import read_denoising
from dhl.data.headers import read_header
from dhl.data.image_set import load_split
from dhl.errors import UserError
from dhl.run.results import SKIPPED_COLUMNS, read_csv

PART = "classification"
COLOUR = np.arange(36 * 48 * 3, dtype=np.uint8).reshape(36, 48, 3)


def turn(path: Path, orientation: int) -> None:
    """Give an image of the user an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as image:
        image.load()
    image.save(path, exif=exif)


def warned(caplog) -> list[tuple]:
    """Return the arguments of the warnings."""
    return [record.args for record in caplog.records if record.levelname == "WARNING"]


@pytest.fixture
def mine(tmp_path) -> dict:
    """Write classified images of a user and specify them."""
    folders = {
        split: make_folders(tmp_path / split, {"cat": 2, "dog": 1}) for split in ("train", "test")
    }
    return {"kind": "image_folder", "name": "mine", "crop": 16, "resize": 16, **folders}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_an_orientation_that_pillow_does_not_apply_is_found(tmp_path, ending):
    path = tmp_path / f"picture.{ending}"
    for orientation in (1, 3, 6):
        write_picture(path)
        turn(path, orientation)
        with Image.open(path) as image:
            is_read_turned = image.convert("RGB").size != (48, 36)
        assert is_read_turned == (ending == "tif" and orientation == 6)
        assert read_header(path, alpha=True).is_turned == (ending != "tif" and orientation != 1)


def test_turned_images_of_a_folder_are_counted_and_one_is_named(tmp_path, caplog):
    for name in ("a", "b", "c"):
        write_picture(tmp_path / f"test/{name}.jpg")
    turn(tmp_path / "test/b.jpg", 3)
    turn(tmp_path / "test/c.jpg", 8)
    make_kodak(tmp_path)
    turn(tmp_path / "kodak/kodim01.png", 3)  # as in a public set
    spec = Folder(kind="folder", name="mine", train="kodak", test=str(tmp_path / "test"))
    read_denoising(spec, tmp_path)
    assert warned(caplog) == [(2, 3, tmp_path / "test/b.jpg")]


def test_turned_images_of_a_class_are_counted(written, mine, tmp_path, caplog):
    turn(tmp_path / "train/cat/1.png", 6)
    written(**mine)
    assert warned(caplog) == [(1, 3, tmp_path / "train/cat/1.png")]


def test_turned_images_of_a_public_set_are_no_mistake_of_the_user(written, tmp_path, caplog):
    make_imagenette(tmp_path)
    for path in tmp_path.rglob("*.JPEG"):
        turn(path, 3)
    written(kind="imagenette", resize=16, crop=16)
    assert [args[0] for args in warned(caplog)] == [PART, PART]  # classes without an image


@pytest.mark.parametrize("split", ["train", "test"])
def test_transparent_images_are_refused_and_opaque_ones_are_used(written, mine, tmp_path, split):
    alpha = np.full((36, 48, 1), 255, np.uint8)
    path = tmp_path / split / "cat/0.png"
    Image.fromarray(np.dstack([COLOUR, alpha])).save(path)
    folder = written(**mine)
    assert load_split(folder.data(PART), split).ids == ["cat/0", "cat/1", "dog/0"]
    alpha[0, 0] = 254
    Image.fromarray(np.dstack([COLOUR, alpha])).save(path)
    with pytest.raises(UserError) as caught:
        written(**mine)
    assert str(path) in caught.value.came
    assert "-alpha remove" in caught.value.do
    assert "copy" not in caught.value.do
    folder = written(**mine, damaged="skip")
    rows = read_csv(folder.skipped(PART), SKIPPED_COLUMNS)
    assert rows["path"].tolist() == [str(path)]


def test_transparent_images_of_a_public_set_are_read_as_by_torchvision(written, tmp_path):
    make_imagenette(tmp_path)
    path = next(tmp_path.rglob("*val*.JPEG"))
    Image.new("RGBA", (48, 36), (200, 100, 50, 0)).save(path, "png")
    folder = written(kind="imagenette", resize=16, crop=16)
    test = load_split(folder.data(PART), "test")
    assert test.images[test.ids.index(path.stem)][0, 0].tolist() == [200, 100, 50]


def test_damaged_and_deep_images_have_both_remedies(written, mine, tmp_path):
    write_png(tmp_path / "test/cat/0.png", np.zeros((32, 32, 3), int), bits=16, colour_type=2)
    with pytest.raises(UserError) as caught:
        written(**mine)
    assert "-depth 8" in caught.value.do
    assert "copy" not in caught.value.do
    (tmp_path / "test/cat/1.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as caught:
        written(**mine)
    assert "-depth 8" in caught.value.do
    assert "copy" in caught.value.do


def test_grey_test_images_are_named_as_such_if_all_are(written, mine, tmp_path, caplog):
    paths = sorted(tmp_path.glob("test/*/*.png"))
    for path in paths[1:]:
        Image.open(path).convert("L").convert("RGB").save(path)
    written(**mine)
    assert warned(caplog) == []
    Image.open(paths[0]).convert("L").save(paths[0])
    written(**mine)
    ((part, count),) = warned(caplog)
    assert (part, count) == (PART, 3)


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    for name in ("a", "b"):
        Image.new("RGB", (1000, 800)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:-30])  # not decoded
    free = SimpleNamespace(available=4_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    spec = Folder(kind="folder", name="mine", test=str(tmp_path))
    with pytest.raises(UserError) as caught:
        read_denoising(spec, tmp_path)
    assert caught.value.came == "2 images take 0.0048 GB, and 0.004 GB are free"
