"""Images with label maps: VOC 2012, SBD, CamVid, user data in VOC's layout, and refused data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_sets import (
    SBD_TRAIN,
    SBD_VAL,
    VOC_TRAIN,
    VOC_VAL,
    label_map,
    make_sbd,
    make_voc2012,
    make_voc_layout,
    write_picture,
)
from torchvision.datasets import SBDataset, VOCSegmentation

from dhl.data.image_set import load_split, read_origins
from dhl.data.prepare import label_colours, read_splits
from dhl.errors import UserError
from dhl.run.fingerprints import split_digest
from dhl.run.results import SKIPPED_COLUMNS, read_csv

PART = "segmentation"
MINE = {"one": ("a", "b", "c"), "two": ("d", "e")}


@pytest.fixture
def mine(tmp_path) -> dict:
    """Write a user's set in VOC's layout and specify it."""
    folder = make_voc_layout(tmp_path / "mine", MINE)
    return {"kind": "voc", "name": "mine", "path": str(folder), "train": "one", "test": "two"}


def test_voc_has_the_images_and_label_maps_that_torchvision_reads(written, tmp_path):
    make_voc2012(tmp_path)
    folder = written(kind="voc2012")
    for split, theirs in (("train", "train"), ("test", "val")):
        ours = load_split(folder.data(PART), split)
        reference = VOCSegmentation(tmp_path / "voc2012", image_set=theirs)
        assert len(ours) == len(reference)
        for index, (image, labels) in enumerate(reference):
            np.testing.assert_array_equal(ours.images[index], np.asarray(image))
            np.testing.assert_array_equal(ours.targets[index], np.asarray(labels))
            assert tuple(ours.sizes[index]) == ours.targets[index].shape
    assert ours.ids == list(VOC_VAL)
    assert ours.classes == 21
    assert ours.has_label_maps


def test_camvid_has_the_lists_of_segnets_authors_and_its_void_is_ignored(written, tmp_path):
    folder = tmp_path / "camvid"
    names = [f"0001TP_{number:06d}" for number in range(0, 360, 30)] + ["Seq05VD_f00000"]
    lists = {"train": names, "val": ["0016E5_07959"], "test": ["Seq05VD_f00030"]}
    for split, frames in lists.items():
        lines = [f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n"
                 for name in frames]  # fmt: skip
        for name in frames:
            write_picture(folder / f"{split}/{name}.png")
            labels = Image.fromarray(np.arange(36 * 48, dtype=np.uint8).reshape(36, 48) % 12)
            (folder / f"{split}annot").mkdir(exist_ok=True)
            labels.save(folder / f"{split}annot/{name}.png")
        (folder / f"{split}.txt").write_text("".join(lines))
    path = written(kind="camvid").data(PART)
    found = {split: load_split(path, split) for split in ("train", "validation", "test")}
    assert {split: one.ids for split, one in found.items()} == {
        "train": names, "validation": lists["val"], "test": lists["test"],
    }  # fmt: skip
    np.testing.assert_array_equal(found["train"].targets[2][0, :13], [*range(11), 255, 0])
    assert found["train"].classes == 11
    stretches = found["train"].origins["stretches"].tolist()
    assert stretches == ["0001TP-0"] * 10 + ["0001TP-1"] * 2 + ["Seq05VD-0"]
    assert read_origins(path, "test") == {"stretches": {"Seq05VD_f00030": "Seq05VD-0"}}


def stale_splits(written, mine, change) -> set[str]:
    """Return which splits have another digest after a change of the user's files."""
    digests = []
    for step in (lambda: None, change):
        step()
        path = written(**mine).data(PART)
        digests.append({split: split_digest(path, split) for split in ("train", "test")})
    before, after = digests
    return {split for split in before if before[split] != after[split]}


@pytest.mark.parametrize(
    ("name", "stale"),
    [
        ("JPEGImages/a.jpg", {"train"}),
        ("SegmentationClass/a.png", {"train"}),
        ("JPEGImages/d.jpg", {"test"}),
        ("SegmentationClass/d.png", {"test"}),
        (None, set()),
    ],
)
def test_a_changed_image_or_label_map_changes_the_digest_of_its_split(written, mine, name, stale):
    def change():
        if name is not None:
            path = Path(mine["path"], name)
            with Image.open(path) as image:
                image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)

    assert stale_splits(written, mine, change) == stale


