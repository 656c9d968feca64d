"""The device of a run, and the number format its convolutions are fastest in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from dhl.config.schema import Config
from dhl.data import processes
from dhl.errors import UserError
from dhl.run.manifest import processor
from dhl.training.gpu_slots import gpu_slots


@contextmanager
def reserved_device(config: Config) -> Iterator[torch.device]:
    """Choose the device, hold a slot on it if it is a GPU, and make its arithmetic repeatable.

    A process of a training by several has its place on the GPUs that `launch` holds for all.

    Yields
    ------
    torch.device
        For `auto`: CUDA where there is one, else the CPU with `config.threads` threads.

    Raises
    ------
    UserError
        If the configured device is not there.
    """
    torch.set_num_threads(config.threads)
    if uses_cuda(config):
        make_cuda_repeatable()
        own = nullcontext([processes.local_place()]) if processes.started() else held_gpus(config)
        with own as (index,):
            device = torch.device("cuda", index)
            torch.cuda.set_device(device)
            yield device
    else:
        yield find_device(config.device)


def make_cuda_repeatable() -> None:
    """Let CUDA's kernels give the same sums each time, and float32 be float32.

    What has no repeatable kernel warns in the log.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # else convolutions keep 10 bits of a float32's 23
    torch.backends.cuda.matmul.allow_tf32 = False


def uses_cuda(config: Config) -> bool:
    """Tell whether a run's networks are on GPUs of NVIDIA's or AMD's."""
    name = config.device.partition(":")[0]
    return name == "cuda" or (name == "auto" and torch.cuda.is_available())


@contextmanager
def held_gpus(config: Config, count: int = 1) -> Iterator[tuple[int, ...]]:
    """Hold a slot on so many of the GPUs that a run may use; yields their numbers.

    Raises
    ------
    UserError
        If there are not as many.
    """
    allowed = range(torch.cuda.device_count())
    if ":" in config.device:
        allowed = [find_device(config.device).index]
    if len(allowed) < count:
        raise UserError(
            "each of a training's `processes` has a GPU of its own.",
            came=f"{count} wanted, and {len(allowed)} visible with `device: {config.device}`",
            do="lower `processes`, or `CUDA_VISIBLE_DEVICES` hides some: unset it.",
        )
    names = [str(torch.cuda.get_device_properties(index).uuid) for index in allowed]
    with gpu_slots(names, count=count, jobs_per_gpu=config.jobs_per_gpu) as places:
        yield tuple(allowed[place] for place in places)


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


def precision_name(precision: torch.dtype) -> str:
    """Return a number format's name in configurations."""
    return str(precision).removeprefix("torch.")


def device_name(device: torch.device) -> str:
    """Return what people call a device: the model of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor() if device.type == "cpu" else str(device)


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager:
    """Return a context in which convolutions run in `precision`; float32 changes nothing."""
    return torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)
