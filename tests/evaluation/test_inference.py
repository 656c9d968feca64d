"""Denoising a user's picture: tiles equal the complete image, and blocks are the authors'."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as pictures
from torch import nn

from dhl.cli.parser import main
from dhl.errors import UserError
from dhl.evaluation import inference as denoising
from dhl.evaluation.inference import Bands, block_bands, denoise_pictures, tile_bands
from dhl.evaluation.untrained import cbm3d_batch
from dhl.models import checkpoint
from dhl.models.build import build_network
from dhl.models.receptive_field import GRID

CPU = torch.device("cpu")
MEAN_RGB = np.array([123, 117, 104]) / 255


def randomised(name: str, **options) -> nn.Module:
    """Build a narrow denoiser whose BatchNorm and last layer do something."""
    network = build_network("denoiser", name, width=4, **options)
    generator = torch.Generator().manual_seed(0)
    for key, tensor in network.state_dict().items():
        if key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(std=0.2, generator=generator)
    return network.eval()


def noisy_image(height: int, width: int) -> np.ndarray:
    """Return random pixels."""
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def joined(denoise: Callable[..., Bands], network: nn.Module, noisy: np.ndarray) -> np.ndarray:
    """Denoise an image in memory in bands, and return it."""
    bands = denoise(network, lambda top, bottom: noisy[top:bottom], noisy.shape[:2], device=CPU)
    return np.concatenate([rows for _, rows in bands])


@pytest.mark.parametrize(
    ("name", "options"),
    [("released", {}), ("paper", {}), ("dncnn", {"depth": 17}), ("dncnn", {"depth": 40})],
)
@pytest.mark.parametrize(
    ("height", "width"), [(64, 64), (65, 131), (200, 70), (129, 64), (8, 150), (9, 9), (66, 67)]
)
def test_tiles_equal_the_whole_image(monkeypatch, name, options, height, width):
    monkeypatch.setattr(denoising, "TILE", 64)
    network = randomised(name, **options)
    noisy = noisy_image(height, width)
    with torch.no_grad():
        whole = network(torch.from_numpy(noisy).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    tiles = joined(tile_bands, network, noisy)
    assert np.abs(whole.numpy() - noisy).max() > 0.05
    np.testing.assert_allclose(tiles, whole, atol=1e-5)


def test_tiles_and_their_margins_keep_the_grid_of_the_strides():
    assert denoising.TILE % GRID == GRID % 4 == 0


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
    denoise_pictures(source, target, model=model, device="cpu")
    network, _ = checkpoint.load_model(model)
    with torch.no_grad():
        raw = network(torch.from_numpy(pixels / 255).float().permute(2, 0, 1)[None])[0]
    expected = np.rint(raw.clamp(0, 1).permute(1, 2, 0).numpy() * 255)
    saved = np.asarray(Image.open(target)).astype(float)
    assert saved.shape == pixels.shape
    assert np.abs(saved - expected).max() <= 1
    assert (saved != expected).mean() < 0.001
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_cbm3d_denoises_a_picture_of_odd_size(noisy_picture, tmp_path):
    source, pixels = noisy_picture
    target = tmp_path / "out.png"
    command = ["denoise", str(source), str(target), "--method", "cbm3d", "--sigma", "30"]
    assert main([*command, "--device", "cpu"]) == 0
    (expected,) = cbm3d_batch([pixels / 255], sigma=30)
    saved = np.asarray(Image.open(target)).astype(float)
    assert np.abs(saved - 255 * np.clip(expected, 0, 1)).max() <= 0.6


def test_a_folder_is_denoised_picture_by_picture(tiny_run, noisy_picture, tmp_path, caplog):
    source, pixels = noisy_picture
    folder, target = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "a.bmp")
    Image.fromarray(pixels[::-1, ::-1]).save(folder / "b.JPG", quality=98, subsampling=0)
    (folder / "notes.txt").touch()
    model = str(tiny_run.model("separate/sigma30"))
    assert main(["denoise", str(folder), str(target), "--model", model, "--device", "cpu"]) == 0
    assert "notes.txt" in caplog.text
    assert sorted(path.name for path in target.iterdir()) == ["a.png", "b.png"]
    for name, picture in (("a.png", source), ("b.png", folder / "b.JPG")):
        denoise_pictures(picture, tmp_path / "one.png", model=Path(model), device="cpu")
        with Image.open(target / name) as done, Image.open(tmp_path / "one.png") as one:
            np.testing.assert_array_equal(done, one)


def test_a_folder_is_not_denoised_into_itself_a_file_or_one_name(tiny_run, noisy_picture, tmp_path):
    source, pixels = noisy_picture
    model = tiny_run.model("separate/sigma30")
    for target, came in ((source.parent, "same folder"), (source, "a file")):
        with pytest.raises(UserError) as error:
            denoise_pictures(source.parent, target, model=model, device="cpu")
        assert came in error.value.came
    Image.fromarray(pixels).save(tmp_path / "noisy.bmp")
    Image.fromarray(pixels).save(tmp_path / "noisy.more.png")  # between the two, in order
    with pytest.raises(UserError, match="one file"):
        denoise_pictures(tmp_path, tmp_path / "out", model=model, device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_picture_of_a_folder_that_cannot_be_used_leaves_the_others(
    tiny_run, noisy_picture, tmp_path
):
    source, _ = noisy_picture
    Image.new("L", (20, 20)).save(tmp_path / "a-grey.png")
    (tmp_path / "damaged.png").write_bytes(source.read_bytes()[:500])
    with pytest.raises(UserError) as error:
        denoise_pictures(
            tmp_path, tmp_path / "out", model=tiny_run.model("separate/sigma30"), device="cpu"
        )
    assert error.value.came == "a-grey.png, damaged.png"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["noisy.png"]


def test_a_lack_of_memory_is_no_traceback(tmp_path, noisy_picture, monkeypatch, tiny_run):
    def fail(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr(denoising, "_load_denoiser", lambda _: Unpadded())
    monkeypatch.setattr(Unpadded, "forward", fail)
    with pytest.raises(UserError, match="memory") as error:
        denoise_pictures(noisy_picture[0], tmp_path / "out.png", model=Path("one.pt"), device="cpu")
    assert error.value.came.startswith("83 x 61 px on cpu")


@pytest.mark.parametrize("name", ["out.xyz", "out", "out.psd", "out.png.bak", "out.gif"])
def test_an_unknown_or_unwritable_ending_is_refused(tiny_run, noisy_picture, tmp_path, name):
    with pytest.raises(UserError) as error:
        denoise_pictures(
            noisy_picture[0], tmp_path / name, model=tiny_run.model("separate/sigma30")
        )
    assert error.value.came == str(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("role", ["classifier", "segmenter"])
def test_a_task_network_is_not_taken_for_a_denoiser(tiny_run, noisy_picture, tmp_path, role):
    with pytest.raises(UserError) as error:
        denoise_pictures(
            noisy_picture[0], tmp_path / "out.png", model=tiny_run.model(f"{role}/clean")
        )
    assert role in error.value.mistake


def test_a_picture_or_a_model_that_cannot_be_read_is_named(tiny_run, noisy_picture, tmp_path):
    Image.new("L", (20, 20)).save(tmp_path / "grey.png")
    model = tiny_run.model("separate/sigma30")
    for source, used, named in (
        (tmp_path / "grey.png", model, r"grey\.png is grey"),
        (tmp_path / "missing.png", model, r"missing\.png cannot be read"),
        (noisy_picture[0], tmp_path / "missing.pt", r"no file .*missing\.pt"),
        (noisy_picture[0], noisy_picture[0], r"noisy\.png: truncated, changed, or not a model"),
    ):
        with pytest.raises(UserError, match=named):
            denoise_pictures(source, tmp_path / "out.png", model=used, device="cpu")
    assert not (tmp_path / "out.png").exists()


def test_an_unknown_device_is_named(tiny_run, noisy_picture, tmp_path):
    with pytest.raises(UserError, match="`gpu9`"):
        denoise_pictures(
            noisy_picture[0], tmp_path / "out.png",
            model=tiny_run.model("separate/sigma30"), device="gpu9",
        )  # fmt: skip


# The authors' blocks.


class Unpadded(nn.Module):
    """Three convolutions without padding inside: loses 3 px a side, sees 7."""

    border = 3

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(3)))
        generator = torch.Generator().manual_seed(0)
        for weight in self.parameters():
            weight.data.normal_(std=0.3, generator=generator)

    def forward_unpadded(self, noisy):
        return self.layers(noisy)


def run(network: nn.Module, image: np.ndarray) -> np.ndarray:
    """Run an image (H, W, 3) through the unpadded form."""
    with torch.no_grad():
        batch = torch.from_numpy(image).float().permute(2, 0, 1)[None]
        return network.forward_unpadded(batch)[0].permute(1, 2, 0).numpy()


def framed(image: np.ndarray, border: int = 3) -> np.ndarray:
    """Surround an image with the authors' mean colour."""
    result = np.tile(MEAN_RGB, (image.shape[0] + 2 * border, image.shape[1] + 2 * border, 1))
    result[border:-border, border:-border] = image
    return result


