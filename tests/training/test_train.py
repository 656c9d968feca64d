"""Training the models of a run: resumed bit for bit, seeds decide, parents are the start."""

from __future__ import annotations

import copy
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from dhl.cli.parser import main
from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.data.image_set import load_split, save_splits
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.models import checkpoint
from dhl.run.folder import RunFolder
from dhl.run.results import TRAINING_COLUMNS, read_csv
from dhl.training import train as training
from dhl.training import trainer
from dhl.training.objectives import DenoisingObjective
from dhl.training.train import train_model

CPU = torch.device("cpu")
KEY = "separate/sigma30"


class Interrupted(Exception):
    """Stands for a killed process."""


def tiny_model(config: Config, folder: RunFolder, key: str = KEY) -> dict:
    """Train one model and return its file."""
    train_model(config, key, folder)
    return checkpoint.load(folder.model(key))


def start_only(content: dict, **separate) -> Config:
    """Return settings without a warm start, so that one model has no parents."""
    content["parts"]["denoising"]["training"]["warm_start"] = None
    content["parts"]["denoising"]["training"]["separate"] |= separate
    return parse_config(content, source="tiny.yaml")


def record_steps(monkeypatch) -> list[int]:
    """Return a list to which every later batch adds its step."""
    asked = []
    sampler = training.BatchSampler.__call__
    monkeypatch.setattr(
        training.BatchSampler, "__call__",
        lambda self, step, generator: asked.append(step) or sampler(self, step, generator),
    )  # fmt: skip
    return asked


def interrupt_at(monkeypatch, step: int) -> None:
    """Make the denoise objective raise at the nth call."""
    calls = iter(range(1000))
    losses = DenoisingObjective.losses

    def stopping(self, *arguments):
        if next(calls) == step:
            raise Interrupted
        return losses(self, *arguments)

    monkeypatch.setattr(DenoisingObjective, "losses", stopping)


