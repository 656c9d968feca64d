"""Evaluation: rows and arrays against metrics of the saved images, and batches of many images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.color import rgb2yiq
from skimage.filters import prewitt
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tiny_sets import write_picture
from torch import nn
from torch.nn import functional as F

from dhl.config.methods import PARTS, TASKS
from dhl.config.parse import parse_config
from dhl.data.image_set import ImageSet, load_split
from dhl.data.prepare import write_data, write_noise
from dhl.errors import UserError
from dhl.evaluation import evaluate as evaluation
from dhl.evaluation.evaluate import Bench, CollectedArrays, evaluate
from dhl.run.model_keys import task_network_key
from dhl.run.results import IMAGE_COLUMNS, NOISE_COLUMNS, read_csv

SIGMA = 30


def results(folder, part: str) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Read rows and arrays of a part."""
    path = folder.evaluation(part, SIGMA)
    with np.load(path.with_suffix(".npz")) as arrays:
        return read_csv(path, IMAGE_COLUMNS), dict(arrays)


@pytest.mark.parametrize("part", PARTS)
def test_there_is_one_row_per_method_and_image_in_the_order_of_the_configuration(
    tiny_config, tiny_run, part
):
    rows, arrays = results(tiny_run, part)
    methods = tiny_config.parts[part].methods
    ids = load_split(tiny_run.data(part), "test").ids
    assert list(rows["method"]) == [method for method in methods for _ in ids]
    assert list(rows["image_id"]) == list(ids) * len(methods)
    assert list(arrays["image_ids"]) == list(ids)
    for column, value in {
        "protocol": "authors", "dataset": "photo-digits", "part": part, "sigma": SIGMA,
    }.items():  # fmt: skip
        assert set(rows[column]) == {value}
    noise = read_csv(tiny_run.noise(part, SIGMA), NOISE_COLUMNS)
    assert rows["noise_seed"].tolist() == noise["seed"].tolist() * len(methods)
    no_psnr = set(rows.loc[rows["psnr"].isna(), "method"])
    assert no_psnr == {"clean", "retrained"} & set(methods)


@pytest.mark.parametrize("part", PARTS)
def test_psnr_equals_scikit_image_on_the_saved_images(tiny_run, part):
    rows, arrays = results(tiny_run, part)
    rows = rows.set_index(["method", "image_id"])
    checked = 0
    for name, picture in arrays.items():
        if not name.startswith("image/"):
            continue
        _, method, number = name.split("/")
        row = rows.loc[method, arrays["example_ids"][int(number)]]
        if method in ("clean", "retrained"):
            continue
        inner = np.s_[3:-3, 3:-3]
        clean = arrays[f"clean/{number}"][inner]
        expected = peak_signal_noise_ratio(clean, picture[inner], data_range=255)
        assert row["psnr"] == pytest.approx(expected, abs=1e-6)
        if part == "denoising":
            similarity = structural_similarity(
                clean, picture[inner], data_range=255, channel_axis=-1,
                gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            )  # fmt: skip
            assert row["ssim"] == pytest.approx(similarity, abs=1e-6)
            grey, grey_clean = (rgb2yiq(one / 255)[..., 0] for one in (picture[inner], clean))
            ratio = prewitt(grey)[1:-1, 1:-1].mean() / prewitt(grey_clean)[1:-1, 1:-1].mean()
            assert row["gradient"] == pytest.approx(ratio, rel=1e-6)
            assert 0 < row["gmsd"] < 0.5
        checked += 1
    assert checked == rows["psnr"].notna().sum()  # every image of the tiny run is an example


def test_top_1_and_top_5_follow_from_the_saved_probabilities(tiny_run):
    rows, arrays = results(tiny_run, "classification")
    rows = rows.set_index(["method", "image_id"])
    for name, probabilities in arrays.items():
        if name.startswith("probability/"):
            _, method, number = name.split("/")
            row = rows.loc[method, arrays["example_ids"][int(number)]]
            order = np.argsort(-probabilities).tolist()
            rank = order.index(arrays[f"labels/{number}"])
            assert (row["top1"], row["top5"]) == (float(rank < 1), float(rank < 5))
            expected = -np.log(probabilities[arrays[f"labels/{number}"]])
            assert row["cross_entropy"] == pytest.approx(expected, abs=1e-5)
            assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_confusion_matrices_count_every_pixel_once(tiny_config, tiny_run):
    _, arrays = results(tiny_run, "segmentation")
    truth = load_split(tiny_run.data("segmentation"), "test").targets
    for method in tiny_config.parts.segmentation.methods:
        counts = arrays[f"confusion/{method}"]
        assert counts.dtype == np.int32
        assert (counts.sum((1, 2)) == 48 * 48).all()
        for image, labels in zip(counts, truth, strict=True):
            np.testing.assert_array_equal(image.sum(1), np.bincount(labels.ravel(), minlength=11))
        for number in range(6):
            predicted = arrays[f"prediction/{method}/{number}"]
            np.testing.assert_array_equal(
                counts[number].sum(0), np.bincount(predicted.ravel(), minlength=11)
            )
            assert np.trace(counts[number]) == (predicted == truth[number]).sum()


