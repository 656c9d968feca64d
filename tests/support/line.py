"""The smallest training: a line through points, its loss and gradient known in closed form."""

from __future__ import annotations

import torch
from torch import nn

from dhl.config.recipes import Optimizer, Recipe


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
    """Six points a step, drawn from the step's generator; records the requested steps."""

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
