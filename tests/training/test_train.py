"""Training the models of a run: resumed bit for bit, seeds decide, parents are the start."""

from __future__ import annotations

import copy
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_sets import write_picture

from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.data.image_set import load_split, save_splits
from dhl.data.prepare import write_data
from dhl.errors import UserError
from dhl.models import checkpoint
from dhl.run.fingerprints import fingerprint
from dhl.run.folder import RunFolder
from dhl.run.results import TRAINING_COLUMNS, read_csv
from dhl.training import trainer
from dhl.training.batches import BatchSampler
from dhl.training.objectives import DenoisingObjective
from dhl.training.train import train_model

KEY, START = "separate/sigma30", "separate-start/all"


class Interrupted(Exception):
    """Stands for a killed process."""


def trained(config: Config, folder: RunFolder, key: str = KEY) -> dict[str, torch.Tensor]:
    train_model(config, key, folder)
    return checkpoint.load(folder.model(key))["state"]


def files_of(folder: RunFolder) -> list[bytes]:
    """Return the bytes of a model and its training curve."""
    return [path.read_bytes() for path in (folder.model(KEY), folder.training(KEY))]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Compare weights to the bit."""
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def start_only(content: dict, **separate) -> Config:
    """Return settings without a warm start, so that one model has no parents."""
    content["parts"]["denoising"]["training"]["warm_start"] = None
    content["parts"]["denoising"]["training"]["separate"] |= separate
    return parse_config(content, source="tiny.yaml")


def record_steps(monkeypatch) -> list[int]:
    """Return a list to which every later batch adds its step."""
    asked = []
    sampler = BatchSampler.__call__
    monkeypatch.setattr(
        BatchSampler, "__call__",
        lambda self, step, generator: asked.append(step) or sampler(self, step, generator),
    )  # fmt: skip
    return asked


def train_until(step: int, config: Config, folder: RunFolder) -> None:
    """Train a denoiser until a step raises an error."""
    calls = itertools.count()
    losses = DenoisingObjective.losses

    def stopping(self, *arguments):
        if next(calls) == step:
            raise Interrupted
        return losses(self, *arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(DenoisingObjective, "losses", stopping)
        train_model(config, KEY, folder)


@pytest.mark.parametrize(
    ("window", "every", "stop", "optimizer"),
    [(1, 2, 5, "sgd"), (3, 4, 4, "adamw"), (4, 3, 8, "sgd"), (20, 3, 10, "adamw")],
)
def test_an_interrupted_training_resumes_to_the_same_bits(
    tiny_content, data_copy, monkeypatch, window, every, stop, optimizer
):
    config = start_only(
        tiny_content, steps=11, checkpoint_every=every, clip_norm=1.0,
        optimizer={"name": optimizer, "lr": 0.003},
    )  # fmt: skip
    monkeypatch.setattr(trainer, "CURVE_POINTS", max(1, 11 // window))
    train_model(config, KEY, data_copy)
    expected = files_of(data_copy)
    data_copy.model(KEY).unlink()
    train_until(stop, config, data_copy)
    assert not data_copy.model(KEY).exists()
    (path,) = (data_copy.root / "checkpoints").rglob("*.pt")
    assert checkpoint.load(path)["step"] == stop // every * every
    asked = record_steps(monkeypatch)
    train_model(config, KEY, data_copy)
    assert asked == list(range(stop // every * every, 11))
    assert files_of(data_copy) == expected
    assert not path.exists()


def test_the_same_seed_gives_the_same_files(tiny_content, data_copy):
    files = []
    for _ in range(2):
        train_model(start_only(copy.deepcopy(tiny_content)), KEY, data_copy)
        files.append(files_of(data_copy))
    assert files[0] == files[1]
    assert not list((data_copy.root / "checkpoints").rglob("*.pt"))


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
    child = trained(config, run_copy)
    for name, value in parent.items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(child[name], value, rtol=0, atol=1e-7)
        if name.endswith("num_batches_tracked"):
            assert child[name] == value + 1


@pytest.mark.parametrize("change", ["recipe", "data", "parent"])
def test_a_changed_recipe_data_set_or_parent_does_not_resume(
    tiny_content, run_copy, monkeypatch, change
):
    recipe = tiny_content["parts"]["denoising"]["training"]["separate"]
    recipe |= {"steps": 6, "checkpoint_every": 2}
    train_until(4, parse_config(tiny_content, source="tiny.yaml"), run_copy)
    if change == "recipe":
        recipe["optimizer"]["lr"] *= 2
    elif change == "data":
        path = run_copy.data("denoising")
        train = load_split(path, "train")
        train.images[0][0, 0, 0] ^= 1
        save_splits({"train": train, "test": load_split(path, "test")}, path)
        train_model(parse_config(tiny_content, source="tiny.yaml"), START, run_copy)
    else:
        path = run_copy.model("separate-start/all")
        checkpoint.save(checkpoint.load(path) | {"steps": 99}, path)
    asked = record_steps(monkeypatch)
    train_model(parse_config(tiny_content, source="tiny.yaml"), KEY, run_copy)
    assert asked == list(range(6))


@pytest.mark.parametrize(
    ("task", "crops"),
    [
        ("classification", {}),
        ("segmentation", {}),
        ("segmentation", {"patch": 24, "augment": "mirror"}),
    ],
)
def test_without_its_task_the_joint_training_is_each_of_its_controls_to_the_bit(
    tiny_content, run_copy, task, crops
):
    weights = {"task_weight": 0.0, "feature_weight": 0.0}
    tiny_content["parts"][task]["training"]["joint"] |= weights | crops
    config = parse_config(tiny_content, source="tiny.yaml")
    joint, *controls = (
        trained(config, run_copy, f"{name}-{task}/sigma30")
        for name in ("joint", "matched", "permuted", "perceptual")
    )
    for control in controls:
        assert_equal(joint, control)
    start = checkpoint.load(run_copy.model(KEY))["state"]
    assert not torch.equal(joint["out.weight"], start["out.weight"])


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_the_controls_differ_from_joint_and_leave_the_task_network_alone(
    tiny_config, run_copy, task
):
    key = {"classification": "classifier/clean", "segmentation": "segmenter/clean"}[task]
    before = run_copy.model(key).read_bytes()
    columns = {"joint": "task_loss", "permuted": "task_loss", "perceptual": "feature_loss"}
    weights, losses = [], []
    for name, column in columns.items():
        weights.append(trained(tiny_config, run_copy, f"{name}-{task}/sigma30")["out.weight"])
        curve = read_csv(run_copy.training(f"{name}-{task}/sigma30"), TRAINING_COLUMNS)
        others = {"task_loss", "feature_loss"} - {column}
        assert curve[column].notna().all()
        assert curve[list(others)].isna().all(axis=None)
        losses.append(curve["reconstruction_loss"].iloc[0])
    assert losses[0] == losses[1] == losses[2]  # the same batch, noise and start
    for one, other in itertools.combinations(weights, 2):
        assert not torch.equal(one, other)
    assert run_copy.model(key).read_bytes() == before


def test_training_begins_at_the_power_of_the_noise_and_removes_some(tiny_content, data_copy):
    config = start_only(tiny_content, steps=60, patch=24)
    train_model(config, KEY, data_copy)
    curve = read_csv(data_copy.training(KEY), TRAINING_COLUMNS)
    power = (30 / 255) ** 2  # what returning the input would cost
    assert curve["loss"].head(3).mean() == pytest.approx(power, rel=0.05)
    assert curve["loss"].tail(5).mean() < 0.85 * power


@pytest.mark.parametrize("key", ["separate/sigma30", "classifier/clean"])
def test_a_curve_names_the_size_of_its_network(tiny_run, key):
    curve = read_csv(tiny_run.training(key), TRAINING_COLUMNS)
    state = checkpoint.load(tiny_run.model(key))["state"]
    weights = [state[name] for name in state if not re.search("running|tracked", name)]
    assert set(curve["parameters"]) == {sum(map(torch.numel, weights))}
    sees = curve["receptive_field"].tolist()
    assert sees == [39] * len(sees) if key.startswith("separate") else np.isnan(sees).all()


def test_a_model_file_says_what_it_is(tiny_config, tiny_run):
    content = checkpoint.load(tiny_run.model("joint-segmentation/sigma30"))
    assert (content["key"], content["role"], content["sigma"], content["steps"]) == (
        "joint-segmentation/sigma30", "denoiser", 30.0, 5,
    )  # fmt: skip
    assert content["network"] == {"name": "released", "width": 8}
    assert content["fingerprint"] == fingerprint(tiny_config, content["key"], tiny_run)


def pretend_amx(monkeypatch, *, supported: bool) -> None:
    """Pretend a processor that multiplies bfloat16, or one that does not."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": supported})