@pytest.mark.parametrize(("offset", "stale"), [(60_000, {"train", "test"}), (69_999, {"test"})])
def test_the_head_of_a_large_training_image_is_digested_and_all_of_a_test_image(
    written, mine, offset, stale
):
    paths = [Path(mine["path"], f"JPEGImages/{name}.jpg") for name in ("a", "d")]
    for path in paths:  # decoders do not read bytes after the image
        path.write_bytes(path.read_bytes() + bytes(70_000))

    def change_a_byte():
        for path in paths:
            with open(path, "r+b") as file:
                file.seek(offset - 70_000, 2)
                file.write(b"!")

    assert stale_splits(written, mine, change_a_byte) == stale


def test_train_aug_is_sbd_and_train_without_val(written, tmp_path):
    make_voc2012(tmp_path)
    make_sbd(tmp_path)
    folder = written(kind="voc2012", extra="sbd")
    train, test = (load_split(folder.data(PART), split) for split in ("train", "test"))
    assert set(train.ids) == {*SBD_TRAIN, *SBD_VAL, *VOC_TRAIN} - {*VOC_VAL}
    assert train.ids == sorted(train.ids)
    assert test.ids == list(VOC_VAL)
    ours = dict(zip(train.ids, range(len(train)), strict=True))
    reference = SBDataset(tmp_path / "sbd", image_set="train", mode="segmentation")
    for name in ("2008_000002", "2008_000007"):
        image, labels = reference[SBD_TRAIN.index(name)]
        np.testing.assert_array_equal(train.images[ours[name]], np.asarray(image))
        np.testing.assert_array_equal(train.targets[ours[name]], np.asarray(labels))
    shared = "2007_000032"  # in both: VOC's label map
    height, width = train.sizes[ours[shared]]
    np.testing.assert_array_equal(
        train.targets[ours[shared]], label_map(shared, int(height), int(width))
    )


def test_images_of_another_format_are_read(written, mine):
    path = Path(mine["path"]) / "JPEGImages/d.jpg"
    with Image.open(path) as image:
        image.save(path.with_suffix(".png"))
    with pytest.raises(UserError, match=r"1 of 2 listed[\s\S]*JPEGImages: d \(2 files\)"):
        written(**mine)
    path.unlink()
    test = load_split(written(**mine).data(PART), "test")
    assert test.images.path(0).name == "d.png"


def test_without_a_training_list_there_is_no_training_split(configured, written, mine):
    given = mine | {"train": None}
    splits = read_splits(configured(**given), PART).splits
    assert list(splits) == ["test"] and splits["test"].ids == ["d", "e"]
    with pytest.raises(UserError, match="no training images for `parts"):
        written(**given)  # the run trains its segmenter


def test_a_further_label_is_void(written, mine):
    plain = load_split(written(**mine).data(PART), "test").targets[0]
    present = sorted(set(plain.ravel()) - {255})
    void = load_split(written(**mine, void=int(present[0])).data(PART), "test").targets[0]
    np.testing.assert_array_equal(void, np.where(plain == present[0], 255, plain))
    assert (void != plain).any()


def test_each_class_needs_a_name(configured, mine):
    with pytest.raises(UserError) as caught:
        configured(**mine, class_names=["background", "road"])
    assert caught.value.came.startswith("2 names, and `classes: 21`")


@pytest.mark.parametrize(
    ("name", "size", "values", "came"),
    [
        ("b", (36, 48), (21, 77), r"SegmentationClass/b\.png has 21, 77"),
        ("e", (36, 48), (21, 77), r"SegmentationClass/e\.png has 21, 77"),
        ("c", (10, 12), (0, 0), r"c\.jpg has 48 x \d+ px, .*c\.png has 12 x 10 px"),
    ],
)
def test_a_label_map_with_another_class_or_size_is_refused(written, mine, name, size, values, came):
    labels = np.zeros(size, np.uint8)
    labels[0, :2] = values
    Image.fromarray(labels).save(Path(mine["path"]) / f"SegmentationClass/{name}.png")
    with pytest.raises(UserError, match=came):
        written(**mine)


LIST = "ImageSets/Segmentation/two.txt"


