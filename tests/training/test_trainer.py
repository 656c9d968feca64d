"""The training loop: one step a batch, the curve, number formats, and what stops it."""

from __future__ import annotations

import copy
import itertools
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from line import Line, LineBatches, line_recipe
from torch import nn

from dhl.config.recipes import Optimizer, Recipe, Schedule
from dhl.errors import UserError
from dhl.models import checkpoint
from dhl.models.build import build_network
from dhl.training import trainer
from dhl.training.objectives import DenoisingObjective, JointObjective
from dhl.training.trainer import Stopped, Trainer, TrainerSettings

CPU = torch.device("cpu")
SETTINGS = TrainerSettings(("line",), CPU)


def fit(objective, batches, recipe: Recipe, settings=SETTINGS) -> pd.DataFrame:
    """Train to the end; returns the curve."""
    return pd.DataFrame(Trainer(objective, batches, recipe, settings).fit())


def resumable(path: Path) -> TrainerSettings:
    """Return settings that save checkpoints."""
    return replace(SETTINGS, checkpoint_path=path, fingerprint="abc")


@pytest.mark.parametrize("clip", [None, 0.5])
def test_each_batch_takes_one_step_of_sgd_by_its_formula(clip):
    objective, batches = Line(), LineBatches()
    recipe = line_recipe(clip_norm=clip, schedule=Schedule(name="poly", power=0.9))
    fit(objective, batches, recipe)
    assert batches.steps == list(range(7))

    points = LineBatches()
    weights, velocity = np.array([0.5, -0.25]), np.zeros(2)
    for step in range(7):
        x, y = points(step, trainer.torch_generator("line", "batch", step))
        x, y = x.double().numpy().ravel(), y.double().numpy().ravel()
        residual = weights[0] * x + weights[1] - y
        gradient = np.array([2 * (residual * x).mean(), 2 * residual.mean()])
        if clip:
            gradient *= min(1, clip / np.linalg.norm(gradient))
        velocity = 0.9 * velocity + gradient + 0.01 * weights
        weights = weights - 0.1 * (1 - step / 7) ** 0.9 * velocity
    got = [objective.network.weight.item(), objective.network.bias.item()]
    np.testing.assert_allclose(got, weights, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 3, 125])