@pytest.mark.parametrize(("height", "width"), [(134, 140), (150, 263), (199, 135)])
def test_blocks_of_a_network_without_inner_padding_equal_the_whole_image(height, width):
    network, noisy = Unpadded().eval(), noisy_image(height, width)
    blocks = joined(block_bands, network, noisy)
    np.testing.assert_allclose(blocks, run(network, framed(noisy)), atol=1e-5)
    np.testing.assert_allclose(blocks[3:-3, 3:-3], run(network, noisy), atol=1e-5)


def starts(side: int) -> list[int]:
    """Return where the blocks of the released code begin; its coordinates include the frame."""
    crop, block, framed_side = 3, 134, side + 6
    grid = [*range(crop, framed_side - block - crop, 64), framed_side - block - crop]
    return [begin - crop for begin in grid]


@pytest.mark.parametrize("input", ["unit", "authors"])
@pytest.mark.parametrize(("height", "width"), [(150, 199), (198, 262), (134, 135)])
def test_blocks_are_those_of_the_authors_loop(input, height, width):
    network, noisy = randomised("released", input=input), noisy_image(height, width)
    source = framed(noisy)
    total, count = np.zeros(noisy.shape), np.zeros(noisy.shape)
    for top in starts(height):
        for left in starts(width):
            block = run(network, source[top : top + 140, left : left + 140])
            total[top : top + 134, left : left + 134] += block
            count[top : top + 134, left : left + 134] += 1
    expected = total / count
    blocks = joined(block_bands, network, noisy)
    np.testing.assert_allclose(blocks, expected, rtol=1e-4, atol=1e-4)


