"""CBM3D: better than noise, the same in one process and in two, and as good as published."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import data as pictures
from skimage.metrics import peak_signal_noise_ratio

from dhl.baselines import PROFILE_NF, cbm3d, cbm3d_stream, require_bm3d, write_cbm3d
from dhl.data.folder import read_image
from dhl.data.image_set import load_split
from dhl.errors import UserError

DATA = os.environ.get("DHL_TEST_DATA")


def noisy_crop(sigma: float, side: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth photograph's crop and its noisy version."""
    clean = pictures.chelsea()[100 : 100 + side, 150 : 150 + side] / 255
    return clean, clean + np.random.default_rng(0).normal(0, sigma / 255, clean.shape)


def gain(clean: np.ndarray, noisy: np.ndarray, denoised: np.ndarray) -> float:
    """Return the PSNR gain in dB."""
    before, after = (peak_signal_noise_ratio(clean, image, data_range=1)
                     for image in (noisy, denoised.astype(float)))  # fmt: skip
    return after - before


@pytest.mark.parametrize("sigma", [15, 30, 60])
def test_cbm3d_removes_most_of_the_noise_of_a_smooth_picture(sigma):
    clean, noisy = noisy_crop(sigma)
    denoised = cbm3d(noisy, sigma=sigma)
    assert denoised.shape == clean.shape
    assert denoised.dtype == np.float32
    assert gain(clean, noisy, denoised) > 6


def test_the_two_profiles_differ_a_little():
    clean, noisy = noisy_crop(30, side=32)
    classical, recent = (cbm3d(noisy, sigma=30, profile=profile) for profile in PROFILE_NF)
    gains = [gain(clean, noisy, image) for image in (classical, recent)]
    assert gains[0] == pytest.approx(gains[1], abs=1.5)
    assert not np.array_equal(classical, recent)


def test_the_profiles_are_the_measured_ones():
    assert PROFILE_NF == {"cbm3d": 0, "cbm3d-2020": 32}


def test_one_process_and_two_return_the_same_images_in_order():
    images = [noisy_crop(30, side)[1] for side in (24, 32, 28)]
    done = []
    for processes in (1, 2):
        with cbm3d_stream(iter(images), sigma=30, profile="cbm3d", processes=processes) as stream:
            done.append(list(stream))
    for one, two in zip(*done, strict=True):
        np.testing.assert_array_equal(one, two)
    assert [image.shape[0] for image in done[0]] == [24, 32, 28]


@pytest.mark.parametrize("processes", [1, 2])
def test_the_file_holds_every_test_image_and_repeats_to_the_byte(tiny_run, run_copy, processes):
    path = run_copy.cbm3d("denoising", "cbm3d", 30)
    path.unlink()
    write_cbm3d("denoising", "cbm3d", 30, run_copy, processes=processes)
    assert path.read_bytes() == tiny_run.cbm3d("denoising", "cbm3d", 30).read_bytes()
    clean = load_split(run_copy.data("denoising"), "test")
    with np.load(path) as arrays:
        assert arrays.files == list(clean.ids)
        for name, image in zip(clean.ids, clean.images, strict=True):
            error = np.square(arrays[name] - image / 255.0).mean()
            assert error < 0.5 * (30 / 255) ** 2, name


def test_without_the_package_the_message_says_what_to_do(monkeypatch, tiny_run):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    for call in (
        require_bm3d,
        lambda: write_cbm3d("denoising", "cbm3d", 30, tiny_run, processes=1),
    ):
        with pytest.raises(UserError, match=r"`pip install bm3d`"):
            call()


def test_changed_noise_is_refused(run_copy):
    path = run_copy.noise("denoising", 30)
    text = path.read_text().splitlines()
    cells = text[1].split(",")
    text[1] = ",".join([*cells[:4], "0" * 64, *cells[5:]])
    path.write_text("\n".join(text) + "\n")
    with pytest.raises(UserError, match="same noisy pixels"):
        write_cbm3d("denoising", "cbm3d", 30, run_copy, processes=1)


@pytest.mark.skipif(
    not DATA or not (Path(DATA) / "kodak" / "kodim01.png").exists(),
    reason="DHL_TEST_DATA names no folder with kodak/kodim01.png",
)
def test_cbm3d_has_its_known_psnr_on_the_first_kodak_image():
    clean = read_image(Path(DATA) / "kodak" / "kodim01.png") / 255
    noisy = clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape)
    denoised = np.clip(cbm3d(noisy, sigma=25).astype(float), 0, 1)
    assert peak_signal_noise_ratio(clean, denoised, data_range=1) == pytest.approx(29.27, abs=0.05)
