"""The plan against Snakemake's job count, torch's count of real steps, and times of real runs."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from settings import CONTROLS, changed, shipped, write_settings
from workflow_runs import planned, snakemake

from dhl.cli.parser import main
from dhl.config.parse import load_config, parse_config
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.planning import flops, jobs, machine
from dhl.planning.flops import forward_flops, network_name, parameter_count, step_flops
from dhl.planning.image_counts import count_all_images
from dhl.planning.machine import Machine, Rates, measure_machine
from dhl.planning.plan import Plan, make_plan, to_json, to_text
from dhl.planning.schedule import Job, wall_seconds
from dhl.run.model_graph import all_models, model_spec

LABORATORY, SMOKE = (
    load_config(PROJECT / f"config/{name}.yaml") for name in ("laboratory", "smoke")
)
CBM3D_SECONDS = 3.7e-5  # a pixel

# GFLOP of one training step of `laboratory`, as torch counts them; half of a step of 16 for the
# retrained segmenter, whose batch is 8.
STEP_GFLOPS = {
    "dncnn-start/all": 7.1, "separate/sigma30": 5.5, "classifier/clean": 14.7,
    "joint-classification/sigma30": 18.9, "segmenter/clean": 18.8,
    "joint-segmentation/sigma30": 18.8, "matched-classification/sigma30": 14.0,
    "retrained-segmentation/sigma30": 18.8 / 2,
}  # fmt: skip


def epyc(config, **options) -> Machine:
    """Return rates measured on two cores of an AMD EPYC (AVX2)."""
    names = (network_name(model_spec(config, key)) for key in all_models(config))
    rates = dict.fromkeys(names, Rates(33e9, 23e9))
    made = Machine("AMD EPYC", 2, 0, "measured", 4.0, rates, {"cbm3d": CBM3D_SECONDS})
    return dataclasses.replace(made, **options)


def plan_of(config, **options) -> Plan:
    """Plan a configuration for two cores of an EPYC."""
    return make_plan(config, count_all_images(config), epyc(config, **options))


@pytest.fixture(scope="module")
def laboratory() -> Plan:
    return plan_of(LABORATORY)


@pytest.mark.parametrize(("key", "gflops"), STEP_GFLOPS.items())
def test_a_training_step_has_the_operations_that_torch_counts_on_a_real_one(key, gflops):
    step = step_flops(LABORATORY, count_all_images(LABORATORY), model_spec(LABORATORY, key))
    assert sum(step.values()) / 1e9 == pytest.approx(gflops, rel=0.02)


def test_the_features_of_clean_images_cost_a_forward_pass(tiny_config):
    counts, frozen = count_all_images(tiny_config), model_spec(tiny_config, "classifier/clean")
    joint, permuted, perceptual = (
        step_flops(tiny_config, counts, model_spec(tiny_config, f"{kind}-classification/sigma30"))
        for kind in ("joint", "permuted", "perceptual")
    )
    assert permuted == joint
    name, batch = network_name(frozen), 4
    added = batch * forward_flops(frozen, 32, 32)
    assert perceptual == joint | {name: joint[name] + added}


@pytest.mark.parametrize(
    ("key", "path", "value", "flops_of_an_image"),
    [
        ("classifier/clean", "parts.classification.task_network", {"name": "resnet50"}, 4.96e8),
        ("separate/sigma30", "parts.denoising.training.separate.patch", 8, 3.7e5),
    ],
)
def test_networks_that_shrink_an_image_to_one_pixel_are_counted_too(
    tiny_content, key, path, value, flops_of_an_image
):
    config = parse_config(changed(tiny_content, path, value), source="tiny.yaml")
    spec = model_spec(config, key)
    (step,) = step_flops(config, count_all_images(config), spec).values()
    assert step / spec.recipe.batch == pytest.approx(flops_of_an_image, rel=0.06)


def test_a_network_has_the_operations_of_its_formula_and_the_published_parameters(tiny_content):
    for network in ("denoiser", "dncnn"):
        del tiny_content["parts"]["denoising"][network]  # the default is of full size
    config = parse_config(tiny_content, source="tiny.yaml")
    macs = 9 * (3 * 64 + 15 * 64 * 64 + 64 * 3)  # 17 convolutions of 3x3, 64 channels
    assert forward_flops(model_spec(config, "dncnn/sigma30"), 32, 48) == 2 * macs * 32 * 48
    assert parameter_count(model_spec(config, "separate/sigma30")) == 1_033_443


def test_job_counts_are_those_of_snakemake(tmp_path):
    content = shipped("smoke", seeds=3)
    parts = content["parts"]
    parts["classification"]["methods"] = [*parts["classification"]["methods"], "cbm3d-2020"]
    parts["classification"]["shards"] = 3
    parts["segmentation"] |= {"sigmas": [15, 30], "shards": 2}
    content["sensitivity"] = {
        "sigma": 30,
        "weight_factors": [10],
        "mismatch": ["segmentation"],
        "classifiers": {"resnet": {"name": "small-resnet", "width": 8}},
    }
    path = write_settings(tmp_path / "smoke.yaml", content)
    counted = planned(snakemake(tmp_path, "report", "--dry-run", "--configfile", path))
    assert counted["baseline"] == 1 + 2 * 3 + 2 * 2
    assert {row.rule: row.jobs for row in plan_of(load_config(path)).rows} == counted


@pytest.mark.parametrize(
    ("name", "later", "start_seconds", "seconds"),
    [("smoke", (), 2.6, 63), ("laboratory", CONTROLS, 4.0, 5890)],
)
def test_the_wall_time_is_near_that_of_real_runs(name, later, start_seconds, seconds):
    content = shipped(name)
    for settings in content["parts"].values():  # without the methods that the run did not have
        settings["methods"] = [one for one in settings["methods"] if one not in later]
    plan = plan_of(parse_config(content, source=name), start_seconds=start_seconds)
    assert seconds / 1.5 < plan.wall_seconds < 1.5 * seconds


@pytest.mark.parametrize(
    ("settings", "cores", "gpu_jobs", "seconds"),
    [
        ([{}, {}, {}], 1, 0, 30),
        ([{}, {}, {}], 2, 0, 20),
        ([{}, {"parents": ("train/0",)}, {"parents": ("train/0", "train/1")}], 8, 0, 30),
        ([{"threads": 2}, {"threads": 2}, {}], 3, 0, 20),
        ([{"threads": 4}, {"threads": 4}], 2, 0, 20),
        ([{}, {}, {"name": "noise"}], 8, 1, 20),
        ([{}, {}], 8, 2, 10),
        ([{}, {}], 8, 0, 10),
    ],
)
def test_jobs_run_side_by_side_where_parents_cores_and_gpus_allow(
    settings, cores, gpu_jobs, seconds
):
    made = [Job(**({"name": f"train/{i}", "seconds": 10} | one)) for i, one in enumerate(settings)]
    assert wall_seconds(made, cores=cores, gpu_jobs=gpu_jobs) == seconds


def test_the_longest_chain_of_trainings_starts_first():
    chain = [Job("train/a", 10), Job("train/b", 10), Job("train/c", 10, ("train/b",))]
    assert wall_seconds([Job("train/x", 10), *chain], cores=2, gpu_jobs=0) == 20


def test_this_machine_is_measured_with_the_networks_of_a_run(tiny_config):
    found = measure_machine(tiny_config, count_all_images(tiny_config), cores=1)
    assert set(found.rates) == set(epyc(tiny_config).rates)
    numbers = [found.start_seconds, found.baseline_seconds["cbm3d"]]
    numbers += [rate for rates in found.rates.values() for rate in rates]
    assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert (found.cores, found.source) == (1, "measured")


def test_a_given_rate_replaces_the_measured_ones(tiny_config, monkeypatch):
    monkeypatch.setattr(machine, "START", "print(4)")
    counts = count_all_images(tiny_config)
    given = measure_machine(tiny_config, counts, cores=1, tflops=0.5)
    assert given.source == "given"
    assert set(given.rates.values()) == {Rates(0.5e12, 0.5e12)}
    plan = make_plan(tiny_config, counts, given)
    training = next(job for job in plan.jobs if job.rule == "train")
    assert training.seconds == pytest.approx(4 + 1 + training.flops / 0.5e12)


@pytest.mark.parametrize("tflops", [0, -1, math.nan, math.inf])
def test_a_rate_that_is_not_positive_is_refused(tiny_config, tflops):
    with pytest.raises(UserError) as error:
        measure_machine(tiny_config, {}, tflops=tflops)
    assert error.value.came == f"--tflops {tflops:g}"


PUBLIC_DATA = {
    "denoising": {"kind": "folder", "name": "kodak24", "train": "bsds500", "test": "kodak"},
    "classification": {"kind": "ilsvrc2012"},
    "segmentation": {"kind": "voc2012", "extra": "sbd"},
}


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
    by_name = {job.name: job for job in made.jobs}
    cbm3d = by_name["baseline/classification/cbm3d-sigma30/1-of-1"]
    pixels = 50_000 * 224 * 224
    assert (cbm3d.amount, cbm3d.disk_bytes) == (50_000, 3 * 4 * pixels)
    assert cbm3d.seconds == pytest.approx(pixels * CBM3D_SECONDS, rel=0.01)
    assert by_name["data/denoising"].disk_bytes == 3 * (400 * 321 * 481 + 24 * 768 * 512)
    assert by_name["data/classification"].disk_bytes == 0  # the files stay in their folder
    assert by_name["data/classification"].amount == 1_281_167 + 50_000
    downloads = [name for name in by_name if name.startswith("download/")]
    assert downloads == [f"download/{name}" for name in ("kodak", "bsds500", "voc2012", "sbd")]
    assert 3e9 < made.download_bytes < 5e9
    (tmp_path / "ILSVRC2012_img_val.tar").touch()  # official archives: unpacked, not downloaded
    again = plan_of(config)
    (archives,) = {job.name for job in again.jobs} - set(by_name)
    assert archives == "download/ilsvrc2012"
    assert again.download_bytes == made.download_bytes
    assert next(job for job in again.jobs if job.name == archives).disk_bytes > 150e9


def test_published_weights_are_stored_and_not_trained(tiny_config, monkeypatch):
    def untrained(config, key):
        spec = model_spec(config, key)
        return dataclasses.replace(spec, recipe=None) if key == "classifier/clean" else spec

    for module in (flops, jobs, machine):
        monkeypatch.setattr(module, "model_spec", untrained)
    plan = plan_of(tiny_config)
    classifier = next(job for job in plan.jobs if job.name == "train/classifier/clean")
    assert (classifier.amount, classifier.flops, classifier.seconds) == (0, 0, 5)
    parameters = parameter_count(model_spec(tiny_config, "classifier/clean"))
    assert classifier.disk_bytes == 4 * parameters


def test_the_program_plans_for_this_machine_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = []

    def measured(config, counts, **options):
        asked.append(options)
        return epyc(config)

    monkeypatch.setattr(machine, "measure_machine", measured)
    command = ["plan", "--configfile", str(PROJECT / "config/smoke.yaml")]
    assert main([*command, "--cores", "2"]) == 0
    assert main([*command, "--tflops", "3", "--json"]) == 0
    assert asked == [{"cores": 2, "tflops": None}, {"cores": None, "tflops": 3.0}]
    text, _, content = capsys.readouterr().out.partition("{")
    assert text.startswith("smoke: ")
    content = json.loads("{" + content)
    assert content["machine"]["device"] == "AMD EPYC"
    assert {row["rule"]: row["jobs"] for row in content["rows"]}["train"] == 12
    assert list(tmp_path.iterdir()) == []


def test_a_rate_without_a_measurement_is_refused(capsys):
    command = ["plan", "--configfile", str(PROJECT / "config/smoke.yaml"), "--no-measurement"]
    assert main([*command, "--tflops", "-3"]) == 1
    assert "--no-measurement with --tflops -3" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["paper", "photos"])
def test_runs_on_public_data_are_planned_without_the_data(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # without downloads
    path = PROJECT / f"config/{name}.yaml"
    assert main(["plan", "--no-measurement", "--json", "--configfile", str(path)]) == 0
    seconds = {job["name"]: job["seconds"] for job in json.loads(capsys.readouterr().out)["jobs"]}
    assert all(seconds[f"train/{key}"] > 0 for key in all_models(load_config(path)))


def test_the_rows_of_the_table_add_up_all_jobs(laboratory):
    table = to_text(laboratory).split("\n\n")[1].splitlines()
    rows = json.loads(to_json(laboratory))["rows"]
    assert [line.split()[0] for line in table] == ["rule", *(row["rule"] for row in rows)]
    for column in ("seconds", "flops", "disk_bytes"):
        expected = sum(getattr(job, column) for job in laboratory.jobs)
        assert sum(row[column] for row in rows) == pytest.approx(expected)
    assert sum(row["jobs"] for row in rows) == len(laboratory.jobs)


def test_unequal_numbers_of_training_images_are_a_warning(tiny_content):
    assert not any("images" in one for one in plan_of(load_tiny(tiny_content)).warnings)
    tiny_content["parts"]["segmentation"]["training"]["retrained"]["steps"] = 100
    (warning,) = [one for one in plan_of(load_tiny(tiny_content)).warnings if "images" in one]
    assert warning.startswith("`retrained` of segmentation sees 400 images and `joint` 20;")


def load_tiny(content: dict) -> Config:
    return parse_config(content, source="tiny.yaml")


def test_unknown_times_and_sigmas_unknown_to_a_warm_start_are_listed_last(tiny_content):
    denoising = tiny_content["parts"]["denoising"]
    denoising["sigmas"] = [10, 20, 30]
    denoising["training"]["warm_start"] |= {"sigma_low": 15, "sigma_high": 25}
    config = parse_config(tiny_content, source="tiny.yaml")
    plan = plan_of(config, baseline_seconds={})
    assert plan.unknown == ("cbm3d",)
    *_, unknown, first, second = to_text(plan).splitlines()
    assert "cbm3d" in unknown
    for name, warning in (("dncnn", first), ("separate", second)):
        assert f"sigma 10, 30 start from `{name}-start`" in warning
