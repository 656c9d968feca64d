"""The plan against Snakemake's own job count, torch's count on real steps, and measured times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from settings import changed

from dhl.cli.parser import build_parser, main
from dhl.config.data import KINDS
from dhl.config.data_sets import DataSet
from dhl.config.parse import load_config, parse_config
from dhl.errors import UserError
from dhl.planning import plan
from dhl.planning.devices import DEVICES, choose_device, device_warnings
from dhl.planning.image_counts import extent
from dhl.planning.operations import network_size, training_flops
from dhl.planning.plan import cbm3d_seconds, make_plan
from dhl.planning.text import to_json, to_text
from dhl.run.model_graph import model_spec

PROJECT = Path(__file__).parents[2]
MINI, SMOKE = (load_config(PROJECT / f"config/{name}.yaml") for name in ("mini", "smoke"))

# GFLOP of one training step of `mini`, counted on real steps: benchmarks/README.md.
STEPS = {
    "dncnn-start/all": 7.1, "dncnn/sigma30": 7.1, "separate-start/all": 5.5,
    "separate/sigma30": 5.5, "classifier/clean": 14.7, "joint-classification/sigma30": 18.9,
    "segmenter/clean": 18.8, "joint-segmentation/sigma30": 18.8,
    "matched-classification/sigma30": 14.0, "retrained-classification/sigma30": 14.7,
    "matched-segmentation/sigma30": 12.5, "retrained-segmentation/sigma30": 18.8,
}  # fmt: skip


@pytest.fixture(scope="module")
def plan_of_mini():
    """The plan of `mini` on the machine of the reference run."""
    return make_plan(MINI, DEVICES["cpu-2"])


def sides(spec) -> tuple[int, int]:
    """Return height and width of what a step of `mini` reads."""
    side = spec.recipe.patch or getattr(MINI.data, spec.part).size
    return side, side


def frozen_of(spec):
    """Return the task network behind a joint denoiser."""
    return model_spec(MINI, spec.frozen) if spec.frozen else None


@pytest.mark.parametrize(("key", "gigaflops"), STEPS.items())
def test_a_training_step_takes_the_operations_that_were_counted_on_a_real_one(key, gigaflops):
    spec = model_spec(MINI, key)
    flops = spec.recipe.batch * training_flops(spec, frozen_of(spec), *sides(spec))
    assert round(flops / 1e9, 1) == gigaflops


def test_training_takes_three_forward_passes_and_a_frozen_network_two():
    spec = model_spec(MINI, "joint-segmentation/sigma30")
    behind = frozen_of(spec)
    denoiser, segmenter = (network_size(one, 64, 64).flops for one in (spec, behind))
    flops = training_flops(spec, behind, 64, 64)
    assert flops == pytest.approx(3 * denoiser + 2 * segmenter, rel=0.01)
    assert flops < 3 * denoiser + 2 * segmenter  # no gradient of the noisy image


def test_depthwise_convolutions_take_three_passes_too(tiny_content):
    network = {"name": "efficientnet-lite0"}
    config = parse_config(
        changed(tiny_content, "parts.classification.task_network", network), source="tiny.yaml"
    )
    spec = model_spec(config, "classifier/clean")
    no_gradient = 2 * 27 * 32 * 16 * 16  # of the image itself: the stem's 3 x 3, to 32 channels
    assert training_flops(spec, None, 32, 32) == 3 * network_size(spec, 32, 32).flops - no_gradient


@pytest.mark.parametrize(
    ("key", "path", "value", "flops"),
    [
        (
            "classifier/clean",
            "parts.classification.task_network",
            {"name": "resnet50"},
            495_771_648,
        ),
        ("separate/sigma30", "parts.denoising.training.separate.patch", 8, 367_200),
    ],
)
def test_what_shrinks_an_image_to_one_pixel_is_counted_as_on_real_batches(
    tiny_content, key, path, value, flops
):
    config = parse_config(changed(tiny_content, path, value), source="tiny.yaml")
    spec = model_spec(config, key)
    side = spec.recipe.patch or 32
    assert training_flops(spec, None, side, side) == flops  # a fifth of a real batch of five


def test_a_network_has_the_operations_of_its_formula_and_the_published_parameters(tiny_content):
    tiny_content["networks"] = {}  # the full-size denoiser and DnCNN
    config = parse_config(tiny_content, source="tiny.yaml")
    dncnn = network_size(model_spec(config, "dncnn/sigma30"), 32, 48)
    macs = 9 * (3 * 64 + 15 * 64 * 64 + 64 * 3)  # 17 convolutions of 3x3, 64 channels
    assert dncnn.flops == 2 * macs * 32 * 48
    assert network_size(model_spec(config, "separate/sigma30"), 32, 48).parameters == 1_033_443


def test_job_counts_are_snakemakes_own(tmp_path):
    content = yaml.safe_load((PROJECT / "config/smoke.yaml").read_text())
    content["parts"]["classification"]["methods"] = [
        *content["parts"]["classification"]["methods"],
        "cbm3d-2020",
    ]
    content["parts"]["segmentation"]["sigmas"] = [15, 30]
    content["sensitivity"]["mismatch"] = ["segmentation"]
    content["seeds"] = 3
    content["evaluation"] = {"baseline_shards": {"classification": 3, "segmentation": 2}}
    path = tmp_path / "smoke.yaml"
    path.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "snakemake", "report", "--dry-run", "--cores", "1",
               "--snakefile", PROJECT / "Snakefile", "--directory", tmp_path,
               "--configfile", path]  # fmt: skip
    result = subprocess.run(
        command, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)}, text=True,
        capture_output=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    table = (result.stdout + result.stderr).split("Job stats:")[1].split("total")[0]
    rows = [line.split() for line in table.splitlines()[3:] if line.split()]
    counted = {name: int(count) for name, count in rows}
    assert counted["baseline"] == 1 + 2 * 3 + 2 * 2
    assert counted["probe"] == 2 * 3 + 3  # both tasks at one sigma, and mismatched segmentation
    assert make_plan(load_config(path), DEVICES["h100"]).jobs == counted


def test_the_estimates_for_mini_are_near_the_times_that_were_measured():
    measured = MINI.model_copy(update={"sensitivity": None})  # before there were any
    rows = make_plan(measured, DEVICES["cpu-2"]).rows
    seconds = {
        rule: 3600 * sum(getattr(row, column) for row in rows if row.rule == rule)
        for rule, column in (("train", "device_hours"), ("evaluate", "device_hours"),
                             ("baseline", "cpu_hours"))
    }  # fmt: skip
    # benchmarks/README.md: seconds of computing; of one core, of which the device has two.
    assert seconds["train"] == pytest.approx(1029 / 2, rel=0.1)
    assert seconds["evaluate"] == pytest.approx(224 / 2, rel=0.25)
    assert seconds["baseline"] == pytest.approx(292, rel=0.15)


@pytest.mark.parametrize(
    ("method", "pixels", "seconds"),
    [("cbm3d", 32 * 32, 0.015), ("cbm3d", 768 * 512, 12), ("cbm3d", 2 * 768 * 512, 24),
     ("cbm3d", 8 * 8, 0.015), ("cbm3d-2020", 32 * 32, 0.9), ("cbm3d-2020", 768 * 512, 47)],
)  # fmt: skip
def test_cbm3d_takes_what_was_measured_and_grows_with_the_pixels(method, pixels, seconds):
    assert cbm3d_seconds(method, pixels) == pytest.approx(seconds, rel=0.01)


PUBLIC_DATA = {
    "denoising": {"kind": "folder", "name": "kodak24", "train": "bsds500", "test": "kodak"},
    "classification": {"kind": "ilsvrc2012"},
    "segmentation": {"kind": "voc2012", "extra": "sbd"},
}


def data_of(settings: dict) -> DataSet:
    """Return the model of the data of one part."""
    return KINDS[settings["kind"]](**settings)


def test_a_run_on_public_data_is_planned_without_having_it(tiny_content, tmp_path):
    tiny_content["parts"]["classification"]["methods"].append("cbm3d")
    tiny_content["parts"]["classification"]["training"]["task_network"]["patch"] = 224
    for section in ("task", "joint", "retrained"):
        tiny_content["training"][section]["segmentation"]["patch"] = 320
    imagenet = PUBLIC_DATA["classification"] | {"path": str(tmp_path)}
    tiny_content["data"] = PUBLIC_DATA | {"classification": imagenet}
    config = parse_config(tiny_content, source="tiny.yaml")
    made = make_plan(config, DEVICES["h100"])
    rows = {(row.rule, row.what): row for row in made.rows}
    cbm3d = rows["baseline", "cbm3d, classification"]
    assert cbm3d.disk_bytes == 50_000 * 224 * 224 * 3 * 4
    assert cbm3d.cpu_hours == pytest.approx(50_000 * 224 * 224 * 3.05e-5 / 3600, rel=0.02)
    assert rows["baseline", "cbm3d, denoising"].disk_bytes == 24 * 768 * 512 * 3 * 4
    assert rows["data", "denoising"].disk_bytes == 3 * (400 * 321 * 481 + 24 * 768 * 512)
    assert rows["data", "classification"].disk_bytes == 0  # the files stay where they are
    assert "1,281,167 to train" in rows["data", "classification"].work
    assert [row.what for row in made.rows if row.rule == "download"] == [
        "kodak", "bsds500", "voc2012", "sbd",
    ]  # fmt: skip
    assert 3e9 < made.download_bytes < 5e9
    (tmp_path / "ILSVRC2012_img_val.tar").touch()  # official archives: unpacked, not downloaded
    again = make_plan(config, DEVICES["h100"])
    assert again.jobs["download"] == made.jobs["download"] + 1
    assert again.download_bytes == made.download_bytes
    assert again.totals["disk_bytes"] - made.totals["disk_bytes"] > 150e9
    assert rows["train", "segmenter"].cpu_hours > 0  # photographs must be decoded


def test_published_weights_are_stored_and_not_trained(tiny_config, monkeypatch):
    def untrained(config, key):
        spec = model_spec(config, key)
        return replace(spec, recipe=None) if key == "classifier/clean" else spec

    monkeypatch.setattr(plan, "model_spec", untrained)
    rows = {row.what: row for row in make_plan(tiny_config, DEVICES["h100"]).rows}
    classifier = rows["classifier"]
    assert (classifier.jobs, classifier.work, classifier.flops) == (1, "published weights", 0)
    parameters = network_size(model_spec(tiny_config, "classifier/clean"), 32, 32).parameters
    assert classifier.disk_bytes == 4 * parameters


@pytest.mark.parametrize(
    ("data", "train", "test"),
    [
        ({"kind": "photo-digits", "train": 7, "validation": 1, "test": 5, "size": 32},
         (7, 32, 32), (5, 32, 32)),
        ({"kind": "folder", "name": "k", "test": "kodak"}, None, (24, 512, 768)),
        ({"kind": "folder", "name": "k", "train": "bsds500", "test": "kodak"},
         (400, 321, 481), (24, 512, 768)),
        ({"kind": "imagenette", "crop": 224}, (12_894, 224, 224), (500, 224, 224)),
        ({"kind": "imagenette", "crop": 160, "train_images": 100, "test_images": 50},
         (100, 160, 160), (50, 160, 160)),
        ({"kind": "ilsvrc2012", "path": "/nowhere"}, (1_281_167, 224, 224), (50_000, 224, 224)),
        ({"kind": "voc2012", "extra": None}, (1_464, 375, 500), (1_449, 375, 500)),
        ({"kind": "voc2012", "extra": "sbd", "test_images": 9_999},
         (10_582, 375, 500), (1_449, 375, 500)),
    ],
)  # fmt: skip
def test_public_sets_have_their_published_counts(data, train, test):
    found = extent(data_of(data))
    sizes = [part and (part.count, part.height, part.width) for part in (found.train, found.test)]
    assert sizes == [train, test]


def write_pictures(folder: Path, *sizes: tuple[int, int], suffix: str = "png") -> None:
    """Write black pictures of some widths and heights."""
    folder.mkdir(parents=True)
    for index, (width, height) in enumerate(sizes):
        pixels = np.zeros((height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"p{index}.{suffix}")


def test_a_users_own_images_are_counted_and_measured(tmp_path):
    write_pictures(tmp_path / "test", (40, 20), (60, 40))
    (tmp_path / "test/notes.txt").write_text("no picture")
    own = data_of({"kind": "folder", "name": "own", "test": str(tmp_path / "test")})
    assert (extent(own).test.count, extent(own).test.height, extent(own).test.width) == (2, 30, 50)

    for name, count in (("a", 3), ("b", 2)):
        write_pictures(tmp_path / "classes" / name, *[(9, 9)] * count)
    classes = str(tmp_path / "classes")
    own = data_of({"kind": "image_folder", "name": "own", "test": classes, "crop": 32})
    assert (extent(own).train, extent(own).test.count, extent(own).test.height) == (None, 5, 32)

    for place in ("JPEGImages", "SegmentationClass"):
        write_pictures(tmp_path / "voc" / place, (50, 40), (50, 40), (50, 40))
    lists = tmp_path / "voc/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "mine.txt").write_text("p0 1\n")
    (lists / "theirs.txt").write_text("p1 -1\np2 1\n")
    voc = {"kind": "voc", "name": "own", "path": str(tmp_path / "voc")}
    own = data_of(voc | {"train": "theirs", "test": "mine"})
    assert (extent(own).train.count, extent(own).test.count, extent(own).test.width) == (2, 1, 50)


@pytest.mark.parametrize(
    "data",
    [{"kind": "folder", "test": "nowhere"},
     {"kind": "image_folder", "test": "nowhere", "crop": 32}],
)  # fmt: skip
def test_images_that_are_not_there_are_named(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no image in nowhere"):
        extent(data_of({"name": "own"} | data))


def test_the_program_plans_in_an_empty_folder_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--configfile", str(PROJECT / "config/smoke.yaml")]
    assert main(["plan", *options, "--device", "cpu-2"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("smoke: ")
    assert "two cores of an Intel Xeon" in text
    assert main(["plan", *options, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["jobs"]["train"] == 14
    assert content["device"]["label"] == DEVICES["h100"].label
    assert content["warnings"] == []
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_aligned_and_its_totals_are_the_sums_of_its_rows(plan_of_mini):
    rows = plan_of_mini.rows
    _, _, head, *lines = to_text(plan_of_mini).splitlines()
    lines = lines[: len(rows) + 1]
    place = head.index("work")
    for row, line in zip(rows, lines, strict=False):
        assert line.startswith(row.rule)
        assert line[place:].startswith(row.work)
        assert len(line) <= len(head)
    assert lines[-1].split()[:2] == ["total", str(sum(plan_of_mini.jobs.values()))]
    content = json.loads(to_json(plan_of_mini))
    for column in ("flops", "device_hours", "cpu_hours", "disk_bytes"):
        expected = sum(row[column] for row in content["rows"])
        assert content["totals"][column] == pytest.approx(expected)
        assert expected > 0


def test_a_given_rate_replaces_the_devices():
    totals = make_plan(SMOKE, choose_device(SMOKE, "cpu-2", 0.5)).totals
    assert totals["device_hours"] == pytest.approx(totals["flops"] / 0.5e12 / 3600)
    with pytest.raises(UserError, match="0 TFLOPS"):
        choose_device(SMOKE, "h100", 0)


@pytest.mark.parametrize(
    ("device", "amx", "expected"),
    [("auto", False, "h100"), ("cuda", False, "h100"), ("cuda:1", True, "h100"),
     ("cpu", True, "cpu-2"), ("cpu", False, "cpu-2-avx2"), ("mps", False, "cpu-2-avx2")],
)  # fmt: skip
def test_a_run_is_planned_for_the_device_of_its_configuration(monkeypatch, device, amx, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx})
    config = SMOKE.model_copy(update={"device": device})
    assert choose_device(config) == DEVICES[expected]
    assert choose_device(config, "v100") == DEVICES["v100"]


@pytest.mark.parametrize("name", DEVICES)
def test_float32_is_counted_at_the_rate_of_float32(name):
    device = choose_device(SMOKE.model_copy(update={"precision": "float32"}), name)
    assert (device.format, device.training) == ("float32", DEVICES[name].evaluation)
    assert device.training <= DEVICES[name].training


@pytest.mark.parametrize(
    ("device", "precision", "planned", "said"),
    [
        ("auto", "auto", "cpu-2", None),
        ("cpu", "auto", "cpu-2", None),
        ("cuda:1", "bfloat16", "a100", None),
        ("cpu", "auto", "h100", "`device: cpu` in the configuration, and the hours are of a GPU"),
        ("cuda", "auto", "cpu-2", "`device: cuda` in the configuration, and the hours are of a C"),
        ("mps", "auto", "cpu-2", "`device: mps`, of which nothing was measured"),
        ("cpu", "bfloat16", "cpu-2-avx2", "`precision: bfloat16`, which this device does not"),
    ],
)
def test_what_contradicts_the_configuration_is_said(device, precision, planned, said):
    config = SMOKE.model_copy(update={"device": device, "precision": precision})
    warnings = list(device_warnings(config, choose_device(config, planned)))
    assert [said in warning for warning in warnings] == ([] if said is None else [True])


def test_warnings_stand_last(plan_of_mini):
    assert to_text(plan_of_mini).splitlines()[-1].startswith("To download")
    warned = replace(plan_of_mini, warnings=("it is late.", "it is cold."))
    assert to_text(warned).splitlines()[-2:] == ["Warning: it is late.", "Warning: it is cold."]
    assert json.loads(to_json(warned))["warnings"] == ["it is late.", "it is cold."]


def test_every_device_can_be_asked_for():
    text = build_parser()._subparsers._group_actions[0].choices["plan"].format_help()
    assert f"{{{','.join(DEVICES)}}}" in text


def test_sigmas_that_a_warm_start_has_not_seen_are_named(tiny_content):
    tiny_content["parts"]["denoising"]["sigmas"] = [10, 20, 30]
    tiny_content["parts"]["denoising"]["training"]["warm_start"] |= {
        "sigma_low": 15,
        "sigma_high": 25,
    }
    config = parse_config(tiny_content, source="tiny.yaml")
    assert make_plan(config, DEVICES["cpu-2"]).warnings == tuple(
        f"denoisers of sigma 10, 30 start from `{name}-start`, which is not trained on that."
        for name in ("dncnn", "separate")
    )
    tiny_content["parts"]["denoising"]["training"]["warm_start"] |= {
        "sigma_low": 31,
        "sigma_high": 65,
    }
    with pytest.raises(UserError, match=r"start` with sigma 31 to 65, and `sigmas` 10, 20, 30 in"):
        parse_config(tiny_content, source="tiny.yaml")


def test_the_estimates_for_kodak_on_two_cores_are_near_the_times_that_were_measured(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "datasets/photos", (481, 321))
    config = load_config(PROJECT / "config/kodak-cpu.yaml")
    rows = make_plan(config, choose_device(config, "cpu-2-avx2")).rows
    hours = {row.what: row.device_hours for row in rows if row.rule == "train"}
    # Minutes of one core, of which the device has two: the file's head.
    for name, minutes in (("separate-start", 28), ("dncnn-start", 28), ("separate", 30),
                          ("dncnn", 30)):  # fmt: skip
        assert 120 * hours[name] == pytest.approx(minutes, rel=0.1)
