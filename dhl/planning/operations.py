"""Operations of networks, counted by torch on tensors without content: no image, no arithmetic.

A multiplication and an addition are two operations; convolutions and matrix products count.
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
from dhl.config.sigma import GAUSSIAN
from dhl.models.build import build_network
from dhl.run.model_graph import ModelSpec
from dhl.training.train import build_objective


@dataclass(frozen=True)
class Size:
    """A network's operations for one image, forward, and its parameters."""

    flops: int
    parameters: int


def network_size(spec: ModelSpec, height: int, width: int) -> Size:
    """Count what a model's network takes for one image of this height and width."""
    return _size(spec.role, json.dumps(spec.build_options, sort_keys=True), height, width)


@functools.cache
def _size(role: str, options: str, height: int, width: int) -> Size:
    """Count by what decides a network (as JSON), so that all sigmas share one count."""
    network = _without_content(role, json.loads(options)).eval()
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, height, width))
    return Size(counter.get_total_flops(), sum(one.numel() for one in network.parameters()))


def _without_content(role: str, options: dict[str, Any]) -> nn.Module:
    """Build a network whose tensors have shapes alone; own code may need numbers to build it."""
    if is_reference(options["name"]):
        return build_network(role, **options).to("meta")
    with torch.device("meta"):
        return build_network(role, **options)


def _convolution_backward(grad, images, weight, *settings, out_shape=None) -> int:
    """Count what a convolution's backward pass takes: for each gradient as much as the forward.

    torch's own count forgets the groups of a depthwise convolution.
    """
    *_, transposed, _, _, wanted = settings
    return sum(wanted[:2]) * conv_flop_count(images, weight, grad, transposed=transposed)


_COUNTED = {torch.ops.aten.convolution_backward: _convolution_backward}


def training_flops(spec: ModelSpec, frozen: ModelSpec | None, height: int, width: int) -> int:
    """Count one training image, forward and backward, as the model's own objective has them.

    Two are gone through: where an image has shrunk to one pixel, BatchNorm trains on no fewer.

    Parameters
    ----------
    spec : ModelSpec
    frozen : ModelSpec or None
        The task network behind it, for the joint objective.
    height, width : int
        Of the training image or its crop, in pixels.
    """
    network = _without_content(spec.role, spec.build_options).train()
    behind = frozen and _without_content(frozen.role, frozen.build_options)
    counter = FlopCounterMode(display=False, custom_mapping=_COUNTED)
    with torch.device("meta"), counter:
        plain = replace(spec, noise=GAUSSIAN)  # a user's own noise may need numbers
        objective = build_objective(network, plain, task_network=behind)
        targets = {"classification": (2,), "segmentation": (2, height, width)}.get(spec.part)
        losses = objective.losses(
            torch.empty(2, 3, height, width),
            None if targets is None else torch.zeros(targets, dtype=torch.long),
            None,  # on such tensors nothing is drawn
        )
        losses["loss"].backward()
    return counter.get_total_flops() // 2
