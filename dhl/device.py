"""The device of a run, and the number format its convolutions are fastest in."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from dhl.config import Config
from dhl.errors import UserError


def prepare_device(config: Config) -> torch.device:
    """Choose the device and make its arithmetic repeatable.

    Returns
    -------
    torch.device
        For `auto`: CUDA where there is one, else the CPU with `config.threads` threads.

    Raises
    ------
    UserError
        If the configured device is not there.
    """
    torch.set_num_threads(config.threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return find_device(config.device)


def find_device(name: str) -> torch.device:
    """Return a device by name; `auto` is CUDA where there is one, else the CPU.

    Raises
    ------
    UserError
        If it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            "the device is on this machine.",
            came=f"device `{name}`: {str(error).splitlines()[0]}",
            do="use `auto` or `cpu`.",
        ) from None


def resolve_precision(config: Config, device: torch.device) -> torch.dtype:
    """Return the number format of training: bfloat16 where the hardware multiplies it.

    On a CPU without AMX, and on a GPU without bfloat16, `auto` means float32.
    """
    if config.precision != "auto":
        return getattr(torch, config.precision)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return torch.bfloat16 if fast else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager:
    """Return a context in which convolutions run in `precision`; float32 changes nothing."""
    return torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)
