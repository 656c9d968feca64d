"""Every file of a run has its command, and the commands in their order make a whole run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from settings import shipped, write_settings

from dhl.cli.parser import build_parser
from dhl.config.parse import load_config
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.run.contents import files_of
from dhl.run.folder import RunFolder
from dhl.run.outputs import OUTPUTS, command_for, complete_run, how_to_make
from dhl.run.results import file_digest
from dhl.run.shards import Shard
from dhl.seeding import Draw

FOLDER = RunFolder("results/own")
PAGE = (PROJECT / "docs/steps.md").read_text()


@pytest.mark.parametrize(
    ("path", "command"),
    [
        (FOLDER.download("kodak"), "dhl data download kodak"),
        (FOLDER.data("denoising"), "dhl data make --part denoising"),
        (FOLDER.skipped("denoising"), "dhl data make --part denoising"),
        (FOLDER.noise("denoising", 12.5), "dhl noise --part denoising --sigma 12.5"),
        (FOLDER.baseline("segmentation", "cbm3d-2020", 30, Shard.parse("2-of-3")),
         "dhl baseline --part segmentation --method cbm3d-2020 --sigma 30 --shard 2-of-3"),
        (FOLDER.model("separate/sigma30-seed2"), "dhl train separate/sigma30-seed2"),
        (FOLDER.training("classifier/clean"), "dhl train classifier/clean"),
        (FOLDER.evaluation("denoising", 30),
         "dhl evaluate --part denoising --sigma 30 --task-seed 1 --seed 1"),
        (FOLDER.evaluation("denoising", 30, Draw(2, 4)).with_suffix(".npz"),
         "dhl evaluate --part denoising --sigma 30 --task-seed 2 --seed 4"),
        (FOLDER.table(3), "dhl table --part segmentation"),
        (FOLDER.claims, "dhl claims"),
        (FOLDER.sensitivity, "dhl sensitivity"),
        (FOLDER.figures / "transfer.svg", "dhl figures"),
        (FOLDER.manifest, "dhl manifest"),
        (FOLDER.report, "dhl report"),
    ],
)  # fmt: skip
def test_a_file_of_a_run_has_its_command(path, command):
    assert command_for(path) == command
    assert build_parser().parse_args(shlex.split(command)[1:])


def test_a_missing_file_says_what_makes_it(tmp_path):
    path = RunFolder(tmp_path).data("denoising")
    with pytest.raises(UserError, match="run `dhl data make --part denoising` with the same"):
        file_digest(path)
    assert command_for(tmp_path / "mine.png") is None
    assert how_to_make(tmp_path / "mine.png").startswith("check the path")


@pytest.mark.parametrize(
    "path", ["noise/denoising/sigma30.csv", "models/separate/sigma30.pt", "config.yaml", "mine.png"]
)
def test_advice_names_the_configuration_of_the_run(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    root = Path("results/photos")
    assert complete_run(root) == "`snakemake report --cores all --configfile FILE`"
    root.mkdir(parents=True)
    (root / "config.yaml").touch()
    command = "`snakemake report --cores all --configfile results/photos/config.yaml`"
    assert complete_run(root) == command
    assert command in how_to_make(root / path)


def test_the_page_has_every_step_of_the_workflow():
    steps = {" ".join(re.findall(r"^[a-z]+(?: make| download)?", one.command)) for one in OUTPUTS}
    rules = "".join(path.read_text() for path in (PROJECT / "workflow/rules").glob("*.smk"))
    assert steps - {""} == set(re.findall(r"\"dhl ((?:data )?[a-z]+) ", rules))
    for step in steps - {""}:
        assert f"| `{step}` |" in PAGE
        assert re.search(rf"^ *dhl {step} |`dhl {step}`", PAGE, re.MULTILINE)


def test_every_output_of_a_configuration_has_a_path_of_its_pattern():
    config = load_config(PROJECT / "config/smoke.yaml")
    for output in OUTPUTS:
        for path in files_of(config, FOLDER, output.name):
            wanted = f"dhl {output.command.partition(' ')[0]}" if output.command else None
            assert (command_for(path) or "").startswith(wanted or "")
            assert (command_for(path) is None) == (wanted is None)


@pytest.mark.slow
def test_the_script_of_the_page_makes_a_whole_run(tmp_path):
    (tmp_path / "config").mkdir()
    content = shipped("smoke")
    content["parts"]["classification"]["data"] |= {"train": 40, "test": 10}
    for recipe in (
        content["parts"]["denoising"]["training"]["separate"],
        content["parts"]["classification"]["training"]["task_network"],
        content["parts"]["segmentation"]["training"]["task_network"],
    ):
        recipe["steps"] = 4
    write_settings(tmp_path / "config/smoke.yaml", content)
    script = re.search(r"^```sh\n([\s\S]*?)^```$", PAGE, re.MULTILINE)[1]
    place = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PATH": place, "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert RunFolder(tmp_path / "results/smoke").report.exists()
    for command in ("verify", "export"):
        again = [sys.executable, "-m", "dhl", command, str(tmp_path / "results/smoke")]
        subprocess.run(again, cwd=PROJECT, check=True)