def test_a_training_does_not_resume_in_another_number_format(tiny_content, data_copy, monkeypatch):
    config = start_only(tiny_content | {"precision": "auto"}, steps=6, checkpoint_every=2)
    pretend_amx(monkeypatch, supported=False)
    train_until(4, config, data_copy)
    pretend_amx(monkeypatch, supported=True)
    asked = record_steps(monkeypatch)
    train_model(config, KEY, data_copy)
    assert asked == list(range(6))
    assert set(read_csv(data_copy.training(KEY), TRAINING_COLUMNS)["precision"]) == {"bfloat16"}


def test_a_parent_in_another_number_format_is_refused(tiny_content, run_copy, monkeypatch):
    config = parse_config(tiny_content | {"precision": "auto"}, source="tiny.yaml")
    pretend_amx(monkeypatch, supported=False)
    for key in (START, KEY):
        train_model(config, key, run_copy)
    pretend_amx(monkeypatch, supported=True)
    with pytest.raises(UserError) as caught:
        train_model(config, "matched-segmentation/sigma30", run_copy)
    assert f"{KEY} was trained in float32" in caught.value.came
    assert "in bfloat16" in caught.value.came


def test_a_missing_parent_is_named(tiny_config, data_copy):
    with pytest.raises(UserError) as caught:
        train_model(tiny_config, KEY, data_copy)
    assert str(data_copy.model("separate-start/all")) in caught.value.mistake


