"""Learning rates, and optimizers with multipliers for biases and the last layer, as in Caffe."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import torch
from torch import nn

from dhl.config.recipes import Optimizer, Schedule


def learning_rate(step: int, *, steps: int, lr: float, schedule: Schedule) -> float:
    """Return the learning rate of a step (from 0): a pure function, with no state to save."""
    if schedule.name == "constant":
        return lr
    if schedule.every is not None:  # only the schedule `step` has it
        return lr * schedule.gamma ** (step // schedule.every)
    if schedule.name == "poly":
        return lr * (1 - step / steps) ** schedule.power
    warmup = schedule.warmup * steps if schedule.name == "one-cycle" else 0
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def build_optimizer(network: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """Build SGD with momentum, or AdamW.

    Each group of parameters has an `lr_factor`, by which `set_learning_rate` multiplies.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    weights = dict(network.named_parameters())
    last_layer = list(weights)[-1].rpartition(".")[0]  # in the order of definition
    for name, weight in weights.items():
        bias = name.endswith("bias")  # attention has an `in_proj_bias`
        factor = settings.bias_lr if bias else 1.0
        if name.rpartition(".")[0] == last_layer:
            factor *= settings.last_layer_lr
        decay = settings.weight_decay * (settings.bias_decay if bias else 1.0)
        groups.setdefault((factor, decay), []).append(weight)
    described = [
        {"params": group, "lr": settings.lr * factor, "lr_factor": factor, "weight_decay": decay}
        for (factor, decay), group in groups.items()
    ]
    if settings.name == "sgd":
        return _plain(torch.optim.SGD)(described, momentum=settings.momentum, fused=True)
    return _plain(torch.optim.AdamW)(described, fused=True)


def _plain(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Derive an optimizer that does not import the compiler; only losses are compiled here.

    torch wraps these methods for `torch.compile`. At their first use the wrappers import
    `torch._dynamo`, which takes as long as importing torch.
    """
    wrapped = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in wrapped}
    methods["step"] = torch.no_grad()(methods["step"])
    return type(kind.__name__, (kind,), methods)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set each group's learning rate to `lr` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]
