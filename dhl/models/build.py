"""Building a network by its name, or by a plug-in `path/to/file.py:function`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dhl.config.architectures import NETWORKS
from dhl.config.plugins import described, is_reference, load_plugin, running, wrong_result

if TYPE_CHECKING:
    from torch import nn


def build_network(role: str, name: str, **options: Any) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    role : {"denoiser", "classifier", "segmenter"}
    name : str
        A key of `NETWORKS[role]`, or a plug-in.
    **options
        Passed to the builder: those of `Entry.options`, `classes` for a task network, and the
        options of a plug-in.

    Raises
    ------
    PluginError
        If a plug-in fails, or returns no network.
    """
    if is_reference(name):
        return _build_plugin(role, name, options)
    module, _, builder = NETWORKS[role][name].builder.partition(":")
    return getattr(importlib.import_module(module), builder)(**options)


def _build_plugin(role: str, reference: str, options: dict[str, Any]) -> nn.Module:
    """Build the network of a plug-in; its output is checked whenever it runs."""
    from torch import nn

    builder = load_plugin(reference).function
    with running(reference):
        network = builder(**options)
    if not (isinstance(network, nn.Module) and any(True for _ in network.parameters())):
        raise wrong_result(
            reference,
            expected="a `torch.nn.Module` with parameters",
            came=f"a `{type(network).__name__}` without parameters"
            if isinstance(network, nn.Module)
            else described(network),
        )
    network.register_forward_hook(_output_check(role, reference, options.get("classes")))
    return network


def _output_check(role: str, reference: str, classes: int | None) -> Callable:
    """Make a hook that checks the shape of a network's output."""

    def check(network: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        count, _, height, width = inputs[0].shape
        wanted, name = {
            "denoiser": ((count, 3, height, width), "images of the same shape"),
            "classifier": ((count, classes), "logits (N, classes)"),
            "segmenter": ((count, classes, height, width), "logits (N, classes, H, W)"),
        }[role]
        if tuple(getattr(output, "shape", ())) != wanted or not output.is_floating_point():
            raise wrong_result(
                reference,
                expected=f"a {role} that maps images (N, 3, H, W) to {name}",
                came=f"{described(output)} for images of shape {tuple(inputs[0].shape)}: "
                f"the shape must be {wanted}",
            )

    return check
