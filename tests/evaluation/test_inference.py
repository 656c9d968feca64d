"""Denoising a user's picture: tiles equal the complete image, and files are read and written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as pictures
from torch import nn

from dhl.errors import UserError
from dhl.evaluation import inference as denoising
from dhl.evaluation.inference import denoise_file, denoise_tiles
from dhl.models import checkpoint
from dhl.models.build import build_network

CPU = torch.device("cpu")


def randomised(name: str, **options: int) -> nn.Module:
    """Build a denoiser with random weights and BatchNorm statistics."""
    torch.manual_seed(0)
    network = build_network("denoiser", name, **options)
    for key, tensor in network.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.1)
        elif key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "options"),
    [("released", {}), ("paper", {}), ("dncnn", {"depth": 17})],
)
@pytest.mark.parametrize(
    ("height", "width"), [(64, 64), (65, 131), (200, 70), (129, 64), (8, 150), (9, 9), (66, 67)]
)
def test_tiles_equal_the_whole_image(monkeypatch, name, options, height, width):
    monkeypatch.setattr(denoising, "TILE", 64)
    network = randomised(name, width=4, **options)
    noisy = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    with torch.no_grad():
        whole = network(torch.from_numpy(noisy).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    tiles = denoise_tiles(network, noisy, device=CPU)
    assert np.abs(whole.numpy() - noisy).max() > 0.05
    np.testing.assert_allclose(tiles, whole, atol=1e-5)


def test_tiles_and_their_margins_keep_the_grid_of_the_strides():
    assert denoising.TILE % 4 == denoising.MARGIN % 4 == 0
    assert denoising.MARGIN > 39 // 2


@pytest.fixture
def noisy_picture(tmp_path):
    """A noisy 8-bit picture of odd size."""
    clean = pictures.astronaut()[:61, :83] / 255
    noisy = clean + np.random.default_rng(0).normal(0, 30 / 255, clean.shape)
    pixels = (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noisy.png")
    return tmp_path / "noisy.png", pixels


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "PNG"])
def test_a_picture_is_denoised_into_a_lossless_file(tiny_run, noisy_picture, tmp_path, ending):
    source, pixels = noisy_picture
    model = tiny_run.model("separate/sigma30")
    target = tmp_path / "new folder" / f"out.{ending}"
    denoise_file(source, target, model=model, device="cpu")
    network, _ = checkpoint.load_model(model)
    with torch.no_grad():
        raw = network(torch.from_numpy(pixels / 255).float().permute(2, 0, 1)[None])[0]
    expected = np.rint(raw.clamp(0, 1).permute(1, 2, 0).numpy() * 255)
    saved = np.asarray(Image.open(target)).astype(float)
    assert saved.shape == pixels.shape
    assert np.abs(saved - expected).max() <= 1
    assert (saved != expected).mean() < 0.001
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_jpeg_is_written_as_jpeg(tiny_run, noisy_picture, tmp_path):
    model = tiny_run.model("dncnn/sigma30")
    denoise_file(noisy_picture[0], tmp_path / "out.jpg", model=model, device="cpu")
    with Image.open(tmp_path / "out.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (83, 61))


@pytest.mark.parametrize("name", ["out.xyz", "out", "out.psd", "out.png.bak"])
def test_an_unknown_or_unwritable_ending_is_refused(tiny_run, noisy_picture, tmp_path, name):
    with pytest.raises(UserError) as error:
        denoise_file(noisy_picture[0], tmp_path / name, model=tiny_run.model("separate/sigma30"))
    assert error.value.came == str(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("role", ["classifier", "segmenter"])
def test_a_task_network_is_not_taken_for_a_denoiser(tiny_run, noisy_picture, tmp_path, role):
    with pytest.raises(UserError) as error:
        denoise_file(noisy_picture[0], tmp_path / "out.png", model=tiny_run.model(f"{role}/clean"))
    assert role in error.value.mistake


def test_a_picture_or_a_model_that_cannot_be_read_is_named(tiny_run, noisy_picture, tmp_path):
    Image.new("L", (20, 20)).save(tmp_path / "grey.png")
    model = tiny_run.model("separate/sigma30")
    for source, used, named in (
        (tmp_path / "grey.png", model, r"grey\.png is grey"),
        (tmp_path / "missing.png", model, r"missing\.png cannot be read"),
        (noisy_picture[0], tmp_path / "missing.pt", r"no file .*missing\.pt"),
        (noisy_picture[0], noisy_picture[0], r"noisy\.png: truncated, or not a model"),
    ):
        with pytest.raises(UserError, match=named):
            denoise_file(source, tmp_path / "out.png", model=used, device="cpu")
    assert not (tmp_path / "out.png").exists()


def test_an_unknown_device_is_named(tiny_run, noisy_picture, tmp_path):
    with pytest.raises(UserError, match="`gpu9`"):
        denoise_file(
            noisy_picture[0], tmp_path / "out.png",
            model=tiny_run.model("separate/sigma30"), device="gpu9",
        )  # fmt: skip
