"""A denoised picture: its metadata, the loss of its format, and the memory that it takes."""

from __future__ import annotations

import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from skimage import data as pictures
from skimage.metrics import peak_signal_noise_ratio

from dhl.errors import UserError
from dhl.evaluation import pictures as module
from dhl.evaluation.inference import block_bands, denoise_pictures
from dhl.evaluation.pictures import Picture

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PIXELS = np.array(Image.fromarray(pictures.astronaut()).crop((60, 20, 160, 90)))


def picture_with(path, *, orientation: int, **options) -> Image.Image:
    """Save a picture of 100 x 70 px with metadata, and return it as a viewer shows it."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "A camera"
    image = Image.fromarray(PIXELS)
    image.save(path, exif=exif, icc_profile=PROFILE, dpi=(300, 300), **options)
    return ImageOps.exif_transpose(Image.open(path))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_data_say(tmp_path, orientation):
    expected = picture_with(tmp_path / "in.png", orientation=orientation)
    picture = Picture.read(tmp_path / "in.png")
    assert (np.rint(picture.rows(0, picture.height) * 255) == np.asarray(expected)).all()


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("source", ["in.png", "in.jpg", "in.tif", "in.webp"])
def test_metadata_are_kept_but_the_orientation(tiny_run, tmp_path, source, ending):
    picture_with(tmp_path / source, orientation=6)
    target = tmp_path / f"out.{ending}"
    denoise_pictures(tmp_path / source, target, model=tiny_run.model("dncnn/sigma30"), device="cpu")
    with Image.open(target) as image:
        assert image.size == (70, 100)
        assert image.info["icc_profile"] == PROFILE
        assert image.getexif().get(0x0112, 1) == 1
        assert image.getexif()[0x010F] == "A camera"
        if "webp" not in (ending, source.partition(".")[2]):  # WebP has no resolution
            assert tuple(map(round, map(float, image.info["dpi"]))) == (300, 300)


def test_a_file_without_metadata_gets_none(tiny_run, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "in.png")
    denoise_pictures(tmp_path / "in.png", tmp_path / "out.png",
                 model=tiny_run.model("dncnn/sigma30"), device="cpu")  # fmt: skip
    with Image.open(tmp_path / "out.png") as image:
        assert not {"icc_profile", "dpi", "exif"} & set(image.info)


def test_metadata_that_cannot_be_read_are_left_out(tmp_path, monkeypatch, caplog):
    expected = picture_with(tmp_path / "in.png", orientation=6)

    def damaged(exif: Image.Exif) -> bytes:
        raise struct.error("unpack requires a buffer of 4 bytes")

    monkeypatch.setattr(Image.Exif, "tobytes", damaged)
    Picture.read(tmp_path / "in.png").write(tmp_path / "out.png")
    assert "unpack requires" in caplog.text
    with Image.open(tmp_path / "out.png") as image:
        assert "exif" not in image.info
        assert (np.asarray(image) == np.asarray(expected)).all()


@pytest.mark.parametrize(
    ("ending", "least"),
    [
        ("png", np.inf),
        ("webp", np.inf),
        ("tif", np.inf),
        ("jp2", np.inf),
        ("jpg", 42),
        ("avif", 42),
    ],
)
def test_the_format_does_not_undo_the_denoising(tmp_path, ending, least):
    if ending == "avif" and "AVIF" not in Image.SAVE:
        pytest.skip("Pillow without AVIF")
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for pixels in (PIXELS, noisy // 8 + 100):
        Picture(Image.fromarray(pixels), {}).write(tmp_path / f"out.{ending}")
        saved = np.asarray(Image.open(tmp_path / f"out.{ending}").convert("RGB"))
        if least == np.inf:
            assert (saved == pixels).all()
        else:
            assert peak_signal_noise_ratio(pixels, saved) > least


def test_rows_stay_readable_after_they_were_replaced():
    picture = Picture(Image.fromarray(PIXELS), {})
    for first in range(0, 70, 16):
        rows = picture.rows(max(0, first - 9), min(70, first + 20))
        assert (np.rint(rows * 255) == PIXELS[max(0, first - 9) : first + 20]).all()
        picture.replace(first, np.full((min(16, 70 - first), 100, 3), 2.0))
    assert (np.asarray(picture.image) == 255).all()


def test_a_picture_that_a_format_cannot_hold_is_refused(tmp_path):
    picture = Picture(Image.new("RGB", (17000, 8)), {})
    with pytest.raises(UserError, match="17000 x 8 px") as caught:
        picture.write(tmp_path / "out.webp")
    assert ".png" in caught.value.do


def test_a_picture_beyond_the_memory_is_refused(tiny_run, tmp_path, monkeypatch):
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    Image.new("RGB", (50, 50)).save(source)
    memory = SimpleNamespace(available=50 * 50 * 100)  # bytes: enough for a network's picture
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: memory)
    with pytest.raises(MemoryError, match="50 x 50 px"):
        denoise_pictures(source, target, sigma=30, device="cpu")
    assert not target.exists()
    denoise_pictures(source, target, model=tiny_run.model("separate/sigma30"), device="cpu")
    assert target.exists()


USED = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace
from dhl.evaluation.inference import block_bands, denoise_pictures, tile_bands
target, model, bands, *sources = sys.argv[1:]
for source in map(Path, sources):
    denoise_pictures(source, Path(target), model=Path(model), device="cpu", run=globals()[bands])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # the highest so far, in KiB
"""


@pytest.mark.slow
@pytest.mark.parametrize("bands", ["tile_bands", block_bands.__name__])
def test_the_memory_does_not_grow_with_the_height(tiny_run, tmp_path, bands):
    sources = [tmp_path / f"{height}.png" for height in (600, 4600)]
    for source in sources:
        Image.new("RGB", (400, int(source.stem)), (90, 120, 150)).save(source)
    model, target = tiny_run.model("dncnn/sigma30"), tmp_path / "out.png"
    command = [sys.executable, "-c", USED, target, model, bands, *sources]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    low, high = (int(line) / 1024 for line in done.stdout.split())
    # 1.6 million pixels more: 6 MiB in Pillow; a float32 copy alone would be 18 MiB.
    assert high - low < 16
