"""CBM3D: both implementations have the result of the authors' package, in any batch."""

from __future__ import annotations

from functools import partial

import bm3d
import numpy as np
import pytest
import pywt
import torch
from real_images import KODAK, needs
from skimage import data as pictures
from skimage.metrics import peak_signal_noise_ratio

from dhl.data.folder import read_image
from dhl.errors import UserError
from dhl.evaluation import cbm3d_cpu, cbm3d_gpu
from dhl.evaluation.baseline import denoised_stream
from dhl.evaluation.cbm3d import cbm3d
from dhl.evaluation.cbm3d_stages import HARD, REACH, reference_blocks
from dhl.evaluation.untrained import cbm3d_batch, cbm3d_package

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.fixture(params=["cpu", "gpu"])
def implementation(request, monkeypatch):
    """Run a test with each implementation, on the CPU."""

    def on_tensors(noisy, pilot, stage):
        tensors = torch.from_numpy(noisy), torch.from_numpy(pilot)
        return cbm3d_gpu.filter_groups(*tensors, stage).numpy()

    if request.param == "gpu":
        monkeypatch.setattr(cbm3d_cpu, "filter_groups", on_tensors)


def photograph(name: str, height: int, width: int) -> np.ndarray:
    """Return a crop of a photograph on [0, 1]."""
    return getattr(pictures, name)()[90 : 90 + height, 120 : 120 + width] / 255


def noisy(clean: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    return clean + np.random.default_rng(seed).normal(0, sigma / 255, clean.shape)


def psnr(clean: np.ndarray, image: np.ndarray) -> float:
    clipped = np.clip(image.astype(float), 0, 1)
    return peak_signal_noise_ratio(clean, clipped, data_range=1)


def gap(clean: np.ndarray, sigma: float, seed: int = 0) -> float:
    """Return how much the PSNR is above that of the package, in dB."""
    image = noisy(clean, sigma, seed)
    (here,) = cbm3d_batch([image], sigma=sigma)
    return psnr(clean, here) - psnr(clean, cbm3d_package(image, sigma=sigma))


@pytest.mark.parametrize("sigma", [15, 25, 50])
@pytest.mark.usefixtures("implementation")
def test_photographs_have_the_psnr_of_the_package(sigma):
    gaps = [gap(photograph(name, 72, 72), sigma) for name in PHOTOGRAPHS]
    assert abs(np.mean(gaps)) < 0.01
    assert max(map(abs, gaps)) < 0.03


@pytest.mark.parametrize("sigma", [15, 25, 50])
@pytest.mark.usefixtures("implementation")
def test_small_images_have_the_psnr_of_the_package(sigma):
    images = [photograph(name, 32, 32) for name in PHOTOGRAPHS]
    batch = cbm3d_batch([noisy(image, sigma) for image in images], sigma=sigma)
    for clean, here in zip(images, batch, strict=True):
        package = cbm3d_package(noisy(clean, sigma), sigma=sigma)
        assert psnr(clean, here) == pytest.approx(psnr(clean, package), abs=0.05)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (33, 47), (20, 50), (101, 76), (9, 40)])
@pytest.mark.usefixtures("implementation")
def test_odd_sizes_have_the_psnr_of_the_package(height, width):
    assert abs(gap(photograph("coffee", height, width), 25)) < 0.02


@pytest.mark.parametrize("sigma", [15, 50])
@pytest.mark.usefixtures("implementation")
def test_grey_images_have_the_psnr_of_the_package(sigma):
    clean = photograph("chelsea", 64, 80).mean(2)
    image = noisy(clean, sigma)
    settings = bm3d.BM3DProfile()
    settings.nf, settings.num_threads = 0, 1
    here = cbm3d(torch.from_numpy(image)[None, None], sigma=sigma)[0, 0].numpy()
    package = bm3d.bm3d(image, sigma / 255, settings)
    assert psnr(clean, here) == pytest.approx(psnr(clean, package), abs=0.02)


@pytest.mark.usefixtures("implementation")
def test_an_image_without_similar_blocks_has_the_psnr_of_the_package():
    squares = np.random.default_rng(0).integers(0, 2, (24, 24)).repeat(2, 0).repeat(2, 1)
    clean = np.repeat(squares[..., None], 3, 2).astype(float)
    assert abs(gap(clean, 50)) < 0.01


@pytest.mark.slow
@pytest.mark.usefixtures("implementation")
@needs(KODAK)
@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_crops_of_kodak_have_the_psnr_of_the_package(sigma):
    paths = sorted(KODAK.glob("*.png"))
    gaps = [gap(read_image(path)[128:384, 128:384] / 255, sigma) for path in paths]
    assert len(gaps) == 24
    assert abs(np.mean(gaps)) < 0.003
    assert max(map(abs, gaps)) < 0.02


