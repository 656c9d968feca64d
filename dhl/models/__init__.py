"""The networks by name: a role's name leads to `module:function`, imported when it is built."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

NETWORKS = {
    "denoiser": {
        "released": "dhl.models.denoiser:released",
        "paper": "dhl.models.denoiser:paper",
        "dncnn": "dhl.models.dncnn:dncnn",
    },
    "classifier": {"small-vgg": "dhl.models.classifier:small_vgg"},
    "segmenter": {"small-largefov": "dhl.models.segmenter:small_largefov"},
}


def module_of(role: str, name: str) -> str:
    """Return the module that defines a network."""
    return NETWORKS[role][name].partition(":")[0]


def build_network(role: str, name: str, **options: int) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    role : {"denoiser", "classifier", "segmenter"}
    name : str
        A key of `NETWORKS[role]`.
    **options : int
        Passed to the builder: `width`, `depth`, `classes`.
    """
    module, _, builder = NETWORKS[role][name].partition(":")
    return getattr(importlib.import_module(module), builder)(**options)
