"""On a GPU, training and evaluation compute what they compute on a CPU, and repeat to the bit.

Skipped without a GPU; with `--on-cpu` the tests run on the CPU, which only tests themselves.
"""

from __future__ import annotations

import copy
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dhl.config.architectures import NETWORKS
from dhl.config.parse import parse_config
from dhl.config.recipes import Optimizer, Recipe
from dhl.errors import UserError
from dhl.models.build import build_network
from dhl.training.device import reserved_device
from dhl.training.objectives import DenoisingObjective, JointObjective
from dhl.training.trainer import Trainer, TrainerSettings

pytestmark = pytest.mark.gpu
OPTIONS = {"width": 8, "depth": 4}
NOISE: dict[str, Any] = {"sigma": 30, "output_side": None}
ALL = [(role, name) for role, names in NETWORKS.items() for name in names]


@pytest.fixture
def device(gpu, tiny_content):
    """Set the arithmetic as a training does, and restore it."""
    settings = tiny_content | {"device": gpu.type, "jobs_per_gpu": 8}
    deterministic = torch.are_deterministic_algorithms_enabled()
    with reserved_device(parse_config(settings, source="tiny.yaml")) as chosen:
        yield chosen
    torch.use_deterministic_algorithms(deterministic)


def small(role: str, name: str) -> nn.Module:
    """Build a network; those with a width are narrow."""
    options = {key: value for key, value in OPTIONS.items() if key in NETWORKS[role][name].options}
    others = {} if role == "denoiser" else {"classes": 5}
    if NETWORKS[role][name].of_one_sigma:
        others = {"sigma": 30.0}
    torch.manual_seed(0)
    return build_network(role, name, **options, **others)


def pictures(count: int, side: int) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def training(device: torch.device, network: nn.Module, objective=None, **changes) -> Trainer:
    """Prepare eight steps in bfloat16, by default for the MSE, on the same batches each time."""
    objective = objective or DenoisingObjective(network, **NOISE)
    optimizer = Optimizer(name="adamw", lr=1e-3)
    recipe = Recipe(steps=8, batch=4, optimizer=optimizer, checkpoint_every=4)
    settings = TrainerSettings(("gpu",), device, torch.bfloat16, **changes)

    def batches(step, generator):
        images = torch.rand(4, 3, 32, 32, generator=generator)
        return images.to(device), torch.randint(5, (4,), generator=generator).to(device)

    return Trainer(objective, batches, recipe, settings)


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.cpu().clone() for name, value in network.state_dict().items()}


def largest_difference(one: dict, other: dict) -> float:
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


@pytest.mark.parametrize(("role", "name"), ALL)
def test_a_network_has_the_output_of_the_cpu(device, role, name):
    if device.type == "cpu" and "width" not in NETWORKS[role][name].options:
        pytest.skip("a network of full size")
    if name.startswith("efficientnet"):
        pytest.importorskip("efficientnet_lite_pytorch")
    network, images = small(role, name).eval(), pictures(2, 224 if role == "classifier" else 64)
    with torch.inference_mode():
        here = network(images)
        there = copy.deepcopy(network).to(device)(images.to(device)).cpu()
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-4 * float(here.abs().max()))


def test_joint_training_leaves_the_frozen_network_as_it_is(device):
    network, frozen = small("denoiser", "released"), small("classifier", "small-vgg").to(device)
    first, before = state(network), state(frozen)
    objective = JointObjective(network, task_network=frozen, task_weight=0.01, **NOISE)
    training(device, network, objective).fit()
    assert largest_difference(state(frozen), before) == 0
    assert largest_difference(state(network), first) > 1e-4


def test_a_resumed_training_has_the_same_weights(device, tmp_path, record_property):
    whole, parted = small("denoiser", "released"), small("denoiser", "released")
    training(device, whole).fit()
    saving = {"checkpoint_path": tmp_path / "checkpoint.pt", "fingerprint": "same"}
    first = training(device, parted, **saving)
    while first.steps_done < 4:
        first.step()
    first.save_checkpoint()
    again = small("denoiser", "released")
    second = training(device, again, **saving)
    assert second.steps_done == 4
    second.fit()
    difference = largest_difference(state(again), state(whole))
    record_property("largest_difference", difference)
    assert difference == 0


def test_too_large_a_batch_names_a_smaller_one(device):
    if device.type == "cpu":
        pytest.skip("a CPU's memory is not a limit that a test may reach")
    network = small("denoiser", "dncnn")
    trainer = training(device, network)
    enormous = torch.empty(1, 1, 1, 1, device=device).expand(2**12, 3, 2**12, 2**12)
    trainer.batches = lambda *_: (enormous, None)
    with pytest.raises(UserError) as caught:
        trainer.fit()
    assert "`batch: 2`" in caught.value.do


def digest_of_a_training(device: torch.device) -> str:
    """Train the denoiser, and digest its weights."""
    network = small("denoiser", "released")
    training(device, network).fit()
    content = b"".join(value.numpy().tobytes() for value in state(network).values())
    return hashlib.sha256(content).hexdigest()


def test_two_trainings_at_once_have_the_weights_of_one_alone(device):
    script = (
        "import os, sys, torch\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_gpu import digest_of_a_training\n"
        "from dhl.training import device\n"
        "device._make_cuda_repeatable()\n"
        f"torch.set_num_threads({torch.get_num_threads()})\n"
        f"print(digest_of_a_training(torch.device({str(device)!r})))\n"
    )
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    digests = {process.communicate(timeout=240)[0].strip() for process in both}
    assert digests == {digest_of_a_training(device)}