@pytest.mark.parametrize(
    ("window", "every", "stop"),
    [(1, 2, 5), (3, 2, 5), (3, 4, 4), (3, 4, 9), (4, 3, 8), (5, 5, 7), (20, 3, 10)],
)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_interrupted_training_resumes_to_the_same_bits(
    tiny_content, data_copy, monkeypatch, tmp_path, window, every, stop, optimizer
):
    config = start_only(
        tiny_content, steps=11, checkpoint_every=every, clip_norm=1.0,
        optimizer={"name": optimizer, "lr": 0.003},
    )  # fmt: skip
    monkeypatch.setattr(trainer, "CURVE_POINTS", max(1, 11 // window))
    tiny_model(config, data_copy)
    whole = [path.read_bytes() for path in (data_copy.model(KEY), data_copy.training(KEY))]
    data_copy.model(KEY).unlink()
    data_copy.training(KEY).unlink()
    with monkeypatch.context() as patch:
        interrupt_at(patch, stop)
        with pytest.raises(Interrupted):
            train_model(config, KEY, data_copy)
    assert not data_copy.model(KEY).exists()
    (path,) = (data_copy.root / "checkpoints").rglob("*.pt")
    assert checkpoint.load(path)["step"] == stop // every * every
    asked = record_steps(monkeypatch)
    train_model(config, KEY, data_copy)
    assert asked == list(range(stop // every * every, 11))
    again = [file.read_bytes() for file in (data_copy.model(KEY), data_copy.training(KEY))]
    assert again == whole
    assert not path.exists()


# Is killed while it saves its third checkpoint.
KILLED = """
import itertools, os, signal, sys
from dhl.cli.parser import main

replace, times = os.replace, itertools.count(1)

def replace_or_be_killed(source, target):
    if "checkpoints" in str(target) and next(times) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = replace_or_be_killed
main(sys.argv[1:])
"""


def test_a_killed_training_resumes_to_the_same_weights(tiny_content, data_copy, tmp_path, caplog):
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump(start_only(tiny_content, steps=11).model_dump(mode="json"))
    )
    whole = RunFolder(shutil.copytree(data_copy.root, tmp_path / "whole"))
    command = ["train", KEY, "--configfile", str(tmp_path / "own.yaml"), "--folder"]
    assert main([*command, str(whole.root)]) == 0
    killed = [sys.executable, "-c", KILLED, *command, str(data_copy.root)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(killed, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not data_copy.model(KEY).exists()
    with caplog.at_level(logging.INFO, "dhl"):
        assert main([*command, str(data_copy.root)]) == 0
    assert "resuming from step 4" in caplog.text
    assert data_copy.model(KEY).read_bytes() == whole.model(KEY).read_bytes()


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tiny_content, data_copy):
    def files(**changes):
        config = start_only(copy.deepcopy(tiny_content) | changes)
        train_model(config, KEY, data_copy)
        return data_copy.model(KEY).read_bytes(), data_copy.training(KEY).read_bytes()

    first, second, other = files(), files(), files(base_seed=2)
    assert first == second
    assert first[1] != other[1]
    assert not list((data_copy.root / "checkpoints").rglob("*.pt"))


def test_another_seed_gives_other_initial_weights_batches_and_noise(tiny_content, data_copy):
    states = []
    for seed in (1, 2):
        content = copy.deepcopy(tiny_content) | {"base_seed": seed}
        config = start_only(content, steps=1, optimizer={"name": "sgd", "lr": 1e-12})
        states.append(tiny_model(config, data_copy)["state"])
    for name in ("conv0.weight", "out.weight", "encode1.conv.1.running_mean"):
        assert (states[0][name] - states[1][name]).abs().max() > 1e-3, name


def test_training_leaves_the_global_random_state_alone(tiny_content, data_copy):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_model(start_only(tiny_content), KEY, data_copy)
    assert torch.equal(torch.rand(3), expected)


def test_a_trained_model_starts_from_its_parent(tiny_content, run_copy):
    tiny_content["parts"]["denoising"]["training"]["separate"] |= {
        "steps": 1, "optimizer": {"name": "sgd", "lr": 1e-9, "weight_decay": 0.0},
    }  # fmt: skip
    config = parse_config(tiny_content, source="tiny.yaml")
    parent = checkpoint.load(run_copy.model("separate-start/all"))["state"]
    child = tiny_model(config, run_copy)["state"]
    for name, value in parent.items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(child[name], value, rtol=0, atol=1e-7)
        if name.endswith("num_batches_tracked"):
            assert child[name] == value + 1


@pytest.mark.parametrize("change", ["recipe", "data", "parent"])
def test_a_changed_recipe_data_set_or_parent_does_not_resume(
    tiny_content, run_copy, monkeypatch, change
):
    tiny_content["parts"]["denoising"]["training"]["separate"] |= {
        "steps": 6,
        "checkpoint_every": 2,
    }
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(Interrupted):
            train_model(parse_config(tiny_content, source="tiny.yaml"), KEY, run_copy)
    if change == "recipe":
        tiny_content["parts"]["denoising"]["training"]["separate"]["optimizer"]["lr"] *= 2
    elif change == "data":
        path = run_copy.data("denoising")
        train = load_split(path, "train")
        train.images[0][0, 0, 0] ^= 1
        save_splits({"train": train, "test": load_split(path, "test")}, path)
    else:
        path = run_copy.model("separate-start/all")
        checkpoint.save(checkpoint.load(path) | {"steps": 99}, path)
    asked = record_steps(monkeypatch)
    train_model(parse_config(tiny_content, source="tiny.yaml"), KEY, run_copy)
    assert asked == list(range(6))


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_without_its_task_the_joint_training_is_the_matched_one_to_the_bit(
    tiny_content, run_copy, task
):
    tiny_content["parts"][task]["training"]["joint"] |= {"task_weight": 0.0}
    config = parse_config(tiny_content, source="tiny.yaml")
    states = [
        tiny_model(config, run_copy, f"{name}-{task}/sigma30")["state"]
        for name in ("joint", "matched")
    ]
    start = checkpoint.load(run_copy.model("separate/sigma30"))["state"]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert not torch.equal(states[0]["out.weight"], start["out.weight"])


def test_crops_do_not_set_the_matched_training_apart(tiny_content, run_copy):
    tiny_content["parts"]["segmentation"]["training"]["joint"] |= {
        "task_weight": 0.0, "patch": 24, "augment": "mirror",
    }  # fmt: skip
    config = parse_config(tiny_content, source="tiny.yaml")
    states = [
        tiny_model(config, run_copy, f"{name}-segmentation/sigma30")["state"]
        for name in ("joint", "matched")
    ]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_the_task_changes_the_joint_weights(tiny_run):
    joint, matched = (
        checkpoint.load(tiny_run.model(f"{name}-classification/sigma30"))["state"]
        for name in ("joint", "matched")
    )
    assert not torch.equal(joint["conv0.weight"], matched["conv0.weight"])


def test_training_begins_at_the_power_of_the_noise_and_removes_some(tiny_content, data_copy):
    config = start_only(tiny_content, steps=60, patch=24)
    train_model(config, KEY, data_copy)
    curve = read_csv(data_copy.training(KEY), TRAINING_COLUMNS)
    power = (30 / 255) ** 2  # what returning the input would cost
    assert curve["loss"].head(3).mean() == pytest.approx(power, rel=0.05)
    assert curve["loss"].tail(5).mean() < 0.85 * power


def test_a_model_file_says_what_it_is(tiny_config, tiny_run):
    content = checkpoint.load(tiny_run.model("joint-segmentation/sigma30"))
    assert (content["key"], content["role"], content["sigma"], content["steps"]) == (
        "joint-segmentation/sigma30", "denoiser", 30.0, 5,
    )  # fmt: skip
    assert content["network"] == {"name": "released", "width": 8}
    assert content["fingerprint"] == training.fingerprint(tiny_config, content["key"])


def test_the_curve_says_what_a_network_was_trained_on(tiny_run):
    curve = read_csv(tiny_run.training("joint-segmentation/sigma30"), TRAINING_COLUMNS)
    names = Path("/proc/cpuinfo")
    if names.exists() and "model name" in (text := names.read_text()):
        assert f": {curve['device'].iloc[-1]}\n" in text
    assert set(curve["precision"]) <= {"float32", "bfloat16"}


def pretend_amx(monkeypatch, *, there: bool) -> None:
    """Pretend a processor that multiplies bfloat16, or one that does not."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": there})


def test_a_training_does_not_go_on_in_another_number_format(tiny_content, data_copy, monkeypatch):
    content = tiny_content | {"precision": "auto"}
    config = start_only(content, steps=6, checkpoint_every=2)
    pretend_amx(monkeypatch, there=False)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(Interrupted):
            train_model(config, KEY, data_copy)
    pretend_amx(monkeypatch, there=True)
    asked = record_steps(monkeypatch)
    train_model(config, KEY, data_copy)
    assert asked == list(range(6))
    assert set(read_csv(data_copy.training(KEY), TRAINING_COLUMNS)["precision"]) == {"bfloat16"}


def test_a_network_is_not_trained_on_in_another_number_format(tiny_content, run_copy, monkeypatch):
    config = parse_config(tiny_content | {"precision": "auto"}, source="tiny.yaml")
    pretend_amx(monkeypatch, there=True)
    with pytest.raises(UserError, match=r"separate/sigma30 was trained in float32.* in bfloat16"):
        train_model(config, "matched-segmentation/sigma30", run_copy)


def test_a_missing_parent_is_named(tiny_config, data_copy):
    with pytest.raises(UserError, match=r"no file .*separate-start/all\.pt"):
        train_model(tiny_config, KEY, data_copy)
    assert not Path(data_copy.model(KEY)).exists()