def test_where_blocks_overlap_the_padding_of_the_network_is_averaged_in():
    network, noisy = randomised("released"), noisy_image(134, 198)
    blocks = joined(block_bands, network, noisy)
    tiles = joined(tile_bands, network, noisy)
    # Columns 64 to 133 are in both blocks; 39 px from every block's end nothing is padding.
    np.testing.assert_allclose(blocks[40:94, 40:63], tiles[40:94, 40:63], atol=1e-4)
    assert np.abs(blocks[40:94, 64:70] - tiles[40:94, 64:70]).max() > 1e-3


@pytest.mark.parametrize("name", ["released", "paper", "dncnn"])
@pytest.mark.parametrize(("height", "width"), [(8, 9), (61, 83), (133, 17), (30, 150), (134, 134)])
def test_the_output_has_the_size_of_the_input(name, height, width):
    noisy = noisy_image(height, width)
    blocks = joined(block_bands, randomised(name), noisy)
    assert blocks.shape == noisy.shape
    assert blocks.dtype == np.float32
    assert np.isfinite(blocks).all()
    assert np.abs(blocks - noisy).max() > 0.01


def test_a_small_image_is_one_block_in_a_longer_frame():
    network, noisy = randomised("released"), noisy_image(23, 35)
    source = np.tile(MEAN_RGB, (32, 44, 1))  # 29 and 41, up to multiples of four
    source[3:26, 3:38] = noisy
    expected = run(network, source)[:23, :35]
    np.testing.assert_allclose(joined(block_bands, network, noisy), expected, atol=1e-5)
