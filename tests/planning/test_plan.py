"""The plan against Snakemake's own job count, torch's count on real steps, and real runs' times."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from settings import changed

from dhl.cli.parser import main
from dhl.config.data import KINDS
from dhl.config.data_sets import DataSet
from dhl.config.parse import load_config, parse_config
from dhl.errors import UserError
from dhl.planning import machine, operations
from dhl.planning.image_counts import ImageCount, PartCounts, count_images
from dhl.planning.jobs import Job
from dhl.planning.machine import Machine, measure_machine
from dhl.planning.operations import (
    describe_workload,
    network_flops,
    parameter_count,
    training_flops,
)
from dhl.planning.plan import Plan, make_plan
from dhl.planning.schedule import wall_seconds
from dhl.planning.text import to_json, to_text
from dhl.run.model_graph import model_spec

PROJECT = Path(__file__).parents[2]
MINI, SMOKE = (load_config(PROJECT / f"config/{name}.yaml") for name in ("mini", "smoke"))
# As measured on two cores of an AMD EPYC (AVX2) for `smoke`, and for `mini` where it says so.
EPYC = Machine(
    device="AMD EPYC", cores=2, gpu_jobs=0, source="measured", start_seconds=4.0,
    start_without_torch_seconds=2.3, training_flops=30e9, evaluation_flops=23e9,
    cbm3d_seconds={"cbm3d, denoising": 0.24, "cbm3d, classification": 0.038,
                   "cbm3d, segmentation": 0.13},
)  # fmt: skip
# Seconds of a step of `mini`.
MINI_STEPS = {
    "dncnn-start": 0.233, "dncnn": 0.233, "separate-start": 0.199, "separate": 0.199,
    "classifier": 0.394, "joint-classification": 0.534, "segmenter": 0.53,
    "joint-segmentation": 0.53, "matched-classification": 0.404, "classifier-resnet": 0.183,
    "retrained-classification": 0.394, "matched-segmentation": 0.374, "segmenter-unet": 0.256,
    "retrained-segmentation": 0.53, "joint-classification-resnet": 0.44,
    "joint-segmentation-unet": 0.433,
}  # fmt: skip

# GFLOP of one training step of `mini`, counted on real steps: benchmarks/README.md.
STEP_GFLOPS = {
    "dncnn-start": 7.1, "dncnn": 7.1, "separate-start": 5.5, "separate": 5.5, "classifier": 14.7,
    "joint-classification": 18.9, "segmenter": 18.8, "joint-segmentation": 18.8,
    "matched-classification": 14.0, "retrained-classification": 14.7,
    "matched-segmentation": 12.5, "retrained-segmentation": 18.8,
}  # fmt: skip


@pytest.fixture(scope="module")
def mini():
    """The images and training steps of `mini`."""
    return describe_workload(MINI)


def plan_of(config) -> Plan:
    """Plan a configuration for two cores of an EPYC."""
    return make_plan(describe_workload(config), EPYC)


def flops_of(spec, height: int, width: int) -> int:
    """Return the operations of a model's forward pass."""
    return network_flops(spec.role, spec.build_options, height, width)


def test_a_training_step_has_the_operations_that_were_counted_on_a_real_one(mini):
    counted = {kind: round(mini.steps[kind].flops / 1e9, 1) for kind in STEP_GFLOPS}
    assert counted == STEP_GFLOPS


def test_training_takes_three_forward_passes_and_a_frozen_network_two():
    spec = model_spec(MINI, "joint-segmentation/sigma30")
    behind = model_spec(MINI, spec.frozen)
    denoiser, segmenter = (flops_of(one, 64, 64) for one in (spec, behind))
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
    assert training_flops(spec, None, 32, 32) == 3 * flops_of(spec, 32, 32) - no_gradient


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
def test_networks_that_shrink_an_image_to_one_pixel_are_counted_too(
    tiny_content, key, path, value, flops
):
    config = parse_config(changed(tiny_content, path, value), source="tiny.yaml")
    spec = model_spec(config, key)
    side = spec.recipe.patch or 32
    assert training_flops(spec, None, side, side) == flops  # a fifth of a real batch of five