@pytest.mark.parametrize("part", PARTS)
def test_the_batch_size_changes_no_psnr_and_no_prediction_without_rounding_to_levels(
    tiny_content, run_copy, part
):
    tiny_content["evaluation"]["protocol"] = "plain"
    found = []
    for batch in (1, 7):
        tiny_content["evaluation"]["batch"] = batch
        evaluate(parse_config(tiny_content, source="tiny.yaml"), part, SIGMA, run_copy)
        found.append(results(run_copy, part))
    (one, one_arrays), (seven, seven_arrays) = found
    np.testing.assert_allclose(one["psnr"], seven["psnr"], rtol=0, atol=1e-6)
    for name in ("top1", "top5"):
        pd.testing.assert_series_equal(one[name], seven[name])
    for name in one_arrays:
        if name.startswith(("prediction/", "confusion/")):
            np.testing.assert_array_equal(one_arrays[name], seven_arrays[name])


class Spy(nn.Module):
    """Remembers what a network is given and what it returns."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.given, self.returned = network, [], []

    def forward(self, images):
        self.given.append(images.clone())
        self.returned.append(self.network(images))
        return self.returned[-1]


def spied_bench(monkeypatch) -> list[Bench]:
    """Wrap the networks of every bench that is built later in spies; return these benches."""
    benches = []
    build = Bench.__init__

    def spying(self, *arguments, **options):
        build(self, *arguments, **options)
        self.networks = {name: Spy(network) for name, network in self.networks.items()}
        benches.append(self)

    monkeypatch.setattr(Bench, "__init__", spying)
    return benches


@pytest.mark.parametrize("part", PARTS)
def test_every_method_sees_the_recorded_noisy_pixels(tiny_config, run_copy, monkeypatch, part):
    benches = spied_bench(monkeypatch)
    evaluate(tiny_config, part, SIGMA, run_copy)
    recorded = read_csv(run_copy.noise(part, SIGMA), NOISE_COLUMNS)["sha256"].tolist()
    for key, spy in benches[0].networks.items():
        if key in map(task_network_key, TASKS):
            continue
        digests = [
            hashlib.sha256(image.permute(1, 2, 0).contiguous().numpy().tobytes()).hexdigest()
            for image in torch.cat(spy.given)
        ]
        assert digests == recorded, key


@pytest.mark.parametrize("part", TASKS)
def test_the_task_network_reads_what_the_denoiser_returns_unclipped(
    tiny_config, run_copy, monkeypatch, part
):
    benches = spied_bench(monkeypatch)
    evaluate(tiny_config, part, SIGMA, run_copy)
    (bench,), reader = benches, task_network_key(part)
    sources = {one.name: one.source for one in bench.experiments if one.task_network == reader}
    in_order = sorted(sources, key=sources.get)
    read = dict(zip(in_order, bench.networks[reader].given, strict=True))
    for method in ("separate", "separate-matched", "joint", "cross"):
        assert torch.equal(read[method], bench.networks[sources[method]].returned[0]), method
    clean = load_split(run_copy.data(part), "test").images
    np.testing.assert_allclose(read["clean"].permute(0, 2, 3, 1), clean / 255, atol=1e-6)
    assert read["noisy"].min() < 0
    assert read["noisy"].max() > 1
    assert read["separate"].min() < 0  # a denoiser's output leaves the range, too


@pytest.mark.parametrize("part", TASKS)
def test_cross_entropy_is_that_of_the_task_networks_output(
    tiny_config, run_copy, monkeypatch, part
):
    benches = spied_bench(monkeypatch)
    evaluate(tiny_config, part, SIGMA, run_copy)
    (bench,), reader = benches, task_network_key(part)
    by_source = sorted(bench.experiments, key=lambda one: one.source)
    in_order = [one.name for one in by_source if one.task_network == reader]
    targets = torch.from_numpy(load_split(run_copy.data(part), "test").targets).long()
    rows, _ = results(run_copy, part)
    for method, logits in zip(in_order, bench.networks[reader].returned, strict=True):
        losses = F.cross_entropy(logits.double(), targets, reduction="none")
        expected = losses.flatten(1).mean(1) if losses.ndim > 1 else losses
        found = rows.loc[rows["method"] == method, "cross_entropy"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=method)


def test_changed_pixels_are_refused(tiny_config, run_copy):
    path = run_copy.noise("denoising", SIGMA)
    noise = pd.read_csv(path)
    noise.loc[2, "sha256"] = "0" * 64
    noise.to_csv(path, index=False)
    with pytest.raises(UserError) as error:
        evaluate(tiny_config, "denoising", SIGMA, run_copy)
    assert noise.loc[2, "image_id"] in error.value.mistake + error.value.came


def test_a_model_of_another_configuration_is_refused(tiny_content, run_copy):
    tiny_content["parts"]["denoising"]["training"]["separate"]["optimizer"]["lr"] *= 2
    config = parse_config(tiny_content, source="tiny.yaml")
    with pytest.raises(UserError, match=r"another configuration"):
        evaluate(config, "denoising", SIGMA, run_copy)


@pytest.mark.parametrize("kind", ["data", "noise", "model", "baseline"])
def test_a_missing_file_is_named(tiny_config, run_copy, kind):
    path = {
        "data": run_copy.data("denoising"),
        "noise": run_copy.noise("denoising", SIGMA),
        "model": run_copy.model("dncnn/sigma30"),
        "baseline": run_copy.baseline("denoising", "cbm3d", SIGMA),
    }[kind]
    path.unlink()
    with pytest.raises(UserError) as caught:
        evaluate(tiny_config, "denoising", SIGMA, run_copy)
    assert str(path) in str(caught.value)


def test_pictures_of_several_sizes_are_measured(tiny_content, run_copy, tmp_path):
    for index, (height, width) in enumerate(((30, 41), (30, 41), (23, 37))):
        write_picture(tmp_path / f"pictures/p{index}.png", height=height, width=width)
    data = {"kind": "folder", "name": "mine", "test": str(tmp_path / "pictures")}
    part = tiny_content["parts"]["denoising"] | {"data": data, "methods": ["noisy"]}
    tiny_content["parts"] = {"denoising": part}
    config = parse_config(tiny_content, source="mine.yaml")
    write_data(config, "denoising", run_copy)
    write_noise(config, "denoising", SIGMA, run_copy)
    evaluate(config, "denoising", SIGMA, run_copy)
    rows, arrays = results(run_copy, "denoising")
    assert list(rows["image_id"]) == ["p0", "p1", "p2"]
    assert set(rows["dataset"]) == {"mine"}
    for number in range(3):
        inner = np.s_[3:-3, 3:-3]
        expected = peak_signal_noise_ratio(
            arrays[f"clean/{number}"][inner], arrays[f"image/noisy/{number}"][inner], data_range=255
        )
        assert rows["psnr"][number] == pytest.approx(expected, abs=1e-6)


def test_examples_are_spread_over_the_set(tiny_run):
    images = load_split(tiny_run.data("classification"), "train")
    arrays = CollectedArrays(images, "classification", ["noisy"], examples=4)
    assert arrays.examples == [0, 7, 15, 23]


class Lazy(Sequence):
    """Images that are read on request, and a record of the requests."""

    def __init__(self, arrays):
        self.arrays, self.read = arrays, []

    def __len__(self):
        return len(self.arrays)

    def __getitem__(self, positions):
        if isinstance(positions, slice):
            self.read.append(range(len(self))[positions])
            return list(self.arrays[positions])
        return self.arrays[positions]


@pytest.mark.parametrize("part", PARTS)
def test_images_are_read_once_for_all_methods_and_a_batch_at_a_time(
    tiny_content, tiny_run, run_copy, monkeypatch, part
):
    tiny_content["evaluation"]["batch"] = 5
    config = parse_config(tiny_content, source="tiny.yaml")
    evaluate(config, part, SIGMA, run_copy)
    path = run_copy.evaluation(part, SIGMA)
    eager = path.read_bytes(), path.with_suffix(".npz").read_bytes()
    images = load_split(tiny_run.data(part), "test")
    targets = Lazy(images.targets) if part == "segmentation" else images.targets
    lazy = ImageSet(images.ids, Lazy(images.images), targets)
    monkeypatch.setattr(evaluation, "load_split", lambda *_: lazy)
    evaluate(config, part, SIGMA, run_copy)
    assert (path.read_bytes(), path.with_suffix(".npz").read_bytes()) == eager
    for asked in [lazy.images.read, *([targets.read] if part == "segmentation" else [])]:
        assert max(map(len, asked)) <= 5
        assert [index for positions in asked for index in positions] == list(range(len(images)))
