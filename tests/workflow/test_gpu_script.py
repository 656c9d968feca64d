"""The script for a machine with a GPU runs on the CPU at tiny size, and names what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage import data as pictures

from dhl.files import PROJECT

SECTIONS = ("machine", "tests", "cbm3d", "loader", "steps", "training")


def script(*arguments: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run the script without a GPU and without a folder of wheels."""
    settings = {"PYTHON": sys.executable, "WHEELS": "/nowhere", "CUDA_VISIBLE_DEVICES": ""}
    command = [str(PROJECT / "benchmarks/gpu.sh"), *map(str, arguments)]
    environment = os.environ | settings | variables
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_every_section_writes_its_results(tmp_path):
    for name, picture in (("kodak", pictures.astronaut()), ("train", pictures.coffee())):
        (tmp_path / name).mkdir()
        Image.fromarray(picture[:96, :128]).save(tmp_path / name / "one.png")
    out = tmp_path / "out"
    done = script(out, tmp_path / "kodak", tmp_path / "train")
    assert "exit status" not in done.stdout
    assert done.returncode == 0
    found = {name: json.loads((out / f"{name}.json").read_text())["results"] for name in SECTIONS}
    assert not [result for results in found.values() for result in results if "error" in result]
    tests = [result for result in found["tests"] if "test" in result]
    assert {test["outcome"] for test in tests} == {"passed", "skipped"}
    assert [test["largest_difference"] for test in tests if "largest_difference" in test] == [0]
    assert [result["kind"] for result in found["steps"]] == ["separate", "joint-classification"]
    assert [result["same_bits"] for result in found["cbm3d"]] == [True]
    assert all(result["images_per_second"] > 0 for result in found["loader"] + found["cbm3d"])
    plan, last = found["training"][0], found["training"][-1]
    assert last["steps"] == plan["steps"] == 8
    assert last["psnr"] == pytest.approx(20.4, abs=1)  # near that of the noise: 20.17 dB


def test_missing_packages_are_named_before_any_section(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    done = script(tmp_path / "out", PYTHON=str(bare), PYTHONPATH="")
    assert done.returncode == 1
    assert "Missing: PIL, annotated_types" in done.stderr
    assert not list((tmp_path / "out").iterdir())