def test_a_network_has_the_operations_of_its_formula_and_the_published_parameters(tiny_content):
    for network in ("denoiser", "dncnn"):
        del tiny_content["parts"]["denoising"][network]  # the default is of full size
    config = parse_config(tiny_content, source="tiny.yaml")
    macs = 9 * (3 * 64 + 15 * 64 * 64 + 64 * 3)  # 17 convolutions of 3x3, 64 channels
    assert flops_of(model_spec(config, "dncnn/sigma30"), 32, 48) == 2 * macs * 32 * 48
    assert parameter_count(model_spec(config, "separate/sigma30")) == 1_033_443


def test_job_counts_are_snakemakes_own(tmp_path):
    content = yaml.safe_load((PROJECT / "config/smoke.yaml").read_text())
    parts = content["parts"]
    parts["classification"]["methods"] = [*parts["classification"]["methods"], "cbm3d-2020"]
    parts["classification"]["shards"] = 3
    parts["segmentation"] |= {"sigmas": [15, 30], "shards": 2}
    content["sensitivity"]["mismatch"] = ["segmentation"]
    content["seeds"] = 3
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
    assert make_plan(describe_workload(load_config(path)), EPYC).job_counts == counted


def test_the_wall_time_of_smoke_and_mini_is_near_that_of_real_runs(mini):
    on_mini = dataclasses.replace(EPYC, step_seconds=MINI_STEPS)
    for plan, measured in ((plan_of(SMOKE), 121), (make_plan(mini, on_mini), 5890)):
        assert measured / 1.5 < plan.wall_seconds < 1.5 * measured


def test_a_given_rate_decides_the_time_of_steps(mini):
    rows = {
        row.subject: row
        for row in make_plan(mini, EPYC).rows(by_subject=True)
        if row.rule == "train"
    }
    separate = rows["separate"]
    starts = separate.jobs * (EPYC.start_seconds + 1)
    assert separate.seconds - starts == pytest.approx(separate.flops / EPYC.training_flops)
    assert separate.amount == 4 * 800


def jobs(*settings: dict) -> dict[str, Job]:
    """Return jobs of 10 seconds, called by their number."""
    return {str(i): Job("any", "", 10, **one) for i, one in enumerate(settings)}


@pytest.mark.parametrize(
    ("settings", "cores", "gpu_jobs", "seconds"),
    [
        ([{}, {}, {}], 1, 0, 30),
        ([{}, {}, {}], 2, 0, 20),
        ([{}, {"parents": ("0",)}, {"parents": ("0", "0", "1")}], 8, 0, 30),
        ([{"threads": 2}, {"threads": 2}, {}], 3, 0, 20),
        ([{"threads": 4}, {"threads": 4}], 2, 0, 20),
        ([{"on_gpu": True}, {"on_gpu": True}, {}], 8, 1, 20),
        ([{"on_gpu": True}, {"on_gpu": True}], 8, 2, 10),
        ([{"on_gpu": True}, {"on_gpu": True}], 8, 0, 10),
    ],
)
def test_jobs_run_side_by_side_where_parents_cores_and_gpus_allow(
    settings, cores, gpu_jobs, seconds
):
    assert wall_seconds(jobs(*settings), cores=cores, gpu_jobs=gpu_jobs) == seconds


def test_this_machine_is_measured_with_the_networks_of_a_run(tiny_content):
    del tiny_content["parts"]["segmentation"]
    tiny_content["parts"]["denoising"]["methods"] = ["noisy", "cbm3d", "separate"]
    tiny_content["parts"]["classification"]["methods"] = ["clean", "noisy", "joint"]
    workload = describe_workload(parse_config(tiny_content, source="tiny.yaml"))
    measured = measure_machine(workload, cores=1)
    assert set(measured.step_seconds) == set(workload.steps)
    numbers = [*measured.step_seconds.values(), measured.cbm3d_seconds["cbm3d, denoising"],
               measured.start_seconds, measured.start_without_torch_seconds,
               measured.training_flops, measured.evaluation_flops]  # fmt: skip
    assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert (measured.cores, measured.source) == (1, "measured")


