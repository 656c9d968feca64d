"""Untrained methods: the same in one process and in two, in any number of shards."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from plugin_samples import METHOD, write
from real_images import KODAK, needs
from skimage import data as pictures
from skimage.metrics import peak_signal_noise_ratio

from dhl.config.methods import BASELINES, BATCHED
from dhl.config.parse import parse_config
from dhl.data.folder import read_image
from dhl.data.image_set import load_split
from dhl.data.noise import recorded_noisy_image
from dhl.errors import UserError
from dhl.evaluation import baseline, untrained
from dhl.evaluation.baseline import (
    BaselineJob,
    DenoisedImages,
    denoised_stream,
    equal_batches,
    write_baseline,
)
from dhl.evaluation.evaluate import evaluate
from dhl.evaluation.untrained import PROFILE_NF, cbm3d_batch, cbm3d_package, mcwnnm_batch
from dhl.run.results import NOISE_COLUMNS, read_csv
from dhl.run.shards import Shard, shards

JOB = BaselineJob("denoising", "cbm3d", 30)
HALVED = functools.partial(np.multiply, 0.5)  # an image denoised by a function that costs nothing


def noisy_crop(sigma: float, side: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth photograph's crop and its noisy version."""
    clean = pictures.chelsea()[100 : 100 + side, 150 : 150 + side] / 255
    return clean, clean + np.random.default_rng(0).normal(0, sigma / 255, clean.shape)


def gain(clean: np.ndarray, noisy: np.ndarray, denoised: np.ndarray) -> float:
    """Return the PSNR gain in dB."""
    before, after = (peak_signal_noise_ratio(clean, image, data_range=1)
                     for image in (noisy, denoised.astype(float)))  # fmt: skip
    return after - before


def test_each_untrained_method_has_a_function():
    assert set(untrained.BATCHES) == set(BATCHED)
    assert {*untrained.BATCHES, *PROFILE_NF} == set(BASELINES)


@pytest.mark.parametrize("sigma", [15, 30, 60])
def test_cbm3d_removes_most_of_the_noise_of_a_smooth_picture(sigma):
    clean, noisy = noisy_crop(sigma)
    (denoised,) = cbm3d_batch([noisy], sigma=sigma)
    assert denoised.shape == clean.shape
    assert denoised.dtype == np.float32
    assert gain(clean, noisy, denoised) > 6


def test_the_two_profiles_differ_a_little():
    clean, noisy = noisy_crop(30, side=32)
    classical, recent = (cbm3d_package(noisy, sigma=30, profile=profile) for profile in PROFILE_NF)
    gains = [gain(clean, noisy, image) for image in (classical, recent)]
    assert gains[0] == pytest.approx(gains[1], abs=1.5)
    assert not np.array_equal(classical, recent)


def test_the_package_is_not_called_for_an_image_of_one_block():
    with pytest.raises(UserError, match="8 px"):
        cbm3d_package(np.zeros((8, 40, 3)), sigma=30)


def test_one_process_and_two_return_the_same_images_in_order():
    images = [noisy_crop(30, side)[1] for side in (24, 32, 28)]
    done = []
    for processes in (1, 2):
        with denoised_stream(HALVED, iter(images), processes=processes) as stream:
            done.append(list(stream))
    for one, two in zip(*done, strict=True):
        np.testing.assert_array_equal(one, two)
    assert [image.shape[0] for image in done[0]] == [24, 32, 28]


@pytest.mark.parametrize(("processes", "ahead"), [(1, 0), (2, 3)])
def test_images_are_read_only_shortly_before_they_are_denoised(processes, ahead):
    taken, noisy = [], noisy_crop(30, side=12)[1]

    def images():
        for index in range(8):
            taken.append(index)
            yield noisy

    with denoised_stream(HALVED, images(), processes=processes) as stream:
        for done, _ in enumerate(stream, 1):
            assert len(taken) <= done + ahead
    assert len(taken) == 8


KILLED = """
import multiprocessing
from functools import partial

import numpy as np

from dhl.errors import UserError
from dhl.evaluation.baseline import denoised_stream

def images():
    for index in range(8):
        if index == 3:
            for child in multiprocessing.active_children():
                child.kill()
        yield np.zeros((12, 12, 3))

try:
    with denoised_stream(partial(np.multiply, 0.5), images(), processes=2) as stream:
        list(stream)
except UserError as error:
    print(error)
"""


