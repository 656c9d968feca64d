"""A model that two runs need is trained once, even if both ask at the same time."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.models import checkpoint
from dhl.run.folder import RunFolder
from dhl.run.manifest import write_manifest
from dhl.training import shared_models
from dhl.training.train import train_model

KEY = "separate/sigma30"


def config_of(content: dict, *, lr: float = 0.001) -> Config:
    """Return settings whose separate denoiser needs no other model."""
    training = content["parts"]["denoising"]["training"]
    training["warm_start"] = None
    training["separate"]["optimizer"] = {"name": "adamw", "lr": lr}
    return parse_config(content, source="tiny.yaml")


@pytest.fixture
def config(tiny_content) -> Config:
    return config_of(tiny_content)


@pytest.fixture
def runs(tiny_data, tmp_path) -> list[RunFolder]:
    """Two run folders with the same data."""
    return [RunFolder(shutil.copytree(tiny_data.root, tmp_path / name)) for name in ("one", "two")]


@pytest.fixture
def shared(tmp_path, monkeypatch) -> Path:
    """A folder of shared models."""
    monkeypatch.setenv(shared_models.VARIABLE, str(tmp_path / "shared"))
    return tmp_path / "shared"


def trained_while_waiting(config: Config, folder: RunFolder, monkeypatch) -> None:
    """Let the next training wait for its lock while another process trains the model."""

    @contextmanager
    def locked_later(path: Path) -> Iterator[bool]:
        monkeypatch.undo()
        train_model(config, KEY, folder)
        yield True

    monkeypatch.setattr("dhl.training.train.locked", locked_later)


def files_of(run: RunFolder) -> list[bytes]:
    return [path.read_bytes() for path in (run.model(KEY), run.training(KEY))]


def test_of_two_simultaneous_runs_one_trains_and_the_other_copies(config, runs, tmp_path, caplog):
    caplog.set_level(logging.INFO, "dhl")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(shared_models.VARIABLE, str(tmp_path / "shared"))
        with pytest.MonkeyPatch.context() as patch:
            trained_while_waiting(config, runs[0], patch)
            train_model(config, KEY, runs[1])
    assert caplog.text.count(f"training {KEY} on cpu") == 1
    assert f"taking {KEY} from {tmp_path}/shared/cpu-float32/" in caplog.text
    assert files_of(runs[0]) == files_of(runs[1])
    (weights,) = (tmp_path / "shared").rglob("*.pt")
    assert len(weights.stem) == 64  # hexadecimal digits of SHA-256


def test_of_two_processes_of_one_run_one_trains(config, runs, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "dhl")
    trained_while_waiting(config, runs[0], monkeypatch)
    train_model(config, KEY, runs[0])
    assert caplog.text.count(f"training {KEY} on cpu") == 1
    assert f"another process has trained {KEY}" in caplog.text


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def resave(path: Path, **changes) -> None:
    """Save a model with changes, as this program would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dhl.models.checkpoint.flaw_of", lambda *_: "")
        content = checkpoint.load(path)
        weights = {name: change(content["state"][name]) for name, change in changes.items()}
        checkpoint.save(content | {"state": content["state"] | weights}, path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda weights: weights.write_bytes(weights.read_bytes()[:1000]),
        flip,
        lambda weights: resave(weights, **{"out.bias": lambda value: value * float("nan")}),
        lambda weights: resave(weights, **dict.fromkeys(checkpoint.load(weights)["state"],
                                                        torch.zeros_like)),
        lambda weights: weights.with_suffix(".csv").write_text("hello"),
        lambda weights: weights.with_suffix(".csv").write_bytes(b""),
        lambda weights: weights.with_suffix(".csv").write_text(
            "".join(weights.with_suffix(".csv").read_text().splitlines(keepends=True)[:-1])
        ),
    ],
)  # fmt: skip
def test_a_damaged_shared_model_is_trained_again(config, runs, shared, caplog, damage):
    one, two = runs
    train_model(config, KEY, one)
    (weights,) = shared.rglob("*.pt")
    damage(weights)
    train_model(config, KEY, two)
    assert str(weights.with_suffix("")) in caplog.text  # the warning names the damaged file
    assert files_of(two) == files_of(one)
    assert [path.read_bytes() for path in (weights, weights.with_suffix(".csv"))] == files_of(one)


@pytest.mark.parametrize("variable", [shared_models.VARIABLE, "DHL_STARTED"])
def test_a_copy_that_cannot_be_written_is_named_with_its_folder(
    config, runs, tmp_path, monkeypatch, caplog, variable
):
    def full(store: shared_models.ModelStore, source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv(variable, str(tmp_path / "shared"))
    folder = runs[0].finished if variable == "DHL_STARTED" else tmp_path / "shared"
    monkeypatch.setattr(shared_models.ModelStore, "_copy", full)
    train_model(config, KEY, runs[0])
    assert f"{KEY} was not copied to {folder}/" in caplog.text
    assert "No space left" in caplog.text
    assert runs[0].model(KEY).exists()


def test_after_waiting_for_another_recipe_a_model_is_trained(
    config, tiny_content, runs, monkeypatch
):
    train_model(config, KEY, runs[0])
    stale = files_of(runs[0])
    monkeypatch.setattr("dhl.training.train.locked", lambda path: nullcontext(True))
    train_model(config_of(tiny_content, lr=0.002), KEY, runs[0])
    assert files_of(runs[0])[0] != stale[0]


def test_another_recipe_is_another_model(config, tiny_content, runs, shared):
    train_model(config, KEY, runs[0])
    train_model(config_of(tiny_content, lr=0.002), KEY, runs[1])
    assert len(list(shared.rglob("*.pt"))) == 2
    states = [torch.load(run.model(KEY))["state"] for run in runs]
    assert any(not torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_finished_model_that_snakemake_deletes_is_not_trained_again(
    config, runs, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "dhl")
    monkeypatch.setenv("DHL_STARTED", "0")
    (run, _) = runs
    train_model(config, KEY, run)
    trained = files_of(run)
    for path in (run.model(KEY), run.training(KEY)):
        path.unlink()
    train_model(config, KEY, run)
    assert files_of(run) == trained
    assert caplog.text.count(f"training {KEY} on cpu") == 1


def test_a_run_keeps_the_models_that_it_has(config, tiny_content, runs, monkeypatch):
    monkeypatch.setenv("DHL_STARTED", "0")
    (run, _) = runs
    train_model(config, KEY, run)
    train_model(config_of(tiny_content, lr=0.002), KEY, run)
    assert len(list(run.finished.rglob("*.pt"))) == 2
    write_manifest(config, run)
    (kept,) = run.finished.rglob("*.pt")
    assert kept.samefile(run.model(KEY))
    assert len(list(kept.parent.iterdir())) == 2  # the weights and their curve


def test_a_checkpoint_is_kept_if_its_model_is_not_safe(config, runs, monkeypatch):
    monkeypatch.setenv("DHL_STARTED", "0")
    (run, _) = runs
    run.finished.parent.mkdir()
    run.finished.touch()  # a file in place of the folder
    train_model(config, KEY, run)
    assert list((run.root / "checkpoints/separate").glob("sigma30-*.pt"))
