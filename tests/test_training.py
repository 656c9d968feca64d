"""The fit loop: steps by formula, resume to the bit, frozen is bit-identical, seeds decide."""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dhl import checkpoint, training
from dhl.config import Config
from dhl.config.file import parse_config
from dhl.config.training import Optimizer, Recipe, Schedule
from dhl.errors import UserError
from dhl.models import build_network
from dhl.objectives.denoise import Objective as DenoiseObjective
from dhl.objectives.joint import Objective as JointObjective
from dhl.results import TRAINING_COLUMNS, RunFolder, read_csv
from dhl.training import Fit, fit, learning_rate, train_model

CPU = torch.device("cpu")
KEY = "separate/sigma30"


class Interrupted(Exception):
    """Stands for a killed process."""


class Line:
    """Fits a line: the loss and its gradient are known in closed form."""

    def __init__(self):
        self.network = nn.Linear(1, 1)
        self.network.weight.data.fill_(0.5)
        self.network.bias.data.fill_(-0.25)

    def losses(self, images, targets, generator):
        loss = (self.network(images.flatten(1)) - targets).square().mean()
        return {"loss": loss}


class LineBatches:
    """Six points a step, drawn from the step's generator; remembers the steps that it was asked."""

    def __init__(self):
        self.steps = []

    def __call__(self, step, generator):
        self.steps.append(step)
        x = torch.rand(6, 1, 1, 1, generator=generator)
        return x, 3 * x.flatten(1) + 1


def line_recipe(**changes) -> Recipe:
    """Return a plain recipe of SGD."""
    optimizer = Optimizer(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.01)
    return Recipe(**{"steps": 7, "batch": 6, "optimizer": optimizer, **changes})


