"""A user's pictures are read exactly, or refused with the file and the reason."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures
from tiny_sets import make_bsds500, make_kodak, write_picture, write_png

from dhl.config.data_sets import Folder
from dhl.data.folder import picture_files, read_denoising, read_image, read_pictures
from dhl.data.prepare import write_noise
from dhl.errors import UserError
from dhl.run.results import NOISE_COLUMNS, read_csv

PART = "denoising"
COLOUR = pictures.astronaut()[:20, :24]


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "ppm"])
def test_lossless_colour_is_read_exactly(tmp_path, ending):
    path = tmp_path / f"picture.{ending}"
    Image.fromarray(COLOUR).save(path)
    np.testing.assert_array_equal(read_image(path), COLOUR)


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_lossy_colour_is_read_nearly(tmp_path, ending):
    path = tmp_path / f"picture.{ending}"
    Image.fromarray(COLOUR).save(path, quality=95)
    assert np.abs(read_image(path).astype(float) - COLOUR).mean() < 8


def test_a_palette_is_read_as_its_colours(tmp_path):
    palette = Image.fromarray(COLOUR).quantize(16)
    palette.save(tmp_path / "palette.png")
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(
        read_image(tmp_path / "palette.png"), colours[np.asarray(palette)]
    )


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("L", "is grey"),
        ("1", "is black and white"),
        ("RGBA", "has the channels RGBA"),
        ("LA", "has the channels LA"),
        ("I;16", "more than 8 bits"),
        ("CMYK", "CMYK"),
        ("P", "transparency"),
    ],
)
def test_other_modes_are_refused_with_the_reason(tmp_path, mode, reason):
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    if mode == "I;16":
        write_png(path, COLOUR[..., 0].astype(int) * 257, bits=16, colour_type=0)
    elif mode == "P":
        Image.fromarray(COLOUR).quantize(16).save(path, transparency=3)
    else:
        Image.fromarray(COLOUR).convert(mode).save(path)
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert reason in caught.value.came
    assert str(path) in caught.value.came


@pytest.mark.parametrize("ending", ["png", "tif", "ppm"])
def test_16_bits_a_channel_are_refused_and_not_silently_reduced(tmp_path, ending):
    path = tmp_path / f"deep.{ending}"
    deep = COLOUR.astype(np.uint16) * 257
    if ending == "png":
        write_png(path, deep, bits=16, colour_type=2)
    elif ending == "ppm":
        path.write_bytes(b"P6\n24 20\n65535\n" + deep.astype(">u2").tobytes())
    else:
        tifffile = pytest.importorskip("tifffile")  # arrives with scikit-image
        tifffile.imwrite(path, deep, photometric="rgb")
    with pytest.raises(UserError, match="more than 8 bits a channel"):
        read_image(path)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif", "webp", "ppm"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remark on the damaged TIFF
def test_a_truncated_file_is_refused(tmp_path, ending, share):
    path = tmp_path / f"cut.{ending}"
    Image.fromarray(COLOUR).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="cannot be read"):
        read_image(path)
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_image(path)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 30), (30, 7)])
def test_an_image_below_8_px_is_refused_with_its_size(tmp_path, height, width):
    Image.new("RGB", (width, height)).save(tmp_path / "small.png")
    with pytest.raises(UserError, match=f"has {width} x {height} px"):
        read_image(tmp_path / "small.png")


def test_a_folder_is_read_sorted_by_name_and_only_its_pictures(tmp_path):
    for index, name in enumerate(("b.png", "a.PNG", "c.bmp")):
        Image.new("RGB", (18 + index, 17), (index, 0, 0)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "below").mkdir()
    Image.new("RGB", (9, 8)).save(tmp_path / "below/d.png")
    images = read_pictures(picture_files(tmp_path))
    assert images.ids == ["a", "b", "c"]
    assert [image.shape for image in images.images] == [(17, 19, 3), (17, 18, 3), (17, 20, 3)]
    assert [image[0, 0, 0] for image in images.images] == [1, 0, 2]
    assert images.targets is None


@pytest.mark.parametrize(
    ("images", "came"),
    [
        # Too small for SSIM.
        ({"flat.png": Image.new("RGB", (40, 16))}, r"17 px[\s\S]*flat\.png has 40 x 16 px"),
        (dict.fromkeys(("one.png", "one.bmp", "two.png"), Image.new("RGB", (8, 8))), "`one`"),
        ({"good.png": Image.new("RGB", (8, 8)), "grey.png": Image.new("L", (8, 8))},
         r"grey\.png is grey"),
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_used_is_named(tmp_path, images, came):
    for name, image in images.items():
        image.save(tmp_path / name)
    with pytest.raises(UserError, match=came):
        read_pictures(picture_files(tmp_path))


def test_a_missing_or_empty_folder_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/readme.txt").write_text("none")
    with pytest.raises(UserError, match=rf"no folder {tmp_path / 'missing'}"):
        picture_files(tmp_path / "missing")
    with pytest.raises(UserError, match=rf"{tmp_path / 'empty'} has no \.png"):
        picture_files(tmp_path / "empty")


def denoising(**folders: str) -> Folder:
    return Folder(kind="folder", name="mine", **folders)


def test_kodak_and_bsds500_are_read_from_their_downloads(tmp_path):
    make_kodak(tmp_path)
    make_bsds500(tmp_path, train=4, val=3, test=2)
    splits, left_out = read_denoising(denoising(train="bsds500", test="kodak"), tmp_path)
    assert left_out == []  # files that the sets are known to have
    assert splits["test"].ids == [f"kodim{number:02d}" for number in range(1, 25)]
    # Training images are `train` and `test`, not `val`, which has 128, 135 and 142 here.
    assert splits["train"].ids == ["100", "107", "114", "121", "149", "156"]
    splits, _ = read_denoising(denoising(test="bsds500"), tmp_path)
    assert splits["test"].ids == ["128", "135", "142"]


def test_a_user_folder_can_begin_like_a_download(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet-samples-mine").mkdir()
    Image.new("RGB", (18, 17)).save(tmp_path / "imagenet-samples-mine/cat.png")
    splits, _ = read_denoising(denoising(test="imagenet-samples-mine"), tmp_path / "root")
    assert splits["test"].ids == ["cat"]


def test_a_user_folder_with_the_name_kodak_is_written_with_a_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kodak").mkdir()
    Image.new("RGB", (18, 17)).save(tmp_path / "kodak/mine.png")
    splits, _ = read_denoising(denoising(test="./kodak"), tmp_path / "root")
    assert splits["test"].ids == ["mine"]
    with pytest.raises(UserError, match=r"no folder .*root/kodak[\s\S]*`dhl data download kodak`"):
        read_denoising(denoising(test="kodak"), tmp_path / "root")


@pytest.mark.parametrize(
    "put", [Path.symlink_to, Path.hardlink_to, lambda path, other: shutil.copy(other, path)]
)
def test_a_copy_of_a_training_image_is_not_tested_on(put, tmp_path):
    make_kodak(tmp_path)
    for name in ("one", "two", "three"):
        write_picture(tmp_path / f"train/{name}.png")
    write_picture(tmp_path / "test/four.png")
    folders = {name: str(tmp_path / name) for name in ("train", "test")}
    assert read_denoising(denoising(**folders), tmp_path)[0]["test"].ids == ["four"]
    put(tmp_path / "test/other.png", tmp_path / "train/two.png")
    with pytest.raises(UserError, match=r"test/other\.png has the bytes of .*train/two\.png\n"):
        read_denoising(denoising(**folders), tmp_path)
    shutil.copytree(tmp_path / "kodak", tmp_path / "copies")
    with pytest.raises(UserError, match=r"kodim01\.png\n[\s\S]*and 19 more\n"):
        read_denoising(denoising(train=str(tmp_path / "copies"), test="kodak"), tmp_path)


def test_what_is_no_image_is_left_out_and_named(tmp_path):
    folder = tmp_path / "test"
    names = (".ipynb_checkpoints/b.png", "__MACOSX/b.png", "._b.png", "b.gif", "b.jfif", "b/b.png",
             "notes.txt", "b.png.part")  # fmt: skip
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    os.mkfifo(folder / "pipe.png")  # opening it would wait for ever
    (folder / "folder.png").mkdir()
    (folder / "self").symlink_to(folder)
    with pytest.raises(
        UserError, match=r"no image directly in it[\s\S]*, but ._b.png, .ipynb_checkp"
    ):
        read_denoising(denoising(test=str(folder)), tmp_path)
    write_picture(folder / "a.PNG")
    splits, left_out = read_denoising(denoising(test=str(folder)), tmp_path)
    assert splits["test"].ids == ["a"]
    assert sorted(left_out) == sorted(
        f"{folder}/{name}"
        for name in (".ipynb_checkpoints/", "__MACOSX/", "._b.png", "b.gif", "b.jfif", "b/",
                     "notes.txt", "b.png.part", "pipe.png", "folder.png/", "self/")
    )  # fmt: skip


def test_a_name_that_is_not_utf_8_has_its_noise_recorded(written, configured, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    for folder in ("train", "test"):
        write_picture(tmp_path / folder / "plain.png", height=48)
        (tmp_path / folder / "plain.png").rename(tmp_path / folder / (folder + name))
    spec = {"kind": "folder", "name": "x"}
    spec |= {split: str(tmp_path / split) for split in ("train", "test")}
    folder = written(**spec)
    write_noise(configured(**spec), PART, 30, folder)
    assert read_csv(folder.noise(PART, 30), NOISE_COLUMNS)["image_id"].tolist() == [r"testcaf\xe9"]


def test_the_name_of_the_row_over_all_images_is_refused(written, tmp_path):
    for path in ("train/one.png", "test/average.png"):
        write_picture(tmp_path / path, height=48)
    with pytest.raises(UserError) as caught:
        written(kind="folder", name="x", **{one: str(tmp_path / one) for one in ("train", "test")})
    assert "`average`" in caught.value.came
