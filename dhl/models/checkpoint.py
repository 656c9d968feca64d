"""Model files: written completely or not at all, and checked when they are read.

A file ends with the SHA-256 of its other bytes, as the comment of torch's zip file, so that every
changed bit is noticed wherever the file is copied.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dhl.errors import UserError
from dhl.files import atomic_path
from dhl.models.build import build_network
from dhl.run.failures import failure_of
from dhl.run.outputs import missing_file

FORMAT = 2
_DIGITS = 64  # of a SHA-256
_STATISTICS = ("running_mean", "running_var")  # of BatchNorm: buffers that a training changes
# Errors of torch for truncated files, flipped bits and files of other programs.
DAMAGED = (
    RuntimeError, EOFError, OSError, LookupError, ValueError, AttributeError,
    zipfile.BadZipFile, pickle.UnpicklingError,
)  # fmt: skip


def save(content: dict[str, Any], path: Path, *, network: nn.Module | None = None) -> None:
    """Write tensors and plain values atomically; equal content gives equal bytes.

    `network`, whose weights are in `state`, tells weights from constants: see `not_finite`.

    Raises
    ------
    UserError
        If the weights in `state` have a flaw or the disk is full; the previous file is kept.
    """
    if flaw := flaw_of(content.get("state", {}), network):
        raise UserError(
            f"The weights cannot be used, so {path} was not written.",
            came=flaw,
            do="lower the learning rate or set `clip_norm`; correct weights that you gave.",
        )
    buffer = io.BytesIO()  # a file object, because torch stores a file's name in its bytes
    torch.save({"format": FORMAT, **content}, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(_sealed(buffer.getvalue()))


def _sealed(content: bytes) -> bytes:
    """Append the digest of a zip file as its comment, whose length is in the last two bytes."""
    content = content[:-2] + _DIGITS.to_bytes(2, "little")
    return content + hashlib.sha256(content).hexdigest().encode()


def _is_sealed(content: bytes) -> bool:
    """Return whether a file ends with the digest of its other bytes."""
    digest = hashlib.sha256(memoryview(content)[:-_DIGITS]).hexdigest()
    return content[-_DIGITS:] == digest.encode()


def not_finite(state: Mapping[str, torch.Tensor], network: nn.Module | None = None) -> str:
    """Return the name of the first weights that are not finite, or an empty text.

    With a network, infinite numbers are allowed in its buffers, apart from running statistics:
    they are constants, such as -inf in the mask of an attention.
    """
    buffers = () if network is None else (name for name, _ in network.named_buffers())
    constants = {name for name in buffers if not name.endswith(_STATISTICS)}
    for name, value in state.items():
        wrong = value.isnan() if name in constants else ~value.isfinite()
        if wrong.any():
            return name
    return ""


def flaw_of(state: Mapping[str, torch.Tensor], network: nn.Module | None = None) -> str:
    """Return why weights cannot be used, or an empty text.

    Numbers must be finite (see `not_finite`), BatchNorm's variances not negative, and not all
    matrices and kernels zero.
    """
    if name := not_finite(state, network):
        return f"`{name}` has numbers that are not finite"
    for name, value in state.items():
        if name.endswith("running_var") and (value < 0).any():
            return f"`{name}` has a negative variance"
    kernels = [value for value in state.values() if value.dim() > 1]
    return "all weights are zero" if kernels and not any(map(torch.any, kernels)) else ""


def load(path: Path) -> dict[str, Any]:
    """Read a model file or the checkpoint of a training onto the CPU.

    Raises
    ------
    UserError
        If the file is missing, damaged, or was not written by this version of the project.
    """
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        raise missing_file(path) from None
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    if (reason := failure_of(path)) is not None:
        raise UserError(
            f"The model {path} is missing because its training failed.",
            came=f"{path.parent.name}/{path.stem} failed: {reason}",
            do="remove the cause of the failure and run the same command again.",
        )
    if not _is_sealed(stored):
        raise _unreadable(path, "truncated, changed, or not a model of this version of dhl")
    try:
        content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
    except DAMAGED:
        raise _unreadable(path, "not a model of this project") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _unreadable(path, "another format")
    return content


def load_model(path: Path, *, fingerprint: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network of a model file with its weights, in evaluation mode.

    Parameters
    ----------
    path : Path
    fingerprint : str, optional
        A model with another fingerprint is refused.

    Returns
    -------
    network : nn.Module
    content : dict
        All values of the file: `role`, `network`, `key`, `sigma`, `fingerprint`, `state`.

    Raises
    ------
    UserError
        If the file cannot be read, its weights have a flaw or do not fit its network, or it belongs
        to another configuration.
    """
    content = load(path)
    if fingerprint is not None and content.get("fingerprint") != fingerprint:
        raise UserError(
            f"The model {path} belongs to another configuration.",
            came=f"{path} was made by another configuration, data set or code",
            do="train it again, or use the configuration in the run's config.yaml.",
        )
    try:
        description = content["network"]
        network = build_network(content["role"], **description)
        network.load_state_dict(content["state"])
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"The weights in {path} do not fit the network that it names.",
            came=f"{path}: {str(error).splitlines()[0]}",
            do="train it again; weights of another architecture cannot be used.",
        ) from None
    if flaw := flaw_of(content["state"], network):
        raise _unreadable(path, flaw)
    return network.eval(), content


def _unreadable(path: Path, came: str) -> UserError:
    """Return the error for a file that cannot be used."""
    return UserError(
        f"The file {path} cannot be read as a model.",
        came=f"{path}: {came}",
        do="check the path; or delete a damaged file and make it again.",
    )
