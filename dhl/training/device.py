"""The device of a job, and the number format with the fastest convolutions."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.gpu_slots import gpu_slot
from dhl.run.manifest import processor

# Parameters of mallopt(3), by the numbers in malloc.h.
_MALLOPT = {
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: free bytes at the end of the heap that are kept
    -2: 2**26,  # M_TOP_PAD: bytes by which the heap grows
    -4: 0,  # M_MMAP_MAX: tensors with pages of their own
}


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error of PyTorch is a lack of memory; on a CPU it is a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


@contextmanager
def reserved_device(config: Config) -> Iterator[torch.device]:
    """Choose the device; on a GPU, hold a slot and make the arithmetic deterministic.

    Yields
    ------
    torch.device
        For `auto`: CUDA if the machine has it, else the CPU with `config.threads` threads.

    Raises
    ------
    UserError
        If this machine does not have the configured device.
    """
    torch.set_num_threads(config.threads)
    if not uses_cuda(config):
        keep_freed_memory()
        yield find_device(config.device)
        return
    _make_cuda_repeatable()
    if ":" in config.device or not torch.cuda.device_count():
        allowed = [find_device(config.device).index]
    else:
        allowed = list(range(torch.cuda.device_count()))
    uuids = [str(torch.cuda.get_device_properties(index).uuid) for index in allowed]
    with gpu_slot(uuids, jobs_per_gpu=config.jobs_per_gpu) as index:
        device = torch.device("cuda", allowed[index])
        torch.cuda.set_device(device)
        yield device


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next tensors, up to 2 GiB.

    Else glibc returns each large tensor to the kernel, which clears the pages of the next one: a
    third of the time in which Kodak's images are evaluated on a CPU. Elsewhere it does nothing.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "mallopt"):
        for parameter, value in _MALLOPT.items():
            library.mallopt(parameter, value)


def _make_cuda_repeatable() -> None:
    """Choose deterministic CUDA kernels, and compute float32 in full precision.

    An operation without a deterministic kernel logs a warning.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # TF32 keeps 10 of float32's 23 mantissa bits
    torch.backends.cuda.matmul.allow_tf32 = False


def uses_cuda(config: Config) -> bool:
    """Return whether a run uses a GPU that torch calls CUDA (NVIDIA or AMD)."""
    name = config.device.partition(":")[0]
    return name == "cuda" or (name == "auto" and torch.cuda.is_available())


def find_device(name: str) -> torch.device:
    """Return a device by name; `auto` is CUDA if the machine has it, else the CPU.

    Raises
    ------
    UserError
        If this machine does not have the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"This machine has no device `{name}`.",
            came=f"device `{name}`: {str(error).splitlines()[0]}",
            do="use `auto` or `cpu`.",
        ) from None


def resolve_precision(config: Config, device: torch.device) -> torch.dtype:
    """Return the number format of training: bfloat16 if the hardware supports it.

    On a CPU without AMX, and on a GPU without bfloat16, `auto` means float32.
    """
    if config.precision != "auto":
        return getattr(torch, config.precision)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return torch.bfloat16 if fast else torch.float32


def precision_name(precision: torch.dtype) -> str:
    """Return the name of a number format, as in a configuration."""
    return str(precision).removeprefix("torch.")


def device_name(device: torch.device) -> str:
    """Return the model of the GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor() if device.type == "cpu" else str(device)


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager:
    """Return a context in which convolutions run in `precision`; with float32 it does nothing."""
    return torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)


def to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network in place, to the memory layout with the fastest convolutions."""
    return network.to(device).to(memory_format=torch.channels_last)