def batch_of(count: int, side: int = 32) -> torch.Tensor:
    """Return noisy crops of a photograph, (count, 3, side, side)."""
    crops = [pictures.coffee()[10 * k : 10 * k + side, 200 : 200 + side] for k in range(count)]
    return torch.from_numpy(noisy(np.stack(crops) / 255, 25)).permute(0, 3, 1, 2)


@pytest.mark.usefixtures("implementation")
def test_the_batch_changes_no_image_and_a_repetition_no_bit():
    images = batch_of(5)
    whole = cbm3d(images, sigma=25)
    assert torch.equal(whole, cbm3d(images, sigma=25))
    for index in range(5):
        alone = cbm3d(images[index : index + 1], sigma=25)[0]
        assert (alone - whole[index]).abs().max() < 0.002


@pytest.mark.parametrize("implementation", ["gpu"], indirect=True)
def test_strips_change_no_image(implementation, monkeypatch):
    image = torch.from_numpy(noisy(photograph("coffee", 120, 64), 25)).permute(2, 0, 1)[None]
    whole = cbm3d(image, sigma=25)
    monkeypatch.setattr(cbm3d_gpu, "STRIP_POSITIONS", (2 * REACH + 30) * 57)
    cbm3d_gpu._strips.cache_clear()
    strips = cbm3d_gpu._strips(113, 57)
    cbm3d_gpu._strips.cache_clear()
    assert len(strips) > 2
    in_strips = cbm3d(image, sigma=25)
    cbm3d_gpu._strips.cache_clear()
    assert (in_strips - whole).abs().max() < 0.002


@pytest.mark.usefixtures("implementation")
def test_a_constant_image_and_the_smallest_image_stay_finite():
    constant = torch.full((1, 3, 24, 24), 0.5)
    assert (cbm3d(constant, sigma=25) - constant).abs().max() < 1e-6
    smallest = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert cbm3d(smallest, sigma=25).isfinite().all()


def test_an_image_below_a_block_is_refused_in_another_process_too():
    small = [[np.zeros((20, 7, 3))]] * 3
    for processes in (1, 2):
        with (
            pytest.raises(UserError) as error,
            denoised_stream(partial(cbm3d_batch, sigma=25), small, processes=processes) as stream,
        ):
            list(stream)
        assert error.value.came == "7 x 20 px"


def test_an_image_without_noise_is_refused():
    with pytest.raises(UserError):
        cbm3d(torch.rand(1, 3, 20, 20), sigma=0)


@pytest.mark.usefixtures("implementation")
def test_the_mean_of_an_image_does_not_change_the_rest():
    image = batch_of(1)
    assert (cbm3d(image + 3, sigma=25) - 3 - cbm3d(image, sigma=25)).abs().max() < 0.002


def test_bior_is_that_of_pywavelets_but_for_the_scale_of_its_first_rows():
    with pytest.warns(UserWarning, match="boundary effects"):
        columns = [
            np.hstack(pywt.wavedec(unit, "bior1.5", mode="periodization", level=3))
            for unit in np.eye(8)
        ]
    scale = np.where(np.arange(8) < 4, 1.0291, 1)[:, None]
    np.testing.assert_allclose(np.stack(columns, 1), scale * HARD.transform, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 32])
def test_the_haar_transform_is_inverted_and_its_energies_are_those_of_its_matrix(size):
    blocks = torch.rand(size, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        cbm3d_gpu._inverse_haar(cbm3d_gpu._haar(blocks.clone())) / size, blocks, rtol=0, atol=1e-6
    )
    matrix = cbm3d_gpu._haar(torch.eye(size))
    orthonormal = matrix / matrix.norm(dim=1, keepdim=True)
    torch.testing.assert_close(orthonormal @ orthonormal.T, torch.eye(size))
    np.testing.assert_allclose(cbm3d_gpu._haar_squares(size), orthonormal.square(), atol=1e-6)


def test_the_references_are_those_of_the_package():
    """Positions that the package 4.0.3 reports for a block of 16 x 19 positions."""
    found = set(map(tuple, reference_blocks(16, 19).tolist()))
    columns = {
        0: [0, 3, 6, 9, 12, 15], 3: [0, 2, 5, 8, 11, 14, 15], 6: [0, 1, 4, 7, 10, 13, 15],
        9: [0, 3, 6, 9, 12, 15], 12: [0, 2, 5, 8, 11, 14, 15], 15: [0, 1, 4, 7, 10, 13, 15],
        18: [0, 3, 6, 9, 12, 15],
    }  # fmt: skip
    assert found == {(row, column) for column, rows in columns.items() for row in rows}