@pytest.mark.parametrize(
    ("key", "parent"), [(KEY, START), ("joint-segmentation/sigma30", "segmenter/clean")]
)
def test_a_stale_parent_is_refused(tiny_content, run_copy, key, parent):
    part = "denoising" if parent == START else "segmentation"
    recipe = "warm_start" if parent == START else "task_network"
    tiny_content["parts"][part]["training"][recipe]["steps"] = 6
    config = parse_config(tiny_content, source="tiny.yaml")
    before = run_copy.model(key).read_bytes()
    with pytest.raises(UserError) as caught:
        train_model(config, key, run_copy)
    assert str(run_copy.model(parent)) in caught.value.mistake
    assert run_copy.model(key).read_bytes() == before
    train_model(config, parent, run_copy)
    train_model(config, key, run_copy)
    assert checkpoint.load(run_copy.model(key))["fingerprint"] == fingerprint(config, key, run_copy)


def denoising_data(root: Path) -> dict:
    """Write two folders of pictures and specify them."""
    for split, count in (("train", 6), ("test", 2)):
        for number in range(count):
            write_picture(root / split / f"{split}{number}.png")
    return {"kind": "folder", "name": "mine", "train": f"{root}/train", "test": f"{root}/test"}


def moved(root: Path) -> dict:
    """Specify the same training images in another place, other test images, and another name."""
    denoising_data(root)
    other = root.rename(root.with_name("elsewhere"))
    for path in other.glob("*/*"):
        path.rename(path.with_name(f"x{path.name}"))
    write_picture(other / "test/another.png")
    return {"kind": "folder", "name": "other", "train": f"{other}/train", "test": f"{other}/test"}


def edited(root: Path) -> dict:
    """Change one pixel of a training image."""
    data = denoising_data(root)
    path = root / "train/train3.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    return data


@pytest.mark.parametrize(("change", "again"), [(moved, False), (edited, True)])
def test_the_training_images_decide_and_not_their_place_or_name(
    tiny_content, tmp_path, monkeypatch, change, again
):
    monkeypatch.setenv("DHL_MODELS", str(tmp_path / "shared"))
    trained_steps, files = record_steps(monkeypatch), []
    for name, specify in (("one", denoising_data), ("two", change)):
        tiny_content["parts"]["denoising"]["data"] = specify(tmp_path / "photographs")
        config = start_only(tiny_content)
        folder = RunFolder(tmp_path / name)
        write_data(config, "denoising", folder)
        trained_steps.clear()
        train_model(config, KEY, folder)
        files.append(files_of(folder))
    assert bool(trained_steps) == again
    assert (files[0][0] != files[1][0]) == again