def test_measurements_side_by_side_are_averaged_and_a_given_rate_replaces_them(mini, monkeypatch):
    requests, starts = [], iter([1.0, 3.0])

    def run(*arguments, request=b""):
        requests.append(request)
        if arguments[0] == "-c":
            return b"2.0"
        return json.dumps({"start_seconds": next(starts), "device": "cpu", "cbm3d_seconds": {}})

    monkeypatch.setattr(machine, "_run", run)
    given = measure_machine(mini, cores=2, tflops=0.5)
    assert given == Machine(
        "cpu", 2, 0, "given", 2.0, 2.0, training_flops=0.5e12, evaluation_flops=0.5e12
    )
    assert sum(map(bool, requests)) == 2  # as many at once as jobs


@pytest.mark.parametrize("tflops", [0, -1, math.nan, math.inf])
def test_a_rate_that_is_not_positive_is_refused(mini, tflops):
    with pytest.raises(UserError) as error:
        measure_machine(mini, tflops=tflops)
    assert error.value.came == f"--tflops {tflops:g}"


def test_a_benchmark_that_fails_gives_its_message(mini, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(UserError) as error:
        measure_machine(mini, cores=1)
    assert "--tflops" in error.value.do


PUBLIC_DATA = {
    "denoising": {"kind": "folder", "name": "kodak24", "train": "bsds500", "test": "kodak"},
    "classification": {"kind": "ilsvrc2012"},
    "segmentation": {"kind": "voc2012", "extra": "sbd"},
}


def data_of(settings: dict) -> DataSet:
    """Return the model of the data of one part."""
    return KINDS[settings["kind"]](**settings)


def test_a_run_on_public_data_is_planned_without_the_data(tiny_content, tmp_path):
    parts = tiny_content["parts"]
    parts["classification"]["methods"].append("cbm3d")
    parts["classification"]["training"]["task_network"]["patch"] = 224
    for recipe in parts["segmentation"]["training"].values():
        recipe["patch"] = 320
    for part, data in PUBLIC_DATA.items():
        parts[part]["data"] = data
    parts["classification"]["data"] = PUBLIC_DATA["classification"] | {"path": str(tmp_path)}
    config = parse_config(tiny_content, source="tiny.yaml")
    made = plan_of(config)
    rows = {(row.rule, row.subject): row for row in made.rows(by_subject=True)}
    cbm3d = rows["baseline", "cbm3d, classification"]
    assert (cbm3d.amount, cbm3d.disk_bytes) == (50_000, 50_000 * 224 * 224 * 3 * 4)
    assert cbm3d.seconds == pytest.approx(50_000 * 0.038, rel=0.01)
    assert rows["data", "denoising"].disk_bytes == 3 * (400 * 321 * 481 + 24 * 768 * 512)
    assert rows["data", "classification"].disk_bytes == 0  # the files stay in their folder
    assert rows["data", "classification"].amount == 1_281_167 + 50_000
    downloads = [subject for rule, subject in rows if rule == "download"]
    assert downloads == ["kodak", "bsds500", "voc2012", "sbd"]
    assert 3e9 < made.download_bytes < 5e9
    (tmp_path / "ILSVRC2012_img_val.tar").touch()  # official archives: unpacked, not downloaded
    again = plan_of(config)
    assert again.job_counts["download"] == made.job_counts["download"] + 1
    assert again.download_bytes == made.download_bytes
    assert again.disk_bytes - made.disk_bytes > 150e9


def test_published_weights_are_stored_and_not_trained(tiny_config, monkeypatch):
    def untrained(config, key):
        spec = model_spec(config, key)
        return dataclasses.replace(spec, recipe=None) if key == "classifier/clean" else spec

    monkeypatch.setattr(operations, "model_spec", untrained)
    monkeypatch.setattr("dhl.planning.jobs.model_spec", untrained)
    classifier = plan_of(tiny_config).jobs["train/classifier/clean"]
    assert (classifier.amount, classifier.flops, classifier.seconds) == (0, 0, 5)
    parameters = parameter_count(model_spec(tiny_config, "classifier/clean"))
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
    found = count_images(data_of(data))
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
    assert count_images(own).test == ImageCount(2, 30, 50)

    for name, count in (("a", 3), ("b", 2)):
        write_pictures(tmp_path / "classes" / name, *[(9, 9)] * count)
    classes = str(tmp_path / "classes")
    own = data_of({"kind": "image_folder", "name": "own", "test": classes, "crop": 32})
    assert count_images(own) == PartCounts(None, ImageCount(5, 32, 32))

    for folder in ("JPEGImages", "SegmentationClass"):
        write_pictures(tmp_path / "voc" / folder, (50, 40), (50, 40), (50, 40))
    lists = tmp_path / "voc/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "mine.txt").write_text("p0 1\n")
    (lists / "theirs.txt").write_text("p1 -1\np2 1\n")
    voc = {"kind": "voc", "name": "own", "path": str(tmp_path / "voc")}
    own = data_of(voc | {"train": "theirs", "test": "mine"})
    assert count_images(own) == PartCounts(ImageCount(2, 40, 50), ImageCount(1, 40, 50))


@pytest.mark.parametrize(
    "data",
    [{"kind": "folder", "test": "nowhere"},
     {"kind": "image_folder", "test": "nowhere", "crop": 32}],
)  # fmt: skip
def test_images_that_are_not_there_are_named(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        count_images(data_of({"name": "own"} | data))
    assert "nowhere" in error.value.mistake


def test_the_program_plans_for_this_machine_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = []

    def measured(workload, **options):
        asked.append(options)
        return EPYC

    monkeypatch.setattr(machine, "measure_machine", measured)
    command = ["plan", "--configfile", str(PROJECT / "config/smoke.yaml")]
    assert main([*command, "--cores", "2"]) == 0
    assert main([*command, "--tflops", "3", "--json"]) == 0
    assert asked == [{"cores": 2, "tflops": None}, {"cores": None, "tflops": 3.0}]
    text, _, content = capsys.readouterr().out.partition("{")
    assert text.startswith("smoke: ")
    content = json.loads("{" + content)
    assert content["jobs"]["train"] == 14
    assert content["machine"]["device"] == EPYC.device
    assert list(tmp_path.iterdir()) == []


def test_the_rows_of_the_table_add_up_all_jobs(mini):
    plan = make_plan(mini, EPYC)
    table = to_text(plan).split("\n\n")[1].splitlines()
    assert [line.split()[0] for line in table] == ["rule", *plan.job_counts]
    rows = json.loads(to_json(plan))["rows"]
    for column in ("seconds", "flops", "disk_bytes"):
        expected = sum(getattr(job, column) for job in plan.jobs.values())
        assert sum(row[column] for row in rows) == pytest.approx(expected)
    assert sum(row["jobs"] for row in rows) == len(plan.jobs)


def test_methods_of_unknown_time_and_warnings_are_listed_last(mini):
    plan = make_plan(mini, dataclasses.replace(EPYC, cbm3d_seconds={}))
    assert plan.unknown == ("cbm3d",)
    warned = dataclasses.replace(plan, warnings=("it is late.", "it is cold."))
    *_, unknown, late, cold = to_text(warned).splitlines()
    assert "cbm3d" in unknown
    assert (late, cold) == ("Warning: it is late.", "Warning: it is cold.")


def test_sigmas_that_a_warm_start_has_not_seen_are_named(tiny_content):
    denoising = tiny_content["parts"]["denoising"]
    denoising["sigmas"] = [10, 20, 30]
    denoising["training"]["warm_start"] |= {"sigma_low": 15, "sigma_high": 25}
    config = parse_config(tiny_content, source="tiny.yaml")
    assert plan_of(config).warnings == tuple(
        f"denoisers of sigma 10, 30 start from `{name}-start`, which is not trained on them."
        for name in ("dncnn", "separate")
    )