def test_the_curve_ends_with_the_last_step_and_averages_the_steps_between(steps):
    losses = []

    class Recorded(Line):
        def losses(self, images, targets, generator):
            result = super().losses(images, targets, generator)
            losses.append(result["loss"].item())
            return result

    curve = fit(Recorded(), LineBatches(), line_recipe(steps=steps))
    assert curve["step"].iloc[-1] == steps
    assert len(curve) <= 2 * trainer.CURVE_POINTS
    edges = [0, *curve["step"]]
    expected = [np.mean(losses[a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_allclose(curve["loss"], expected, rtol=1e-5)
    assert set(curve["lr"]) == {0.1}


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


@pytest.mark.parametrize(("window", "every"), [(1, 1), (4, 3), (20, 2)])
@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(
    tmp_path, monkeypatch, window, every, silently
):
    monkeypatch.setattr(trainer, "CURVE_POINTS", max(1, 20 // window))
    settings = resumable(tmp_path / "checkpoint.pt")
    recipe = line_recipe(steps=20, checkpoint_every=every)
    with pytest.raises(UserError, match="not finite"):
        fit(Breaks(7, silently=silently), LineBatches(), recipe, settings)
    kept = checkpoint.load(settings.checkpoint_path)
    assert kept["step"] == 7 // every * every
    good = Line()
    fit(good, LineBatches(), line_recipe(steps=kept["step"]))
    for name, value in good.network.state_dict().items():
        assert torch.equal(kept["state"][name], value), name


def test_a_constant_with_infinite_numbers_is_saved_and_resumed(tmp_path):
    def masked() -> Line:
        line = Line()
        line.network.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        return line

    settings, batches = resumable(tmp_path / "checkpoint.pt"), LineBatches()
    recipe = line_recipe(checkpoint_every=5)
    fit(masked(), LineBatches(), recipe, settings)
    again = masked()
    fit(again, batches, recipe, settings)
    assert batches.steps == [5, 6]  # resumed
    assert again.network.mask[1] == -torch.inf


def no_change(content: dict) -> dict:
    return content


@pytest.mark.parametrize(
    ("change", "damage"),
    [
        (no_change, lambda path: path.write_bytes(b"hello")),
        (no_change, lambda path: path.write_bytes(path.read_bytes()[:-1])),
        (no_change, lambda path: path.write_bytes(path.read_bytes().replace(b"step", b"stop"))),
        (lambda content: {"fingerprint": "other", "step": 3}, None),
        (lambda content: content | {"fingerprint": "other"}, None),
        (lambda content: content | {"step": 1000}, None),
        (lambda content: content | {"step": 0}, None),
        (lambda content: content | {"step": "hello"}, None),
        (lambda content: content | {"curve": [{"step": 6}]}, None),
        (lambda content: content | {"curve": "hello"}, None),
        (lambda content: content | {"sums": {"loss": torch.tensor(float("nan"))}}, None),
        (lambda content: content | {"state": {}}, None),
        (lambda content: content | {"state": {"weight": torch.ones(3, 3)}}, None),
        (lambda content: content | {"optimizer": {}}, None),
    ],
)
def test_an_unusable_checkpoint_is_put_aside_and_costs_time_only(tmp_path, caplog, change, damage):
    settings = resumable(tmp_path / "checkpoint.pt")
    recipe = line_recipe(checkpoint_every=5)
    expected, curve = Line(), fit(Line(), LineBatches(), recipe)
    fit(expected, LineBatches(), recipe, settings)
    path = settings.checkpoint_path
    checkpoint.save(change(checkpoint.load(path)), path)
    if damage:
        damage(path)
    before = path.read_bytes()
    again, batches = Line(), LineBatches()
    pd.testing.assert_frame_equal(fit(again, batches, recipe, settings), curve)
    assert batches.steps == list(range(7))
    assert torch.equal(again.network.weight, expected.network.weight)
    assert (tmp_path / "checkpoint.pt.damaged").read_bytes() == before
    (warning,) = (one for one in caplog.records if one.levelname == "WARNING")
    assert str(path) in warning.getMessage()


def small_fit(precision: torch.dtype = torch.float32, steps: int = 4) -> tuple[dict, pd.DataFrame]:
    """Train a small denoiser on fixed batches; returns weights and curve."""
    torch.manual_seed(3)
    network = build_network("denoiser", "released", width=8)
    images = torch.rand(4, 3, 24, 24)
    recipe = Recipe(steps=steps, batch=4, optimizer=Optimizer(name="sgd", lr=0.01))
    objective = DenoisingObjective(network, sigma=30, output_side=18)
    settings = TrainerSettings(("small",), CPU, precision)
    curve = fit(objective, lambda step, generator: (images, None), recipe, settings)
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


def test_channels_last_computes_the_same_as_a_plain_loop():
    torch.manual_seed(3)
    network = build_network("denoiser", "released", width=8).train()
    images = torch.rand(4, 3, 24, 24)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=5e-4)
    for step in range(4):
        generator = trainer.torch_generator("small", "noise", step)
        # The draw depends on the memory layout: the trainer's images are channels_last.
        noise = torch.empty_like(images, memory_format=torch.channels_last)
        noisy = images + noise.normal_(generator=generator).contiguous() * 30 / 255
        loss = (network.forward_unpadded(noisy) - images[..., 3:-3, 3:-3]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in small_fit()[0].items():
        torch.testing.assert_close(value, network.state_dict()[name], rtol=1e-3, atol=1e-5)


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
    fit(objective, lambda step, generator: (images, labels), recipe)
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not frozen.training
    for name, value in network.state_dict().items():
        assert not torch.equal(value, start[name]), name


def test_the_scale_of_the_loss_multiplies_its_gradient_and_not_the_curve():
    curves, weights = [], []
    for scale, lr in ((1.0, 0.08), (4.0, 0.02)):
        objective = Line()
        optimizer = Optimizer(name="sgd", lr=lr, momentum=0.9, weight_decay=0.0)
        recipe = line_recipe(optimizer=optimizer, loss_scale=scale)
        curves.append(fit(objective, LineBatches(), recipe)["loss"])
        weights.append(objective.network.weight.item())
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-5)
    assert weights[0] == pytest.approx(weights[1])


class Normalised(Line):
    """Fits a BatchNorm, which starts with a running mean of 3 and a variance of 4."""

    def __init__(self):
        super().__init__()
        self.network = nn.BatchNorm1d(1, eps=1e-9)
        self.network.running_mean.fill_(3.0)
        self.network.running_var.fill_(4.0)


def test_fixed_statistics_are_used_and_not_changed():
    batch, fixed = Normalised(), Normalised()
    recipe = line_recipe(steps=1)
    fit(batch, LineBatches(), recipe)
    fit(fixed, LineBatches(), recipe.model_copy(update={"batch_norm_statistics": "fixed"}))

    x, y = LineBatches()(0, trainer.torch_generator("line", "batch", 0))
    x, y = x.double().numpy().ravel(), y.double().numpy().ravel()
    expected = {}
    for name, mean, deviation in (("batch", x.mean(), x.std()), ("fixed", 3, 2)):
        inputs = (x - mean) / deviation
        residual = inputs - y  # the factor is 1, the bias 0
        gradient = np.array([2 * (residual * inputs).mean(), 2 * residual.mean()])
        expected[name] = [1, 0] - 0.1 * (gradient + 0.01 * np.array([1, 0]))
    for name, network in (("batch", batch.network), ("fixed", fixed.network)):
        got = [network.weight.item(), network.bias.item()]
        np.testing.assert_allclose(got, expected[name], rtol=1e-4)
    kept = fixed.network.running_mean.item(), fixed.network.running_var.item()
    assert kept == (3, 4)
    moved = 0.9 * 3 + 0.1 * x.mean(), 0.9 * 4 + 0.1 * x.var(ddof=1)
    found = batch.network.running_mean.item(), batch.network.running_var.item()
    np.testing.assert_allclose(found, moved, rtol=1e-5)


class SignalledBatches(LineBatches):
    """Sends its own process a signal when it is asked for a step."""

    def __init__(self, step: int, number: signal.Signals):
        super().__init__()
        self.stop, self.number = step, number

    def __call__(self, step, generator):
        if step == self.stop:
            signal.raise_signal(self.number)
        return super().__call__(step, generator)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_end_and_saves_a_checkpoint(tmp_path, number):
    settings = resumable(tmp_path / "checkpoint.pt")
    recipe = line_recipe(steps=20, checkpoint_every=100)
    handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Stopped) as caught:
        fit(Line(), SignalledBatches(7, number), recipe, settings)
    assert f"{number.name} at step 8;" in caught.value.came
    assert str(settings.checkpoint_path) in caught.value.came
    assert checkpoint.load(settings.checkpoint_path)["step"] == 8
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == handlers

    resumed, uninterrupted, rest = Line(), Line(), LineBatches()
    curve = fit(resumed, rest, recipe, settings)
    expected = fit(uninterrupted, LineBatches(), recipe)
    assert rest.steps == list(range(8, 20))
    pd.testing.assert_frame_equal(curve, expected)
    assert torch.equal(resumed.network.weight, uninterrupted.network.weight)


class Dropped(Line):
    """Drops half of the points, so that the draw decides the loss."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def losses(self, images, targets, generator):
        images = nn.functional.dropout(images, 0.5)
        self.kept.append(tuple((images != 0).flatten().tolist()))
        return super().losses(images, targets, generator)


def test_the_step_alone_decides_the_draw_of_dropout(tmp_path):
    recipe = line_recipe(steps=8, checkpoint_every=3)
    dropped = Dropped()
    expected = fit(dropped, LineBatches(), recipe)
    assert len(set(dropped.kept)) > 1
    settings = resumable(tmp_path / "checkpoint.pt")
    with pytest.raises(Stopped):
        fit(Dropped(), SignalledBatches(4, signal.SIGTERM), recipe, settings)
    torch.rand(7)  # changes the global state
    pd.testing.assert_frame_equal(fit(Dropped(), LineBatches(), recipe, settings), expected)
    plain = fit(Line(), LineBatches(), recipe)
    assert not np.allclose(plain["loss"], expected["loss"], rtol=0.05)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_training_computes_the_same_as_a_plain_one():
    states, losses = [], []
    for compiled in (False, True):
        torch.manual_seed(3)
        network = build_network("denoiser", "dncnn", width=4, depth=3)
        objective = DenoisingObjective(network, sigma=30, output_side=8)
        recipe = line_recipe(steps=2)
        images = torch.rand(2, 3, 8, 8)
        settings = TrainerSettings(("small",), CPU, compiled=compiled)
        curve = fit(objective, lambda *_, batch=images: (batch, None), recipe, settings)
        losses.append(curve["loss"])
        states.append(network.state_dict())
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert list(states[1]) == list(states[0])
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-5)
