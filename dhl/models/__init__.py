"""The networks by name: a role's name leads to `module:function`, imported when it is built."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Entry:
    """Where a network is built, `module:function`, and the options that the function takes."""

    builder: str
    options: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module that defines the network."""
        return self.builder.partition(":")[0]


NETWORKS = {
    "denoiser": {
        "released": Entry("dhl.models.denoiser:released", ("width",)),
        "paper": Entry("dhl.models.denoiser:paper", ("width",)),
        "dncnn": Entry("dhl.models.dncnn:dncnn", ("width", "depth")),
    },
    "classifier": {"small-vgg": Entry("dhl.models.classifier:small_vgg", ("width",))},
    "segmenter": {"small-largefov": Entry("dhl.models.segmenter:small_largefov", ("width",))},
}


def build_network(role: str, name: str, **options: int) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    role : {"denoiser", "classifier", "segmenter"}
    name : str
        A key of `NETWORKS[role]`.
    **options : int
        Passed to the builder: those of `Entry.options`, and `classes` for a task network.
    """
    module, _, builder = NETWORKS[role][name].builder.partition(":")
    return getattr(importlib.import_module(module), builder)(**options)