@pytest.mark.parametrize(
    "content",
    [
        b"d.jpg\ne.jpg\n",
        b"\xef\xbb\xbfd\r\ne\r\n",
        "d\ne\n".encode("utf-16"),
        b"/JPEGImages/d.jpg /SegmentationClassAug/d.png\n/JPEGImages/e.JPG /x/e.png\n",
        b"data\\JPEGImages\\d.jpg\ndata\\JPEGImages\\e.jpg",
        b"  d  1\n\n\te -1\n\n",
        b"SegmentationClass/d.png\ne",
    ],
)
def test_lists_are_read_as_others_write_them(written, mine, content):
    (Path(mine["path"]) / LIST).write_bytes(content)
    test = load_split(written(**mine | {"test": "two.txt"}).data(PART), "test")
    assert list(test.ids) == ["d", "e"]


@pytest.mark.parametrize(
    ("file", "content", "came"),
    [
        ("JPEGImages/b.jpg", None, r"1 of 3 listed[\s\S]*JPEGImages: b \(0 files\)"),
        ("SegmentationClass/d.png", None, r"1 of 2 listed[\s\S]*SegmentationClass: d \(0 files\)"),
        (LIST, None, r"two\.txt: No such file"),
        (LIST, "\n \n", r"two\.txt is empty"),
        (LIST, "d\nb\n", "1 in both `one` and `two`: b"),
        (LIST, "morning/d.jpg\nevening/d.jpg\n", r"d more than once in .*two\.txt"),
        (LIST, "d\ne\ngone\n", r"1 of 3 listed[\s\S]*: gone \(0 files\)"),
    ],
)
def test_a_missing_file_or_a_wrong_list_is_named(written, mine, file, content, came):
    path = Path(mine["path"]) / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=came):
        written(**mine)


def test_a_missing_set_says_how_to_get_it(written, tmp_path):
    make_voc2012(tmp_path)
    with pytest.raises(UserError, match="`dhl data download sbd`"):
        written(kind="voc2012", extra="sbd")


def test_damaged_images_and_label_maps_are_named_or_left_out(written, mine):
    bad_image = Path(mine["path"]) / "JPEGImages/d.jpg"
    bad_image.write_bytes(bad_image.read_bytes()[:-400])
    bad_labels = Path(mine["path"]) / "SegmentationClass/b.png"
    bad_labels.write_bytes(b"no label map")
    with pytest.raises(UserError, match=r"1 of 3 [\s\S]*SegmentationClass/b\.png"):
        written(**mine)
    folder = written(**mine, damaged="skip")
    rows = read_csv(folder.skipped(PART), SKIPPED_COLUMNS)
    assert rows["path"].tolist() == [str(bad_labels), str(bad_image)]
    assert load_split(folder.data(PART), "train").ids == ["a", "c"]
    test = load_split(folder.data(PART), "test")
    assert test.ids == ["e"]
    assert test.targets.path(0).stem == "e"


def paint(mine: dict, names: tuple[str, ...], value: int) -> None:
    """Replace the labels of label maps by one value and a row of ignored pixels."""
    for name in names:
        path = Path(mine["path"]) / f"SegmentationClass/{name}.png"
        labels = np.full_like(np.asarray(Image.open(path)), value)
        labels[0] = 255
        Image.fromarray(labels).save(path)


@pytest.mark.parametrize(("names", "split"), [(MINE["one"], "train"), (MINE["two"], "test")])
def test_label_maps_without_a_class_are_refused(written, mine, names, split):
    paint(mine, names, 255)
    with pytest.raises(UserError) as caught:
        written(**mine)
    assert f"the {split} label maps" in caught.value.mistake
    assert f"all {len(names)} maps" in caught.value.came


def test_a_class_that_no_label_map_has_is_named(written, mine, caplog):
    paint(mine, (*MINE["one"], *MINE["two"]), 0)
    written(**mine, classes=2)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        f"segmentation, {split}: no label map has class 1 of 2" for split in ("train", "test")
    ]


def test_label_maps_are_shown_in_vocs_colours(written, mine):
    known = {0: (0, 0, 0), 1: (128, 0, 0), 7: (128, 128, 128), 11: (192, 128, 0),
             15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}  # fmt: skip
    for label, colour in known.items():
        assert tuple(label_colours()[label].tolist()) == colour
    folder = written(**mine)
    sheet = np.asarray(Image.open(folder.data(PART).with_suffix(".png")))
    assert sheet.shape == (4 * 64, 20 * 64, 3)
    labels = load_split(folder.data(PART), "train").targets[1]
    corner = sheet[64:128, 64:128][5, 5]
    np.testing.assert_array_equal(corner, label_colours()[labels[0, 0]])
