"""Operations of networks, counted by torch on meta tensors, which have a shape and no values.

A multiplication and an addition are two operations; only convolutions and matrix products count.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from dhl.config.plugins import is_reference
from dhl.config.schema import Config
from dhl.models.build import build_network
from dhl.planning.image_counts import PartCounts, count_all_images
from dhl.run.model_graph import ModelSpec, all_models, model_spec
from dhl.sigma import GAUSSIAN
from dhl.training.train import build_objective


def network_flops(role: str, options: dict[str, Any], height: int, width: int) -> int:
    """Count the forward pass of one image through a network with these build options."""
    return _count(role, json.dumps(options, sort_keys=True), height, width)


def parameter_count(spec: ModelSpec) -> int:
    """Count the parameters of a model's network."""
    network = _without_content(spec.role, spec.build_options)
    return sum(one.numel() for one in network.parameters())


@functools.cache
def _count(role: str, options: str, height: int, width: int) -> int:
    """Count once for all models with the same network; `options` are its build options as JSON."""
    network = _without_content(role, json.loads(options)).eval()
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, height, width))
    return counter.get_total_flops()


def _without_content(role: str, options: dict[str, Any]) -> nn.Module:
    """Build a network on meta tensors; a plug-in may need real values while it is built."""
    if is_reference(options["name"]):
        return build_network(role, **options).to("meta")
    with torch.device("meta"):
        return build_network(role, **options)


def _convolution_backward(grad, images, weight, *settings, out_shape=None) -> int:
    """Count a convolution's backward pass: each gradient costs as much as the forward pass.

    torch's own count ignores the groups of a depthwise convolution.
    """
    *_, transposed, _, _, wanted = settings
    return sum(wanted[:2]) * conv_flop_count(images, weight, grad, transposed=transposed)


_COUNTED = {torch.ops.aten.convolution_backward: _convolution_backward}


def training_flops(spec: ModelSpec, frozen: ModelSpec | None, height: int, width: int) -> int:
    """Count the forward and backward pass of one training image, with the model's own objective.

    The count is half of that of two images, because BatchNorm cannot train on a single pixel.

    Parameters
    ----------
    spec : ModelSpec
    frozen : ModelSpec or None
        The task network of the joint objective.
    height, width : int
        Sides of the training image or its patch, in pixels.
    """
    network = _without_content(spec.role, spec.build_options).train()
    behind = frozen and _without_content(frozen.role, frozen.build_options)
    counter = FlopCounterMode(display=False, custom_mapping=_COUNTED)
    with torch.device("meta"), counter:
        plain = replace(spec, noise=GAUSSIAN)  # a plug-in may need real values
        objective = build_objective(network, plain, task_network=behind)
        targets = {"classification": (2,), "segmentation": (2, height, width)}.get(spec.part)
        losses = objective.losses(
            torch.empty(2, 3, height, width),
            None if targets is None else torch.zeros(targets, dtype=torch.long),
            None,  # no random numbers are drawn on meta tensors
        )
        losses["loss"].backward()
    return counter.get_total_flops() // 2


@dataclass(frozen=True)
class TrainingStep:
    """A training step of one kind of model: all its sigmas and seeds cost the same.

    Attributes
    ----------
    spec : ModelSpec
        Of any model of this kind.
    frozen : ModelSpec or None
        The task network of the joint objective.
    height, width : int
        Sides of a training image or patch, in pixels.
    flops : int
        Operations of the whole batch.
    """

    spec: ModelSpec
    frozen: ModelSpec | None
    height: int
    width: int
    flops: int = 0

    @property
    def arithmetic(self) -> str:
        """What decides the cost: steps that share it, such as warm starts, are measured once."""
        networks = [(one.role, one.build_options) for one in (self.spec, self.frozen) if one]
        sizes = (self.spec.objective, self.spec.recipe.batch, self.height, self.width)
        return json.dumps([networks, sizes], sort_keys=True)


@dataclass(frozen=True)
class Workload:
    """A configuration, its images by part, and its training steps by kind of model."""

    config: Config
    counts: dict[str, PartCounts]
    steps: dict[str, TrainingStep]


def describe_workload(config: Config) -> Workload:
    """Count the images of a configuration and the operations of its training steps.

    Raises
    ------
    UserError
        If a user's own images cannot be counted.
    """
    counts = count_all_images(config)
    steps: dict[str, TrainingStep] = {}
    flops: dict[str, int] = {}
    for key in all_models(config):
        spec, kind = model_spec(config, key), key.partition("/")[0]
        if kind in steps or spec.recipe is None:
            continue
        images, patch = counts[spec.part].train or counts[spec.part].test, spec.recipe.patch
        sides = (patch, patch) if patch else (images.height, images.width)
        frozen = model_spec(config, spec.frozen) if spec.frozen else None
        step = TrainingStep(spec, frozen, *sides)
        if step.arithmetic not in flops:
            flops[step.arithmetic] = spec.recipe.batch * training_flops(spec, frozen, *sides)
        steps[kind] = replace(step, flops=flops[step.arithmetic])
    return Workload(config, counts, steps)
