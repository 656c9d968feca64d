"""A model that two runs want is trained once, also when both ask at the same time."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import yaml

from dhl.cli.parser import main
from dhl.config.parse import parse_config
from dhl.run.folder import RunFolder
from dhl.training import shared_models
from dhl.training.train import train_model

KEY = "separate/sigma30"


@pytest.fixture
def settings(tiny_content) -> dict:
    """Settings whose separate denoiser needs no other model."""
    tiny_content["parts"]["denoising"]["training"]["warm_start"] = None
    return tiny_content


def copies(data: RunFolder, place: Path) -> list[RunFolder]:
    """Make two run folders with the same data."""
    return [RunFolder(shutil.copytree(data.root, place / name)) for name in ("one", "two")]


def train_together(
    settings: dict, runs: list[RunFolder], shared: Path | None, monkeypatch, caplog
) -> tuple[str, str]:
    """Ask for a model while another process trains it; return what that one says and this one."""
    settings["parts"]["denoising"]["training"]["separate"] |= {"steps": 100, "checkpoint_every": 20}
    path = runs[0].root / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    monkeypatch.delenv(shared_models.VARIABLE, raising=False)
    if shared:
        monkeypatch.setenv(shared_models.VARIABLE, str(shared))
    command = ["train", KEY, "--configfile", str(path), "--folder"]
    first = [sys.executable, "-m", "dhl", *command, str(runs[0].root)]
    with subprocess.Popen(first, stderr=subprocess.PIPE, text=True) as job:
        said = []
        while f"training {KEY} on" not in "".join(said):  # it holds the lock
            said.append(job.stderr.readline())
            assert said[-1], said
        with caplog.at_level(logging.INFO, "dhl"):
            assert main([*command, str(runs[1].root)]) == 0
        said.append(job.stderr.read())
    assert job.returncode == 0, said
    return "".join(said), "\n".join(caplog.messages)


def test_of_two_runs_at_once_one_trains_and_the_other_takes(
    settings, tiny_data, tmp_path, monkeypatch, caplog
):
    runs = copies(tiny_data, tmp_path)
    trained, taken = train_together(settings, runs, tmp_path / "shared", monkeypatch, caplog)
    assert f"training {KEY} on cpu" in trained
    assert "waiting for another process" in taken
    assert f"taking {KEY} from {tmp_path}/shared/cpu-float32-torch-" in taken
    assert "training" not in taken
    for path in (RunFolder.model, RunFolder.training):
        assert path(runs[0], KEY).read_bytes() == path(runs[1], KEY).read_bytes()


def test_of_two_in_one_run_one_trains(settings, tiny_data, tmp_path, monkeypatch, caplog):
    run = copies(tiny_data, tmp_path)[0]
    trained, waited = train_together(settings, [run, run], None, monkeypatch, caplog)
    assert f"training {KEY} on cpu" in trained
    assert "training" not in waited.replace(f"has trained {KEY}", "")
    assert "waiting for another process" in waited


def test_a_damaged_shared_model_is_trained_again(
    settings, tiny_data, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv(shared_models.VARIABLE, str(tmp_path / "shared"))
    config = parse_config(settings, source="tiny.yaml")
    one, two = copies(tiny_data, tmp_path)
    train_model(config, KEY, one)
    (weights,) = (tmp_path / "shared").rglob("*.pt")
    weights.write_bytes(weights.read_bytes()[:1000])
    train_model(config, KEY, two)
    assert f"{weights}: truncated" in caplog.text
    assert two.model(KEY).read_bytes() == one.model(KEY).read_bytes() == weights.read_bytes()


def test_a_shared_folder_that_cannot_be_written_costs_a_warning(
    settings, tiny_data, tmp_path, monkeypatch, caplog
):
    shared = tmp_path / "shared"
    monkeypatch.setenv(shared_models.VARIABLE, str(shared))

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_models, "_copy", full)
    (run, _) = copies(tiny_data, tmp_path)
    train_model(parse_config(settings, source="tiny.yaml"), KEY, run)
    assert f"{KEY} is not shared: [Errno 28] No space left" in caplog.text
    assert run.model(KEY).exists()


def test_who_waited_for_a_training_of_another_recipe_trains(
    settings, tiny_data, tmp_path, monkeypatch, caplog
):
    (run, _) = copies(tiny_data, tmp_path)
    train_model(parse_config(settings, source="tiny.yaml"), KEY, run)
    stale = run.model(KEY).read_bytes()
    settings["parts"]["denoising"]["training"]["separate"]["optimizer"]["lr"] *= 2
    monkeypatch.setattr("dhl.training.train.locked", lambda path: nullcontext(True))
    train_model(parse_config(settings, source="tiny.yaml"), KEY, run)
    assert run.model(KEY).read_bytes() != stale


def test_other_data_and_other_recipes_are_other_models(settings, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv(shared_models.VARIABLE, str(tmp_path / "shared"))
    one, two = copies(tiny_data, tmp_path)
    train_model(parse_config(settings, source="tiny.yaml"), KEY, one)
    settings["parts"]["denoising"]["training"]["separate"]["optimizer"]["lr"] *= 2
    train_model(parse_config(settings, source="tiny.yaml"), KEY, two)
    assert len(list((tmp_path / "shared").rglob("*.pt"))) == 2
    state = [torch.load(run.model(KEY))["state"] for run in (one, two)]
    assert any(not torch.equal(state[0][name], state[1][name]) for name in state[0])
