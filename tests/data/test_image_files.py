"""Images and label maps in files: prepared like torchvision, read on demand, or reported."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from tiny_sets import encoded, picture, png_chunk, write_png
from torchvision import transforms

from dhl.data.image_files import DamagedImage, ImageFiles, LabelFiles, Preparation, read_size
from dhl.data.image_set import ImageSet, load_split, save_splits
from dhl.data.listing import evenly_spaced
from dhl.errors import UserError
from dhl.run.fingerprints import split_digest

COLOUR = picture("colour", 30, 41)


def files_in(folder: Path, *names: str, size: tuple[int, int] = (30, 41), **options) -> ImageFiles:
    """Return files without preparation."""
    options.setdefault("preparation", Preparation())
    return ImageFiles(folder, names, np.array([size] * len(names)), **options)


@pytest.mark.parametrize(
    ("height", "width"), [(40, 30), (31, 47), (300, 201), (56, 57), (57, 56), (64, 400), (56, 90)]
)
def test_images_are_resized_and_cropped_as_torchvision_does(height, width):
    image = Image.fromarray(picture("wave", height, width))
    resize = transforms.Resize(56)
    crop = transforms.Compose([resize, transforms.CenterCrop(49)])
    for preparation, reference in ((Preparation(56), resize), (Preparation(56, 49), crop)):
        prepared = preparation(image)
        np.testing.assert_array_equal(prepared, np.asarray(reference(image)))
        assert prepared.shape[:2] == preparation.size(height, width)


def test_grey_cmyk_palette_and_a_png_called_jpeg_become_rgb(tmp_path):
    grey = Image.fromarray(COLOUR[..., 0])
    grey.save(tmp_path / "grey.png")
    ink = np.zeros((30, 41, 4), np.uint8)
    ink[..., 0] = 255  # cyan absorbs red
    Image.fromarray(ink, "CMYK").save(tmp_path / "ink.jpg", quality=100)
    palette = Image.fromarray(COLOUR).quantize(8)
    palette.save(tmp_path / "palette.png")
    Image.fromarray(COLOUR).save(tmp_path / "clothes.JPEG", format="png")
    names = ("grey.png", "ink.jpg", "palette.png", "clothes.JPEG")
    read = files_in(tmp_path, *names)[:]
    assert [image.shape for image in read] == [(30, 41, 3)] * 4
    np.testing.assert_array_equal(read[0], np.stack([COLOUR[..., 0]] * 3, -1))
    np.testing.assert_allclose(read[1].reshape(-1, 3).mean(0), [0, 255, 255], atol=3)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(read[2], colours[np.asarray(palette)])
    np.testing.assert_array_equal(read[3], COLOUR)
    Image.fromarray(np.full((30, 41), 40_000, np.uint16)).save(tmp_path / "deep.png")
    assert isinstance(read_size(tmp_path / "deep.png", Preparation()), DamagedImage)


def test_items_are_taken_by_index_from_the_end_and_by_slice(tmp_path):
    for number in range(5):
        Image.new("RGB", (9, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    files = files_in(tmp_path, *(f"{number}.png" for number in range(5)), size=(8, 9))
    assert len(files) == 5
    assert files[3][0, 0, 0] == files[np.int64(3)][0, 0, 0] == 3
    assert files[-1][0, 0, 0] == 4
    assert [image[0, 0, 0] for image in files[1:4]] == [1, 2, 3]
    assert [image[0, 0, 0] for image in files] == [0, 1, 2, 3, 4]
    with pytest.raises(IndexError):
        files[5]


def spoil(path: Path, how: str) -> None:
    image = encoded("image", 240, 320)
    middle = len(image) // 2
    content = {
        "cut": image[: 3 * middle // 2],
        "garbled": image[:middle] + b"\xff" * 900 + image[middle + 900 :],
        "head": b"\xff\xd8" + bytes(600),
        "text": b"no picture",
        "empty": b"",
    }
    path.write_bytes(content[how])


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("cut", "truncated"),
        ("garbled", "broken data stream"),
        ("head", "unknown image format"),
        ("text", "unknown image format"),
        ("empty", "unknown image format"),
    ],
)
def test_a_damaged_image_is_returned_by_read_and_raised_by_index(tmp_path, how, reason):
    spoil(tmp_path / "bad.jpg", how)
    files = files_in(tmp_path, "bad.jpg")
    found = files.read(0)
    assert isinstance(found, DamagedImage)
    assert found.path == tmp_path / "bad.jpg"
    assert reason in found.reason
    with pytest.raises(UserError, match=rf"bad\.jpg: .*{reason}"):
        files[0]


def test_a_file_that_cannot_be_opened_is_an_error_with_skip_too(tmp_path):
    files = files_in(tmp_path, "gone.jpg", damaged="skip")
    with pytest.raises(UserError, match=r"gone\.jpg: No such file"):
        files.read(0)


def test_the_pickle_of_files_is_little_larger_than_their_names(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "last.png")
    names = [f"n{number:08d}/image_{number:08d}.JPEG" for number in range(20_000)] + ["last.png"]
    files = files_in(tmp_path, *names, damaged="skip")
    content = pickle.dumps(files)
    assert len(content) < 80 * len(names)  # 32 bytes of name, 16 bytes of size
    copy = pickle.loads(content)
    assert copy.damaged == "skip"
    np.testing.assert_array_equal(copy[-1], COLOUR)


def write_labels(path: Path, labels: np.ndarray, mode: str = "P") -> None:
    """Write a label map, with a palette or in grey."""
    image = Image.fromarray(labels)
    if mode == "P":
        image.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    image.save(path)


@pytest.mark.parametrize("mode", ["P", "L", "mat"])
def test_the_pixels_of_a_label_map_are_its_classes(tmp_path, mode):
    labels = np.random.default_rng(0).integers(0, 21, (12, 13)).astype(np.uint8)
    labels[3] = 255
    path = tmp_path / ("one.mat" if mode == "mat" else "one.png")
    if mode == "mat":
        savemat(path, {"GTcls": {"Segmentation": labels, "CategoriesPresent": [1]}})
    else:
        write_labels(path, labels, mode)
    read = LabelFiles(tmp_path, [path.name], 21)[0]
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, labels)


def test_a_label_map_with_other_classes_or_colours_is_named(tmp_path):
    labels = np.zeros((12, 13), np.uint8)
    labels[0, :3] = 20, 21, 254
    write_labels(tmp_path / "one.png", labels)
    with pytest.raises(UserError, match=r"one\.png has 21, 254\n"):
        LabelFiles(tmp_path, ["one.png"], 21)[0]
    Image.fromarray(COLOUR).save(tmp_path / "one.png")
    with pytest.raises(UserError, match=r"one\.png has RGB"):
        LabelFiles(tmp_path, ["one.png"], 21)[0]


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize(("bits", "palette"), [(1, False), (2, False), (4, False), (8, False),
                         (16, False), (1, True), (2, True), (4, True), (8, True)])  # fmt: skip
def test_label_maps_are_read_as_stored(tmp_path, bits, palette, transparent):
    classes = min(1 << bits, 250)
    labels = np.arange(12 * 13).reshape(12, 13) % classes
    labels[0, 0] = classes - 1
    extra = png_chunk(b"PLTE", bytes(3 << bits)) if palette else b""
    if transparent:
        extra += png_chunk(b"tRNS", b"\0\1")  # level 1 if grey, else the first two colours
    kind = {"bits": bits, "colour_type": 3 if palette else 0, "extra": extra}
    write_png(tmp_path / "one.png", labels, **kind)
    read = LabelFiles(tmp_path, ["one.png"], classes)[0]
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, labels)
    with pytest.raises(UserError, match=rf"one\.png has {classes - 1}\n"):
        LabelFiles(tmp_path, ["one.png"], classes - 1)[0]


def test_16_bits_and_matlab_files_are_not_cut_to_8(tmp_path):
    labels = np.full((12, 13), 256 + 3)
    write_png(tmp_path / "one.png", labels, bits=16, colour_type=0)
    savemat(tmp_path / "two.mat", {"GTcls": {"Segmentation": labels}})
    savemat(tmp_path / "three.mat", {"GTcls": {"Segmentation": labels / 300}})
    for name in ("one.png", "two.mat"):
        with pytest.raises(UserError, match="has 259\n"):
            LabelFiles(tmp_path, [name], 21)[0]
    assert "float64" in LabelFiles(tmp_path, ["three.mat"], 21).read(0).reason


@pytest.mark.parametrize(("channels", "colour_type"), [(2, 4), (3, 2), (4, 6)])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_label_map_with_colour_or_alpha_is_refused(tmp_path, channels, colour_type, bits):
    write_png(tmp_path / "one.png", np.zeros((12, 13, channels), int), bits=bits,
              colour_type=colour_type)  # fmt: skip
    with pytest.raises(UserError, match=r"one\.png has (LA|RGB|RGBA)\n"):
        LabelFiles(tmp_path, ["one.png"], 21)[0]


def test_a_label_map_that_is_a_jpeg_is_damaged(tmp_path):
    Image.new("L", (13, 12)).save(tmp_path / "one.png", "jpeg")
    assert LabelFiles(tmp_path, ["one.png"], 21).read(0).reason == "not a PNG file"


@pytest.mark.parametrize("name", ["one.png", "one.mat"])
def test_a_label_map_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"no label map")
    labels = LabelFiles(tmp_path, [name], 21)
    assert labels.read(0).path == tmp_path / name
    with pytest.raises(UserError, match=name):
        labels[0]


def indexed(folder: Path, *, target: int = 999, labels: bool = False) -> ImageSet:
    """Return a split of four files that need not exist."""
    names = [f"n0/{letter}.JPEG" for letter in "abçd"]
    files = ImageFiles(
        folder,
        names,
        np.array([[8, 9], [8, 9], [10, 9], [8, 9]], np.int32),
        preparation=Preparation(256, 224),
        damaged="skip",
    )
    targets = LabelFiles(folder, names, 1000) if labels else np.array([0, 5, target, 7])
    return ImageSet(["n0/a", "n0/b", "n0/ç", "n0/d"], files, targets, classes=1000)


@pytest.mark.parametrize("labels", [False, True])
def test_an_index_is_read_back_without_opening_files(tmp_path, labels):
    split = replace(indexed(tmp_path / "nowhere", labels=labels), content="ab")
    save_splits({"test": split}, tmp_path / "part.npz")
    loaded = load_split(tmp_path / "part.npz", "test")
    assert loaded.ids == split.ids
    assert (loaded.classes, loaded.content) == (1000, "ab")
    assert loaded.images.path(2) == tmp_path / "nowhere/n0/ç.JPEG"
    assert loaded.images.preparation == Preparation(256, 224)
    assert loaded.images.damaged == "skip"
    assert loaded.has_label_maps == labels
    if labels:
        assert loaded.targets.path(3) == tmp_path / "nowhere/n0/d.JPEG"
        assert loaded.targets.classes == 1000
    else:
        assert loaded.targets.tolist() == [0, 5, 999, 7]
    assert list(loaded.batches(2)) == [slice(0, 2), slice(2, 3), slice(3, 4)]


def test_the_digest_of_a_split_ignores_its_folder(tmp_path):
    digests = {}
    for name, split in {"one": indexed(tmp_path), "moved": indexed(tmp_path / "elsewhere"),
                        "other": indexed(tmp_path, target=998),
                        "changed": replace(indexed(tmp_path), content="ab")}.items():  # fmt: skip
        save_splits({"train": split, "test": split}, tmp_path / "part.npz")
        digests[name] = split_digest(tmp_path / "part.npz", "train")
    assert digests["one"] == digests["moved"]
    assert len(set(digests.values())) == 3


CLASSES = np.array([5, 5, 5, 5, 5, 5, 0, 0, 0, 9])


@pytest.mark.parametrize(
    ("classes", "count", "expected"),
    [
        (None, 1, [0]),
        (None, 2, [0, 5]),
        (None, 3, [0, 3, 6]),
        (None, 10, list(range(10))),
        (CLASSES, 3, [0, 6, 9]),
        (CLASSES, 6, [0, 3, 6, 7, 8, 9]),
        (CLASSES, 10, list(range(10))),
    ],
)
def test_a_subset_is_evenly_spaced_and_has_the_same_number_of_each_class(classes, count, expected):
    assert evenly_spaced(10, count, classes=classes).tolist() == expected
