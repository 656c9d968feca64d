"""Guidance by the features of a task network, without labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dhl.errors import UserError
from dhl.training.objectives import JointObjective, centre_crop, coarse_logits, feature_loss


class PerceptualObjective(JointObjective):
    """The joint objective without targets: a distance of features replaces the cross-entropy.

    Features are the input of the task network's last layer with a matrix or kernel of weights, of
    those that its logits depend on: an auxiliary head may run after it. Those of the clean images
    have no gradient. `task_weight` is the weight of `feature_loss`.
    """

    guidance = "feature_loss"

    def __init__(self, network: nn.Module, *, task_network: nn.Module, **settings: Any):
        super().__init__(network, task_network=task_network, **settings)
        self.last_input: torch.Tensor | None = None
        self.last: int | None = None  # number of the last call that decides the logits
        self.calls = 0
        self.layers = [
            layer
            for layer in self.task_network.modules()
            if isinstance(weight := getattr(layer, "weight", None), torch.Tensor)
            and weight.dim() > 1  # no BatchNorm
        ]
        for layer in self.layers:
            layer.register_forward_pre_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        """Keep the input of the last call, or of the last one that decides the logits."""
        if self.last is None or self.calls == self.last:
            self.last_input = inputs[0]
        self.calls += 1

    @torch.compiler.disable
    @torch.enable_grad()
    def _find_last(self, images: torch.Tensor) -> int:
        """Return the number of the last call of a layer whose output decides the logits."""
        nodes: list[Any] = []
        hooks = [
            layer.register_forward_hook(
                lambda _layer, _inputs, output: nodes.append(getattr(output, "grad_fn", None))
            )
            for layer in self.layers
        ]
        try:
            logits = coarse_logits(self.task_network, images[:1].detach().requires_grad_())
        finally:
            for hook in hooks:
                hook.remove()
        waiting, reached = [logits.grad_fn], set()
        while waiting:
            if (node := waiting.pop()) is not None and node not in reached:
                reached.add(node)
                waiting += [before for before, _ in node.next_functions]
        deciding = [number for number, node in enumerate(nodes) if node in reached]
        return deciding[-1] if deciding else len(nodes) - 1

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the task network's features (N, ...) of images (N, 3, H, W) in [0, 1].

        Raises
        ------
        UserError
            If the task network has no layer with a matrix or kernel of weights.
        """
        if self.last is None:
            self.last = self._find_last(images)
        self.last_input, self.calls = None, 0
        coarse_logits(self.task_network, images)
        if self.last_input is None:
            raise UserError(
                "The task network has no layer whose input can be compared.",
                came=f"`{type(self.task_network).__name__}` without a module with a weight of two "
                "or more dimensions",
                do="build it from layers such as `torch.nn.Linear`, or remove `joint-perceptual`.",
            )
        return self.last_input

    def guiding_loss(
        self, denoised: torch.Tensor, images: torch.Tensor, targets: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the distance of features; `targets` are not used."""
        with torch.no_grad():
            clean = self.features(centre_crop(images, self.output_side))
        return feature_loss(denoised=self.features(denoised), clean=clean)