def test_a_killed_process_is_one_message():
    # In an interpreter of its own: a killed fork of a pytest-xdist worker can end the worker.
    result = subprocess.run(
        [sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=60, check=True
    )
    assert "killed" in result.stdout


class KilledPool(Executor):
    """A pool whose processes are all killed."""

    def __init__(self, *_, **__): ...

    def submit(self, *_) -> Future:
        future: Future = Future()
        future.set_exception(BrokenProcessPool("terminated abruptly"))
        return future


@pytest.mark.parametrize("row", [0, 1], ids=["cbm3d", "plug-in"])
def test_a_killed_process_is_no_mistake_of_the_method(
    tiny_content, run_copy, monkeypatch, tmp_path, row
):
    plugin = write(tmp_path, "method.py", METHOD)
    tiny_content["parts"]["denoising"]["methods"] = ["cbm3d", f"{plugin}:halved_noise"]
    config = parse_config(tiny_content, source="tiny.yaml")
    job = replace(JOB, method=config.parts["denoising"].methods[row])
    monkeypatch.setattr(baseline, "ProcessPoolExecutor", KilledPool)
    with pytest.raises(UserError) as error:
        write_baseline(config, job, run_copy, processes=2)
    assert "was killed" in str(error.value)
    assert "plug-in" not in str(error.value)


def test_batches_have_images_of_equal_size_in_order():
    images = [np.zeros((*size, 3)) for size in [(4, 4)] * 5 + [(4, 5)] * 2 + [(9, 9), (4, 4)]]
    batches = list(equal_batches(iter(images), 40))
    assert [len(batch) for batch in batches] == [2, 2, 1, 2, 1, 1]
    flat = [id(image) for batch in batches for image in batch]
    assert flat == list(map(id, images))
    assert list(equal_batches(iter([]), 40)) == []


@pytest.mark.parametrize("total", [1, 3, 50])
@pytest.mark.parametrize("count", [0, 7, 100])
def test_shards_are_contiguous_and_hold_each_image_once(total, count):
    images = list(range(count))
    parts = [images[shard.of(count)] for shard in shards(total)]
    assert [image for part in parts for image in part] == images
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert tuple(Shard.parse(str(shard)) for shard in shards(total)) == shards(total)


@pytest.mark.parametrize("text", ["", "2", "0-of-3", "4-of-3", "1-of-0", "2-of-3x", "-1-of-3"])
def test_an_impossible_shard_is_refused(text):
    with pytest.raises(ValueError, match=r"a shard (has a number from 1 to|is written like)"):
        Shard.parse(text)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_file_holds_every_test_image_and_repeats_to_the_byte(
    tiny_config, tiny_run, run_copy, processes
):
    path = run_copy.baseline("denoising", "cbm3d", 30)
    path.unlink()
    write_baseline(tiny_config, JOB, run_copy, processes=processes)
    assert path.read_bytes() == tiny_run.baseline("denoising", "cbm3d", 30).read_bytes()
    clean = load_split(run_copy.data("denoising"), "test")
    with np.load(path) as arrays:
        assert arrays.files == list(clean.ids)
        for name, image in zip(clean.ids, clean.images, strict=True):
            error = np.square(arrays[name] - image / 255.0).mean()
            assert error < 0.5 * (30 / 255) ** 2, name


def write_shards(config, folder, total: int) -> list[Path]:
    """Denoise the tiny run's test images in several shards."""
    for shard in shards(total):
        write_baseline(config, replace(JOB, shard=shard), folder, processes=1)
    return [folder.baseline("denoising", "cbm3d", 30, shard) for shard in shards(total)]


@pytest.mark.parametrize("total", [2, 3, 5])  # of four images, so that a shard may be empty
def test_the_number_of_shards_hardly_changes_a_result(
    tiny_config, tiny_content, tiny_run, run_copy, total
):
    whole = run_copy.baseline("denoising", "cbm3d", 30)
    before = load_all([whole])
    whole.unlink()
    after = load_all(write_shards(tiny_config, run_copy, total))
    assert list(after) == list(before)
    for name, image in before.items():
        # The batches of a shard differ, and with them the last digits.
        np.testing.assert_allclose(after[name], image, atol=0.002)
    tiny_content["parts"]["denoising"]["shards"] = total
    evaluate(parse_config(tiny_content, source="tiny.yaml"), "denoising", 30, run_copy)
    rows, expected = (pd.read_csv(one.evaluation("denoising", 30)) for one in (run_copy, tiny_run))
    pd.testing.assert_frame_equal(rows, expected, atol=0.01, rtol=0)


def load_all(paths: list[Path]) -> dict[str, np.ndarray]:
    images = {}
    for path in paths:
        with np.load(path) as arrays:
            images |= dict(arrays)
    return images


def test_a_shard_that_is_interrupted_leaves_the_others_and_nothing_of_itself(
    tiny_config, run_copy, monkeypatch
):
    paths = write_shards(tiny_config, run_copy, 2)
    before = paths[0].read_bytes()
    paths[1].unlink()
    written = []

    def interrupted(noisy, **options):
        written.append(sum(path.stat().st_size for path in paths[0].parent.glob(".*")))
        if len(written) == 2:
            raise KeyboardInterrupt
        return cbm3d_batch(noisy, **options)

    monkeypatch.setitem(untrained.BATCHES, "cbm3d", interrupted)
    monkeypatch.setitem(untrained.BATCH_PIXELS, "cpu", 1)
    with pytest.raises(KeyboardInterrupt):
        write_baseline(tiny_config, replace(JOB, shard=Shard(2, 2)), run_copy, processes=1)
    assert written[0] == 0
    assert written[1] >= 40 * 40 * 3 * 4 - 8192  # the first image is on disk, but for a buffer
    assert sorted(paths[0].parent.iterdir()) == sorted(
        [paths[0], run_copy.baseline("denoising", "cbm3d", 30)]
    )
    assert paths[0].read_bytes() == before


@pytest.mark.parametrize("processes", [1, 2])
def test_mcwnnm_denoises_the_images_of_a_job(tiny_config, run_copy, monkeypatch, processes):
    monkeypatch.setattr("dhl.evaluation.mcwnnm.GROUP_SIZES", (10,))
    job = replace(JOB, method="mcwnnm", shard=Shard(1, 2))
    write_baseline(tiny_config, job, run_copy, processes=processes)
    clean = load_split(run_copy.data("denoising"), "test")
    found = DenoisedImages([run_copy.baseline("denoising", "mcwnnm", 30, job.shard)], clean.ids[:2])
    noise = read_csv(run_copy.noise("denoising", 30), NOISE_COLUMNS)
    for index, record in enumerate(noise[:2].itertuples()):
        noisy = recorded_noisy_image(clean.images[index], sigma=30, record=record)
        (expected,) = mcwnnm_batch([noisy], sigma=30)
        np.testing.assert_allclose(found[clean.ids[index]], expected, rtol=0, atol=1e-5)


def test_an_image_that_is_in_no_shard_is_named(tiny_config, run_copy):
    ids = load_split(run_copy.data("denoising"), "test").ids
    first, _ = write_shards(tiny_config, run_copy, 2)
    with pytest.raises(UserError) as error:
        DenoisedImages([first], ids)
    assert "2 of 4" in error.value.came
    assert ids[2] in error.value.came


def test_without_the_package_the_message_says_what_to_do(monkeypatch, tiny_config, tiny_run):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError) as error:
        write_baseline(tiny_config, replace(JOB, method="cbm3d-package"), tiny_run, processes=1)
    assert "bm3d" in error.value.do


