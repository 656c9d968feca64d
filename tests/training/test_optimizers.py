"""Learning rates and optimizers by their formulas."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from dhl.config.recipes import Optimizer, Schedule
from dhl.training.optimizers import build_optimizer, learning_rate, set_learning_rate


@pytest.mark.parametrize("step", [0, 1, 4, 5, 9, 10, 19])
def test_learning_rates_follow_their_formulas(step):
    def rate(**schedule):
        return learning_rate(step, steps=20, lr=0.01, schedule=Schedule(**schedule))

    assert rate(name="constant") == 0.01
    assert rate(name="step", every=5, gamma=0.2) == pytest.approx(0.01 * 0.2 ** (step // 5))
    assert rate(name="poly", power=0.9) == pytest.approx(0.01 * ((20 - step) / 20) ** 0.9)
    assert rate(name="cosine") == pytest.approx(0.005 * (1 + math.cos(math.pi * step / 20)))
    warm = 0.25 * 20
    rising = 0.01 * (step + 1) / (warm + 1)
    falling = 0.005 * (1 + math.cos(math.pi * (step - warm) / (20 - warm)))
    expected = rising if step < warm else falling
    assert rate(name="one-cycle", warmup=0.25) == pytest.approx(expected)


def three_layers() -> nn.Sequential:
    """Return a network with biases, BatchNorm and a last layer."""
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def test_each_weight_has_its_factor_of_rate_and_decay():
    network = three_layers()
    settings = Optimizer(
        lr=0.01, weight_decay=0.5, last_layer_lr=10.0, bias_lr=2.0, bias_decay=0.0
    )  # DeepLab's solver: 1 and 1, biases 2 and 0, the last layer 10 and 1, its bias 20 and 0
    optimizer = build_optimizer(network, settings)
    set_learning_rate(optimizer, 0.002)
    names = {weight: name for name, weight in network.named_parameters()}
    found = {
        names[weight]: (round(group["lr"] / 0.002, 6), group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    assert found == {
        "0.weight": (1, 0.5), "0.bias": (2, 0), "1.weight": (1, 0.5), "1.bias": (2, 0),
        "2.weight": (10, 0.5), "2.bias": (20, 0),
    }  # fmt: skip


def test_biases_of_attention_are_biases():
    network = nn.Sequential(nn.MultiheadAttention(4, 1), nn.Linear(4, 1))
    groups = build_optimizer(network, Optimizer(bias_decay=0.0)).param_groups
    (plain,) = [group for group in groups if group["weight_decay"] == 0]
    assert {weight.shape for weight in plain["params"]} == {(12,), (4,), (1,)}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_plain_settings_make_one_group_in_the_networks_order(name):
    network = three_layers()
    (group,) = build_optimizer(network, Optimizer(name=name)).param_groups
    assert [id(weight) for weight in group["params"]] == [id(w) for w in network.parameters()]
    assert (group["lr"], group["weight_decay"]) == (1e-4, 5e-4)


def three_steps(network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict, dict]:
    """Train for three steps; returns the states of both."""
    torch.manual_seed(1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.rand(4, 2)).square().sum().backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    return network.state_dict(), optimizer.state_dict()["state"]


@pytest.mark.parametrize(
    ("name", "torchs"),
    [("sgd", partial(torch.optim.SGD, momentum=0.9)), ("adamw", torch.optim.AdamW)],
)
def test_an_optimizer_computes_the_same_as_that_of_torch(name, torchs):
    own, other = three_layers(), three_layers()
    other.load_state_dict(own.state_dict())
    found = three_steps(own, build_optimizer(own, Optimizer(name=name, momentum=0.9)))
    expected = three_steps(other, torchs(other.parameters(), lr=1e-4, weight_decay=5e-4))
    torch.testing.assert_close(found, expected)
    assert not torch.equal(own[0].weight, three_layers()[0].weight)
