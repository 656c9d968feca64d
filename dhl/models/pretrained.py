"""Load the published weights of a network from a file, and refuse those that do not fit."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from dhl.errors import UserError
from dhl.models.checkpoint import DAMAGED, flaw_of

# BatchNorm's step counter: older files lack it, and evaluation does not use it.
_COUNTER = "num_batches_tracked"
_OF_CHECKPOINT = ("state_dict", "model")  # torchvision's training script writes `model`
_PARALLEL = "module."  # before the names of `nn.DataParallel`


def load_pretrained(network: nn.Module, path: Path) -> None:
    """Fill a network with published weights, in place.

    Parameters
    ----------
    network : nn.Module
        Only its `pretrained_part()` is filled: all of a classifier, or DeepLab up to conv5_3. A
        network without this method is filled completely. A network whose published layers are not
        its own has `renamed(tensors)`.
    path : Path
        A dict of tensors by the names of the published layers, as `torch.save` writes it; a dict of
        such dicts, of which the network has one as its `member`; a checkpoint with the dict under
        `state_dict` or `model`; or a model file of this project.

    Raises
    ------
    UserError
        If the file cannot be read, or a layer does not fit or has a flaw; the first such layer is
        named. The network is then unchanged.
    """
    wanted = getattr(network, "pretrained_part", network.state_dict)()
    found = read_tensors(path, member=getattr(network, "member", None))
    found = getattr(network, "renamed", _without_prefix)(found)
    for name, weight in wanted.items():
        if name not in found and not name.endswith(_COUNTER):
            raise misfit(path, f"no `{name}`, but the network needs shape {tuple(weight.shape)}")
        if name in found and found[name].shape != weight.shape:
            raise misfit(
                path,
                f"`{name}` with shape {tuple(found[name].shape)}, but the network needs "
                f"{tuple(weight.shape)}",
            )
    complete = len(wanted) == len(network.state_dict())
    if complete and (unknown := [name for name in found if name not in wanted]):
        raise misfit(path, f"`{unknown[0]}`, which this network does not have")
    with torch.no_grad():
        for name, weight in wanted.items():
            if name in found:
                weight.copy_(found[name])


def _without_prefix(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the layers of a network that was trained in `nn.DataParallel`."""
    wrapped = all(name.startswith(_PARALLEL) for name in tensors)
    return {name.removeprefix(_PARALLEL) if wrapped else name: tensors[name] for name in tensors}


def read_tensors(path: Path, *, member: str | None = None) -> dict[str, torch.Tensor]:
    """Read a dict of tensors, a member of a dict of them, or a model file, onto the CPU."""
    mistake = f"The file of weights {path} cannot be read."
    do = "download it again, or correct its path in the configuration."
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # torchvision's `args`
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(mistake, came=f"no file {path}", do=do) from None
    except DAMAGED:
        raise UserError(mistake, came=f"{path}: truncated, or of another kind", do=do) from None
    if isinstance(content, dict):
        inner = [content.get(name) for name in _OF_CHECKPOINT]
        content = next((one for one in inner if isinstance(one, dict)), content)
        inside = "state" if "format" in content else member
        if inside == member and inside not in content and _of_members(content):
            raise UserError(
                f"The file of weights {path} has no network `{inside}`.",
                came=f"{path} with the networks {', '.join(map(str, content))}",
                do="run sigmas that it has a network for, or use other weights.",
            )
        content = content.get(inside, content) if inside else content
    if not isinstance(content, dict) or not all(map(torch.is_tensor, content.values())):
        raise UserError(mistake, came=f"{path}: not a dict of tensors", do=do)
    if flaw := flaw_of(content):
        raise UserError(mistake, came=f"{path}: {flaw}", do=do)
    return content


def _of_members(content: dict) -> bool:
    """Tell whether a file has several dicts of tensors, one for each network."""
    return bool(content) and all(isinstance(one, dict) for one in content.values())


def misfit(path: Path, came: str) -> UserError:
    """Return the error for weights of another network."""
    return UserError(
        f"The weights in {path} do not fit the network.",
        came=f"{path} has {came}",
        do="name the network and the number of classes that the weights were made for.",
    )