def test_an_image_that_is_not_finite_is_refused(tiny_config, run_copy, monkeypatch):
    path = run_copy.baseline("denoising", "cbm3d", 30)
    before = path.read_bytes()
    broken = lambda noisy, **_: [image * np.nan for image in noisy]  # noqa: E731
    monkeypatch.setitem(untrained.BATCHES, "cbm3d", broken)
    with pytest.raises(UserError, match="no finite result"):
        write_baseline(tiny_config, JOB, run_copy, processes=1)
    assert path.read_bytes() == before


def test_changed_noise_is_refused(tiny_config, run_copy):
    path = run_copy.noise("denoising", 30)
    pd.read_csv(path).assign(sha256="0" * 64).to_csv(path, index=False)
    with pytest.raises(UserError, match="differs from the recorded noise"):
        write_baseline(tiny_config, JOB, run_copy, processes=1)


@needs(KODAK)
def test_cbm3d_has_its_known_psnr_on_the_first_kodak_image():
    clean = read_image(KODAK / "kodim01.png") / 255
    noisy = clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape)
    denoised = np.clip(cbm3d_batch([noisy], sigma=25)[0].astype(float), 0, 1)
    assert peak_signal_noise_ratio(clean, denoised, data_range=1) == pytest.approx(29.27, abs=0.05)


def test_of_the_files_of_all_shards_one_is_open(tiny_config, run_copy):
    ids = load_split(run_copy.data("denoising"), "test").ids
    paths = write_shards(tiny_config, run_copy, 2)
    denoised = DenoisedImages(paths, ids)
    for name in (*ids, ids[0]):
        assert denoised[name].shape == (40, 40, 3)
        files = {Path(file.path) for file in psutil.Process().open_files()}
        assert len(files & set(paths)) == 1
