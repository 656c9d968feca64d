"""Model files: written completely or not at all, and checked when they are read."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dhl.config.architectures import entry_of
from dhl.errors import UserError
from dhl.files import atomic_path
from dhl.models.build import build_network
from dhl.run.failures import failure_of
from dhl.run.outputs import missing_file

FORMAT = 1
# Errors of torch for truncated files, flipped bits and files of other programs.
DAMAGED = (
    RuntimeError, EOFError, OSError, LookupError, ValueError, AttributeError,
    zipfile.BadZipFile, pickle.UnpicklingError,
)  # fmt: skip


def save(content: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values atomically; equal content gives equal bytes.

    Raises
    ------
    UserError
        If the disk is full; the previous file is kept.
    """
    buffer = io.BytesIO()  # a file object, because torch stores a file's name in its bytes
    torch.save({"format": FORMAT, **content}, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Read a model file or the checkpoint of a training onto the CPU.

    Raises
    ------
    UserError
        If the file is missing, truncated, or was not written by this project.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise missing_file(path) from None
    except DAMAGED:
        if (reason := failure_of(path)) is not None:
            raise UserError(
                f"The model {path} is missing because its training failed.",
                came=f"{path.parent.name}/{path.stem} failed: {reason}",
                do="remove the cause of the failure and run the same command again.",
            ) from None
        raise _unreadable(path, "truncated, or not a model of this project") from None
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
        If the file cannot be read, its weights do not fit its network, or it belongs to another
        configuration.
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
        entry_of(content["role"], description["name"])
        network = build_network(content["role"], **description)
        network.load_state_dict(content["state"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(
            f"The weights in {path} do not fit the network that it names.",
            came=f"{path}: {str(error).splitlines()[0]}",
            do="train it again; weights of another architecture cannot be used.",
        ) from None
    return network.eval(), content


def _unreadable(path: Path, came: str) -> UserError:
    """Return the error for a file that cannot be used."""
    return UserError(
        f"The file {path} cannot be read as a model.",
        came=f"{path}: {came}",
        do="check the path; or delete a damaged file and make it again.",
    )
