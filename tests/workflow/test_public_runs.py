"""`config/paper.yaml` and `config/public.yaml` from downloads to the report, on tiny archives.

The networks have their full size. The test process patches the digests and counts of the catalogue,
downloads, verifies and unpacks the tiny archives, and the workflow then finds complete sets.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_sets
import torch
import torchvision
from misbehaving_server import serve
from settings import shipped, write_settings
from workflow_runs import finish

from dhl.config.catalogue import CATALOGUE, DataSet
from dhl.config.methods import PARTS, TASKS
from dhl.data.classification import IMAGENETTE
from dhl.data.download import fetch
from dhl.run.manifest import verify
from dhl.run.results import SENSITIVITY_COLUMNS, TABLE_COLUMNS, read_csv

pytestmark = pytest.mark.slow
SIGMA = 30
TEST_IMAGES = {"denoising": 24, "classification": 3, "segmentation": 2}
BROKEN = "n01440764/ILSVRC2012_val_00000001.JPEG"
WEIGHTS = {
    name: CATALOGUE[name].archives[0].name for name in ("vgg16-imagenet", "resnet50-imagenet")
}
CREDITS = {
    "public": ("Kodak", "Berkeley Segmentation", "fast.ai", "PASCAL", "Semantic Boundaries"),
    "paper": ("Kodak", "Berkeley Segmentation", "Russakovsky", "PASCAL", "Semantic Boundaries"),
}


def make_extracted(root: Path) -> None:
    """Write all sets in their extracted form, with one damaged image of Imagenette."""
    tiny_sets.make_kodak(root)
    tiny_sets.make_bsds500(root, height=48)
    tiny_sets.make_imagenette(root)
    broken = root / "imagenette/imagenette2/val" / BROKEN
    broken.write_bytes(broken.read_bytes()[:200])
    tiny_sets.make_voc2012(root)
    tiny_sets.make_sbd(root)
    tiny_sets.make_ilsvrc2012(root / "ilsvrc2012")
    torch.manual_seed(0)
    for name, file in WEIGHTS.items():
        (root / name).mkdir()
        network = getattr(torchvision.models, name.removesuffix("-imagenet"))()
        torch.save(network.state_dict(), root / name / file)


def pack_all(extracted: Path, to: Path) -> None:
    """Make the archives of all sets; Kodak and the weights are plain files."""
    for path in (extracted / "kodak").iterdir():
        shutil.copy(path, to / path.name)
    tiny_sets.pack_sets(extracted, to)
    tiny_sets.pack_ilsvrc2012(extracted / "ilsvrc2012", to)
    for name, file in WEIGHTS.items():
        (extracted / name / file).rename(to / file)


def shrunk(name: str, archives: Path, *, extracted: Path, address: str) -> DataSet:
    """Return a set of the catalogue with the digests, URLs and counts of its tiny archives."""
    real, tiny = CATALOGUE[name], []
    for archive in real.archives:
        file = archives / archive.name
        digest = archive.digest
        if digest is not None:
            algorithm = digest.partition(":")[0]
            with open(file, "rb") as content:
                digest = f"{algorithm}:{hashlib.file_digest(content, algorithm).hexdigest()}"
        urls = (f"{address}/{archive.name}",) if archive.urls else ()
        tiny.append(replace(archive, urls=urls, digest=digest, bytes=file.stat().st_size))
    counts = {pattern: len(list((extracted / name).glob(pattern))) for pattern in real.members}
    members = {pattern: count or 1 for pattern, count in counts.items()}
    return replace(real, archives=tuple(tiny), members=members)


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Iterator[Path]:
    """The data root with all sets, downloaded, verified and unpacked."""
    base = tmp_path_factory.mktemp("sets")
    extracted, archives, root = (base / name for name in ("extracted", "archives", "root"))
    archives.mkdir()
    make_extracted(extracted)
    pack_all(extracted, archives)
    names = ("kodak", "bsds500", "imagenette", "voc2012", "sbd", "ilsvrc2012", *WEIGHTS)
    local = {name: [str(archives)] for name in ("ilsvrc2012", *WEIGHTS)}
    with serve() as site, pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "*")
        for path in archives.iterdir():
            if path.suffix != ".pth":
                site.files[f"/{path.name}"] = path.read_bytes()
        for name in names:
            tiny = shrunk(name, archives, extracted=extracted, address=site.address)
            patch.setitem(CATALOGUE, name, tiny)
            fetch(name, root=root, mirrors=local)
        assert len(site.paths) == 24 + 4
    yield root
    shutil.rmtree(base)


def reduced(run: str, root: Path) -> dict:
    """Return a configuration with one sigma, few images, and one step of each training."""
    options = {"threads": 1, "workers": 0, "device": "cpu", "downloads": {"root": str(root)}}
    content = shipped(run, **options)
    data = content["parts"]["classification"]["data"]
    data |= {"train_images": 20, "test_images": TEST_IMAGES["classification"]}
    if run == "paper":
        data |= {"path": str(root.parent / "archives"), "complete": False}
    else:
        data["damaged"] = "skip"
    if "sensitivity" in content:
        content["sensitivity"] |= {"sigma": SIGMA, "weight_factors": [10], "mismatch": []}
    recipes = {"denoising": ("separate",), "classification": ("joint", "retrained"),
               "segmentation": ("task_network", "joint", "retrained")}  # fmt: skip
    for part, names in recipes.items():
        settings = content["parts"][part]
        settings |= {"sigmas": [SIGMA], "shards": 2}
        training = settings.setdefault("training", {})
        few = {"steps": 2, "batch": 2} if part == "denoising" else {"steps": 1, "batch": 1}
        for name in {*names, *training}:
            training[name] = training.get(name, {}) | few
    return content


@pytest.fixture(scope="module", params=["public", "paper"])
def run(request, sets, tmp_path_factory) -> Iterator[Path]:
    """The folder of a complete run."""
    folder = tmp_path_factory.mktemp(request.param)
    file = write_settings(folder / f"{request.param}.yaml", reduced(request.param, sets))
    finish(folder, "report", "--configfile", file)
    yield folder / "results" / request.param
    shutil.rmtree(folder)


def test_downloads_have_receipts_that_count_the_unpacked_files(run, sets):
    names = {path.stem for path in (run / "downloads").iterdir()}
    classified = {"public": "imagenette", "paper": "ilsvrc2012"}[run.name]
    weights = {"public": set(WEIGHTS), "paper": {"vgg16-imagenet"}}[run.name]
    assert names == {"kodak", "bsds500", classified, "voc2012", "sbd", *weights}
    for name in names:
        receipt = json.loads((run / f"downloads/{name}.json").read_text())
        files = [path for path in (sets / name).rglob("*") if path.is_file()]
        assert receipt["files"] == len(files) - 1  # the list of files itself
        assert receipt["archives"]


def test_every_method_has_a_row_of_every_test_image(run):
    parts = shipped(run.name)["parts"]
    skipped = pd.read_csv(run / "data/classification.skipped.csv")
    counts = TEST_IMAGES | {"classification": TEST_IMAGES["classification"] - len(skipped)}
    for number, part in enumerate(PARTS, 1):
        rows = pd.read_csv(run / f"evaluation/{part}/sigma{SIGMA}.csv")
        images = rows.groupby("method")["image_id"].nunique()
        assert set(images) == {counts[part]}
        assert len(rows) == images.sum()
        assert set(parts[part]["methods"]) <= set(images.index)  # the others are of the studies
        table = read_csv(run / f"tables/table{number}.csv", TABLE_COLUMNS)
        averages = table[table["image_id"] == "average"]
        assert set(averages["method"]) == set(parts[part]["methods"])
        assert (averages["n"] == counts[part]).all()


def test_targets_are_indices_of_the_thousand_classes_of_imagenet(run):
    with np.load(run / "data/classification.npz") as data:
        assert int(data["classes"]) == 1000
        # ILSVRC's test images are in one folder; `test_classification.py` has their targets.
        for split in ("train", "test") if run.name == "public" else ("train",):
            synsets = [Path(os.fsdecode(path)).parent.name for path in data[f"{split}/paths"]]
            indices = tiny_sets.imagenet_synsets()
            assert data[f"{split}/targets"].tolist() == [indices[name] for name in synsets]
        if run.name == "public":
            assert set(data["train/targets"].tolist()) == set(IMAGENETTE.values())
    with np.load(run / f"evaluation/classification/sigma{SIGMA}.npz") as arrays:
        assert arrays["probability/joint/0"].shape == (1000,)


def state(run: Path, key: str) -> dict[str, torch.Tensor]:
    return torch.load(run / f"models/{key}.pt", mmap=True)["state"]


def test_task_networks_begin_with_the_downloaded_weights(run, sets):
    weights = torch.load(sets / "vgg16-imagenet/vgg16-397923af.pth", mmap=True)
    classifier, segmenter = state(run, "classifier/clean"), state(run, "segmenter/clean")
    for name, weight in weights.items():
        assert torch.equal(classifier[f"network.{name}"], weight)
    # One step at the learning rate of 0.001 changes a weight only slightly.
    for name in ("features.0.weight", "features.28.weight"):
        spread = float(weights[name].std())
        assert 0 < float((segmenter[name] - weights[name]).std()) < 0.1 * spread
    retrained = state(run, f"retrained-classification/sigma{SIGMA}")
    assert not torch.equal(retrained["network.features.0.weight"], weights["features.0.weight"])


@pytest.mark.parametrize("task", TASKS)
def test_joint_training_has_finite_losses_and_changes_only_the_denoiser(run, task):
    curve = pd.read_csv(run / f"training/joint-{task}/sigma{SIGMA}.csv")
    losses = curve[["loss", "reconstruction_loss", "task_loss"]].to_numpy()
    assert len(curve) and np.isfinite(losses).all() and (losses > 0).all()
    separate = state(run, f"separate/sigma{SIGMA}")
    joint = state(run, f"joint-{task}/sigma{SIGMA}")
    assert set(joint) == set(separate)
    assert any(not torch.equal(joint[name], separate[name]) for name in joint)


def test_the_public_run_combines_each_denoiser_with_another_classifier(run, sets):
    assert (run / "sensitivity.csv").exists() == (run.name == "public")
    if run.name == "public":
        weights = torch.load(sets / "resnet50-imagenet" / WEIGHTS["resnet50-imagenet"], mmap=True)
        further = state(run, "classifier-resnet50/clean")
        name = "layer4.2.conv3.weight"
        assert torch.equal(further[f"network.{name}"], weights[name])
        table = read_csv(run / "sensitivity.csv", SENSITIVITY_COLUMNS)
        rows = table[table["reader"] == "classifier-resnet50/clean"]
        assert rows["value"].notna().all()
        assert "joint-classification-resnet50/sigma30" in set(rows["denoiser"])


def test_the_report_credits_the_data_and_counts_it(run):
    page = (run / "report/index.html").read_text()
    for credit in CREDITS[run.name]:
        assert credit in page
    for number in (1, 2, 3):
        assert f"Table {number}." in page
    assert "6 images to train on, 24 to test" in page
    assert "6 images to train on, 2 to test" in page
    kept = 2 if run.name == "public" else 3  # one image is damaged
    assert f"20 images to train on, {kept} to test" in page
    assert ("data/classification.skipped.csv</code>" in page) == (run.name == "public")
    assert verify(run) == []
