"""Numbers and sizes of images: the published ones of public sets, and a user's own files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_sets import write_picture

from dhl.config.data import KINDS
from dhl.config.data_sets import PartData
from dhl.errors import UserError
from dhl.planning.image_counts import ImageCount, PartCounts, count_images


def data_of(settings: dict) -> PartData:
    return KINDS[settings["kind"]](**settings)


@pytest.mark.parametrize(
    ("data", "train", "test"),
    [
        ({"kind": "photo-digits", "train": 7, "validation": 1, "test": 5, "size": 32},
         (7, 32, 32), (5, 32, 32)),
        ({"kind": "folder", "name": "k", "test": "kodak"}, None, (24, 512, 768)),
        ({"kind": "folder", "name": "k", "train": "bsds500", "test": "kodak"},
         (400, 321, 481), (24, 512, 768)),
        ({"kind": "imagenette", "crop": 224}, (12_894, 224, 224), (500, 224, 224)),
        ({"kind": "imagenette", "crop": 160, "train_images": 100, "test_images": 50},
         (100, 160, 160), (50, 160, 160)),
        ({"kind": "camvid", "test_without": 78}, (367, 360, 480), (155, 360, 480)),
        ({"kind": "ilsvrc2012", "path": "/nowhere"}, (1_281_167, 224, 224), (50_000, 224, 224)),
        ({"kind": "voc2012", "extra": None}, (1_464, 375, 500), (1_449, 375, 500)),
        ({"kind": "voc2012", "extra": "sbd", "test_images": 9_999},
         (10_582, 375, 500), (1_449, 375, 500)),
    ],
)  # fmt: skip
def test_public_sets_have_their_published_counts(data, train, test):
    found = count_images(data_of(data))
    sizes = [part and (part.count, part.height, part.width) for part in (found.train, found.test)]
    assert sizes == [train, test]


def write_pictures(folder: Path, *sizes: tuple[int, int]) -> None:
    """Write pictures of these widths and heights."""
    for index, (width, height) in enumerate(sizes):
        write_picture(folder / f"p{index}.png", height=height, width=width)


def test_the_images_of_a_user_are_counted_and_their_sizes_averaged(tmp_path):
    write_pictures(tmp_path / "test", (40, 20), (60, 40))
    (tmp_path / "test/notes.txt").write_text("no picture")
    data = data_of({"kind": "folder", "name": "own", "test": str(tmp_path / "test")})
    assert count_images(data).test == ImageCount(2, 30, 50)

    for name, count in (("a", 3), ("b", 2)):
        write_pictures(tmp_path / "classes" / name, *[(9, 9)] * count)
    classes = str(tmp_path / "classes")
    data = data_of({"kind": "image_folder", "name": "own", "test": classes, "crop": 32})
    assert count_images(data) == PartCounts(None, ImageCount(5, 32, 32))

    for folder in ("JPEGImages", "SegmentationClass"):
        write_pictures(tmp_path / "voc" / folder, (50, 40), (50, 40), (50, 40))
    lists = tmp_path / "voc/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "mine.txt").write_text("p0 1\n")
    (lists / "theirs.txt").write_text("p1 -1\np2 1\n")
    voc = {"kind": "voc", "name": "own", "path": str(tmp_path / "voc")}
    data = data_of(voc | {"train": "theirs", "test": "mine"})
    assert count_images(data) == PartCounts(ImageCount(2, 40, 50), ImageCount(1, 40, 50))


def test_a_picture_that_no_run_can_read_is_not_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)  # Pillow refuses twice of this
    write_pictures(tmp_path, (40, 20), (60, 40))
    assert count_images(data_of({"kind": "folder", "name": "own", "test": str(tmp_path)})) == (
        PartCounts(None, ImageCount(1, 20, 40))
    )


@pytest.mark.parametrize(
    "data",
    [{"kind": "folder", "test": "nowhere"},
     {"kind": "image_folder", "test": "nowhere", "crop": 32}],
)  # fmt: skip
def test_missing_images_are_named(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        count_images(data_of({"name": "own"} | data))
    assert "nowhere" in error.value.mistake
