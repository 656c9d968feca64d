"""Operations of networks, counted by torch on meta tensors, which have a shape but no values.

A plug-in whose network reads a value, or a constant on the CPU, is counted on the CPU instead.
A multiplication and an addition are two operations; only convolutions and matrix products count.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dhl.config.plugins import is_reference, references, running
from dhl.config.schema import Config
from dhl.models.build import build_network
from dhl.planning.image_counts import PartCounts
from dhl.run.model_graph import ModelSpec, model_spec
from dhl.sigma import GAUSSIAN
from dhl.training.perceptual_objective import PerceptualObjective
from dhl.training.train import build_objective


def network_name(spec: ModelSpec) -> str:
    """Name a model's network with its options; models of one network share the name."""
    return f"{spec.role} {json.dumps(spec.build_options, sort_keys=True)}"


def forward_flops(spec: ModelSpec, height: int, width: int) -> int:
    """Count the operations of the forward pass of one image of this size in pixels."""
    return _forward_flops(network_name(spec), height, width)


@functools.cache
def _forward_flops(name: str, height: int, width: int) -> int:
    """Count the operations once for all models with the same network."""

    def run(device: str) -> None:
        _network(name, device).eval()(torch.zeros(1, 3, height, width))

    return _count(run, references(_options(name)["name"]))


def _count(run: Callable[[str], object], plugins: Sequence[str]) -> int:
    """Count the operations of a function of the device, on which it makes its tensors."""

    def count(device: str) -> int:
        with torch.device(device), torch.no_grad(), FlopCounterMode(display=False) as counter:
            run(device)
        return counter.get_total_flops()

    try:
        return count("meta")
    except RuntimeError:  # also NotImplementedError: there is no value to read or to copy
        if not plugins:
            raise
        with running(" or ".join(plugins)):
            return count("cpu")


def parameter_count(spec: ModelSpec) -> int:
    """Count the parameters of a model's network."""
    return sum(one.numel() for one in _network(network_name(spec), "meta").parameters())


def _options(name: str) -> dict[str, Any]:
    """Return the options in the name of a network."""
    return json.loads(name.partition(" ")[2])


@functools.cache
def _network(name: str, device: str) -> nn.Module:
    """Build a network on meta tensors, or real ones; a plug-in needs real values to be built."""
    options = _options(name)
    with torch.device("cpu" if is_reference(options["name"]) else device):
        return build_network(name.partition(" ")[0], **options).to(device)


def training_shape(
    config: Config, counts: dict[str, PartCounts], spec: ModelSpec
) -> tuple[int, int, int]:
    """Return batch, height and width of a training step, or of a test batch without training."""
    part = counts[spec.part]
    if spec.recipe is None:
        return config.evaluation.batch, part.test.height, part.test.width
    images, patch = part.train or part.test, spec.recipe.patch
    return spec.recipe.batch, patch or images.height, patch or images.width


def step_flops(config: Config, counts: dict[str, PartCounts], spec: ModelSpec) -> dict[str, int]:
    """Count the operations of a training step, by the name of the network.

    The forward pass, the gradient of the activations and that of the weights cost the same; a
    frozen network has no gradient of the weights, and none at all of the clean images whose
    features `perceptual` compares.
    """
    batch, *sides = training_shape(config, counts, spec)
    if spec.frozen is None:
        return {network_name(spec): 3 * batch * _objective_flops(spec, None, *sides)}
    frozen = model_spec(config, spec.frozen)
    alone = _objective_flops(replace(spec, objective="denoise"), None, *sides)
    behind = _objective_flops(spec, frozen, *sides) - alone
    backward = behind // 2 if spec.objective == "perceptual" else behind
    return {
        network_name(spec): 3 * batch * alone,
        network_name(frozen): batch * (behind + backward),
    }


def _objective_flops(spec: ModelSpec, frozen: ModelSpec | None, height: int, width: int) -> int:
    """Count the operations of one training image's forward pass through the objective."""
    plain = replace(spec, noise=GAUSSIAN)  # a plug-in may need real values
    sides = {"classification": (), "segmentation": (height, width)}.get(spec.part)

    def run(device: str) -> None:
        network = _network(network_name(spec), device).train()
        task_network = None
        if frozen is not None:  # a copy, because an objective may add hooks
            task_network = copy.deepcopy(_network(network_name(frozen), device))
        # No random numbers are drawn on meta tensors.
        generator: Any = None if device == "meta" else torch.Generator()
        objective = build_objective(network, plain, task_network=task_network)
        if isinstance(objective, PerceptualObjective):
            objective.last = 0  # to find the last layer would be counted
        # Two images: BatchNorm cannot train on a single pixel.
        targets = None if sides is None else torch.zeros(2, *sides, dtype=torch.long)
        objective.losses(torch.zeros(2, 3, height, width), targets, generator)

    names = [one.network.name for one in (frozen, spec) if one is not None]
    return _count(run, references(*names)) // 2
