"""Building a network by its name, or by a plug-in `path/to/file.py:function`."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dhl.config.architectures import NETWORKS
from dhl.config.plugins import (
    PluginError,
    described,
    is_reference,
    load_plugin,
    running,
    wrong_result,
)
from dhl.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

logger = logging.getLogger("dhl")
SIZES_TRIED = 4


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


def try_sizes(
    network: nn.Module, sizes: np.ndarray, *, reference: str, device: torch.device
) -> None:
    """Run the network of a plug-in on blank images of some of the sizes that it is tested on.

    Without this, a mistake would be found by the evaluation, after a training of hours.

    Parameters
    ----------
    network : nn.Module
        On the device.
    sizes : ndarray of int, shape (N, 2)
        Heights and widths.
    reference : str
        The plug-in.
    device : torch.device

    Raises
    ------
    UserError
        If the network fails, or its output has another shape. Numbers that are not finite are only
        a warning: a network may divide by the contrast of an image, and a blank one has none.
    """
    import torch

    network.eval()
    different = sorted(set(map(tuple, sizes.tolist())), key=math.prod)
    for height, width in different[:SIZES_TRIED]:
        image = torch.zeros(1, 3, height, width, device=device)
        try:
            with torch.no_grad():
                output = network(image.contiguous(memory_format=torch.channels_last))
        except UserError:  # from the check of the output's shape
            raise
        except Exception as error:
            said = (str(error).splitlines() or [""])[0]
            raise PluginError(
                f"The network of `{reference}` fails on a blank image of the size of a test image.",
                came=f"{width} x {height} px: {type(error).__name__}: {said}",
                do="correct its `forward`: it must accept any height and width, for example by "
                "padding, and images that are channels_last (`reshape` in place of `view`).",
            ) from error
        if not output.isfinite().all():
            logger.warning(
                "the output of `%s` on a blank image of %d x %d px has NaN or infinite numbers; an "
                "evaluation stops at the first such output", reference, width, height,
            )  # fmt: skip


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