@pytest.mark.parametrize("step", [0, 1, 4, 5, 9, 10, 19])
def test_learning_rates_follow_their_formulas(step):
    def rate(**schedule):
        return learning_rate(step, steps=20, lr=0.01, schedule=Schedule(**schedule))

    assert rate(name="constant") == 0.01
    assert rate(name="step", every=5, gamma=0.2) == pytest.approx(0.01 * 0.2 ** (step // 5))
    assert rate(name="cosine") == pytest.approx(0.005 * (1 + math.cos(math.pi * step / 20)))
    warm = 0.25 * 20
    rising = 0.01 * (step + 1) / (warm + 1)
    falling = 0.005 * (1 + math.cos(math.pi * (step - warm) / (20 - warm)))
    expected = rising if step < warm else falling
    assert rate(name="one-cycle", warmup=0.25) == pytest.approx(expected)


def test_one_cycle_rises_to_its_highest_rate_once_and_ends_near_zero():
    rates = [
        learning_rate(step, steps=200, lr=0.003, schedule=Schedule(name="one-cycle"))
        for step in range(200)
    ]
    peak = int(np.argmax(rates))
    assert max(rates) == pytest.approx(0.003)
    assert peak == 20
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert rates[-1] < 1e-6


@pytest.mark.parametrize("clip", [None, 0.5])
def test_each_batch_takes_one_step_of_sgd_by_its_formula(clip):
    objective, batches, recipe = Line(), LineBatches(), line_recipe(clip_norm=clip)
    fit(objective, batches, recipe, Fit(seed_names=("line",), device=CPU))
    assert batches.steps == list(range(7))

    points = LineBatches()
    weights, velocity = np.array([0.5, -0.25]), np.zeros(2)
    for step in range(7):
        x, y = points(step, training.torch_generator("line", "batch", step))
        x, y = x.double().numpy().ravel(), y.double().numpy().ravel()
        residual = weights[0] * x + weights[1] - y
        gradient = np.array([2 * (residual * x).mean(), 2 * residual.mean()])
        if clip:
            gradient *= min(1, clip / np.linalg.norm(gradient))
        velocity = 0.9 * velocity + gradient + 0.01 * weights
        weights = weights - 0.1 * velocity
    got = [objective.network.weight.item(), objective.network.bias.item()]
    np.testing.assert_allclose(got, weights, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 3, 125])
def test_the_curve_ends_with_the_last_step_and_averages_the_steps_between(steps):
    losses = []

    class Recorded(Line):
        """Keeps each loss."""

        def losses(self, images, targets, generator):
            result = super().losses(images, targets, generator)
            losses.append(result["loss"].item())
            return result

    curve = fit(
        Recorded(), LineBatches(), line_recipe(steps=steps), Fit(seed_names=("l",), device=CPU)
    )
    assert curve["step"].iloc[-1] == steps
    assert len(curve) <= 2 * training.CURVE_POINTS
    edges = [0, *curve["step"]]
    expected = [np.mean(losses[a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_allclose(curve["loss"], expected, rtol=1e-5)
    assert set(curve["lr"]) == {0.1}


def tiny_model(config: Config, folder: RunFolder, key: str = KEY) -> dict:
    """Train one model and return its file."""
    train_model(config, key, folder)
    return checkpoint.load(folder.model(key))


def start_only(content: dict, **separate) -> Config:
    """Return settings without a warm start, so that one model has no parents."""
    content["training"]["warm_start"] = None
    content["training"]["separate"] |= separate
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
    losses = DenoiseObjective.losses

    def stopping(self, *arguments):
        if next(calls) == step:
            raise Interrupted
        return losses(self, *arguments)

    monkeypatch.setattr(DenoiseObjective, "losses", stopping)


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
    monkeypatch.setattr(training, "CURVE_POINTS", max(1, 11 // window))
    tiny_model(config, data_copy)
    whole = [path.read_bytes() for path in (data_copy.model(KEY), data_copy.training(KEY))]
    data_copy.model(KEY).unlink()
    data_copy.training(KEY).unlink()
    with monkeypatch.context() as patch:
        interrupt_at(patch, stop)
        with pytest.raises(Interrupted):
            train_model(config, KEY, data_copy)
    assert not data_copy.model(KEY).exists()
    (side,) = (data_copy.root / "checkpoints").rglob("*.pt")
    assert checkpoint.load(side)["step"] == stop // every * every
    asked = record_steps(monkeypatch)
    train_model(config, KEY, data_copy)
    assert asked == list(range(stop // every * every, 11))
    again = [path.read_bytes() for path in (data_copy.model(KEY), data_copy.training(KEY))]
    assert again == whole
    assert not side.exists()


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
    tiny_content["training"]["separate"] |= {
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


class Breaks(Line):
    """Returns NaN from a step on, or makes the weights infinite while its loss is finite."""

    def __init__(self, step: int, *, silently: bool):
        super().__init__()
        self.left, self.silently = step, silently

    def losses(self, images, targets, generator):
        result = super().losses(images, targets, generator)
        self.left -= 1
        if self.left < 0:
            if not self.silently:
                return {"loss": result["loss"] * float("nan")}
            # Finite in value, infinite in slope.
            return {"loss": (self.network.weight - self.network.weight.detach()).sqrt().sum()}
        return result


@pytest.mark.parametrize(("window", "every"), [(1, 1), (3, 2), (4, 3), (20, 2)])
@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(
    tmp_path, monkeypatch, window, every, silently
):
    monkeypatch.setattr(training, "CURVE_POINTS", max(1, 20 // window))
    place = Fit(("line",), CPU, side_file=tmp_path / "side.pt", fingerprint="abc")
    recipe = line_recipe(steps=20, checkpoint_every=every)
    with pytest.raises(UserError, match=r"finite number[\s\S]*lower the learning rate"):
        fit(Breaks(7, silently=silently), LineBatches(), recipe, place)
    kept = checkpoint.load(place.side_file)
    assert kept["step"] == 7 // every * every
    good = Line()
    fit(good, LineBatches(), line_recipe(steps=kept["step"]), Fit(("line",), CPU))
    for name, value in good.network.state_dict().items():
        assert torch.equal(kept["state"][name], value), name


def test_a_side_file_of_another_training_is_refused_and_kept(tmp_path):
    side = tmp_path / "side.pt"
    checkpoint.save({"fingerprint": "other", "step": 3}, side)
    place = Fit(("line",), CPU, side_file=side, fingerprint="abc")
    with pytest.raises(UserError, match=r"same configuration, code and data") as caught:
        fit(Line(), LineBatches(), line_recipe(), place)
    assert str(side) in str(caught.value)
    assert checkpoint.load(side)["step"] == 3


@pytest.mark.parametrize("change", ["recipe", "data", "parent"])
def test_a_changed_recipe_data_set_or_parent_does_not_resume(
    tiny_content, run_copy, monkeypatch, change
):
    tiny_content["training"]["separate"] |= {"steps": 6, "checkpoint_every": 2}
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(Interrupted):
            train_model(parse_config(tiny_content, source="tiny.yaml"), KEY, run_copy)
    if change == "recipe":
        tiny_content["training"]["separate"]["optimizer"]["lr"] *= 2
    path = {"data": run_copy.data("denoising"), "parent": run_copy.model("separate-start/all")}
    if change == "data":  # a byte after the archive's end changes the digest alone
        path[change].write_bytes(path[change].read_bytes() + b"\0")
    elif change == "parent":
        content = checkpoint.load(path[change])
        checkpoint.save(content | {"steps": 99}, path[change])
    asked = record_steps(monkeypatch)
    train_model(parse_config(tiny_content, source="tiny.yaml"), KEY, run_copy)
    assert asked == list(range(6))


def small_fit(precision: torch.dtype = torch.float32, steps: int = 4) -> tuple[dict, pd.DataFrame]:
    """Train a small denoiser on fixed batches; returns weights and curve."""
    torch.manual_seed(3)
    network = build_network("denoiser", "released", width=8)
    images = torch.rand(4, 3, 24, 24)
    recipe = Recipe(steps=steps, batch=4, optimizer=Optimizer(name="sgd", lr=0.01))
    objective = DenoiseObjective(network, sigma=30, crops=True)
    place = Fit(("small",), CPU, precision)
    curve = fit(objective, lambda step, generator: (images, None), recipe, place)
    return network.state_dict(), curve


def test_bfloat16_stays_close_to_float32_and_keeps_float32_weights():
    exact, fast = small_fit(), small_fit(torch.bfloat16)
    np.testing.assert_allclose(fast[1]["loss"], exact[1]["loss"], rtol=0.03)
    assert not np.array_equal(fast[1]["loss"], exact[1]["loss"])
    for name, value in exact[0].items():
        if value.is_floating_point():
            assert fast[0][name].dtype == torch.float32
            scale = value.abs().max().item()
            torch.testing.assert_close(fast[0][name], value, rtol=0, atol=0.05 * scale + 2e-3)


def test_channels_last_computes_what_a_plain_loop_computes():
    torch.manual_seed(3)
    network = build_network("denoiser", "released", width=8).train()
    images = torch.rand(4, 3, 24, 24)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=5e-4)
    for step in range(4):
        generator = training.torch_generator("small", "noise", step)
        # What is drawn depends on how memory is laid out: the loop's images lie channels last.
        noise = torch.empty_like(images, memory_format=torch.channels_last)
        noisy = images + noise.normal_(generator=generator).contiguous() * 30 / 255
        loss = (network.forward_unpadded(noisy) - images[..., 3:-3, 3:-3]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in small_fit()[0].items():
        torch.testing.assert_close(value, network.state_dict()[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_without_its_task_the_joint_training_is_the_matched_one_to_the_bit(
    tiny_content, run_copy, task
):
    tiny_content["training"]["joint"][task] |= {"task_weight": 0.0}
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
    tiny_content["training"]["joint"]["segmentation"] |= {
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


def test_joint_training_leaves_the_frozen_network_as_it_was_to_the_bit():
    torch.manual_seed(0)
    frozen = build_network("segmenter", "small-largefov", width=4, classes=11)
    frozen(torch.rand(4, 3, 16, 16))  # its BatchNorm statistics are not those of a fresh network
    before = copy.deepcopy(frozen.state_dict())
    network = build_network("denoiser", "released", width=4)
    start = copy.deepcopy(network.state_dict())
    objective = JointObjective(network, task_network=frozen, sigma=30, task_weight=0.5)
    images, labels = torch.rand(4, 3, 16, 16), torch.randint(11, (4, 16, 16))
    recipe = Recipe(steps=3, batch=4, optimizer=Optimizer(name="adamw", lr=0.01))
    fit(objective, lambda step, generator: (images, labels), recipe, Fit(("joint",), CPU))
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not frozen.training
    moved = [name for name, value in network.state_dict().items()
             if not torch.equal(value, start[name])]  # fmt: skip
    assert set(moved) == set(start)


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


def test_a_missing_parent_is_named(tiny_config, data_copy):
    with pytest.raises(UserError, match=r"no file .*separate-start/all\.pt"):
        train_model(tiny_config, KEY, data_copy)
    assert not Path(data_copy.model(KEY)).exists()
