"""The devices that a run is planned for, and how fast they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.training.device import resolve_precision


@dataclass(frozen=True)
class Device:
    """How fast networks run.

    Attributes
    ----------
    label : str
    kind : {"cuda", "cpu"}
    format : {"bfloat16", "float32"}
        The number format of training.
    training, evaluation : float
        Peak rates in TFLOPS: of training in its number format, and of evaluation in float32.
    share : float
        Of the peak that is reached.
    step_seconds : float
        What a training step takes at least, for the launching of its kernels.
    source : str
        Where the rates come from.
    """

    label: str
    kind: str
    format: str
    training: float
    evaluation: float
    share: float
    step_seconds: float
    source: str


DEVICES = {
    "h100": Device("NVIDIA H100 SXM", "cuda", "bfloat16", 989, 67, 0.15, 0.005,
                   "peak by NVIDIA's data sheet, share and step assumed"),
    "a100": Device("NVIDIA A100", "cuda", "bfloat16", 312, 19.5, 0.2, 0.005,
                   "peak by NVIDIA's data sheet, share and step assumed"),
    "v100": Device("NVIDIA V100 SXM2", "cuda", "float32", 15.7, 15.7, 0.4, 0.005,
                   "peak by NVIDIA's data sheet, share and step assumed"),
    "cpu-2": Device("two cores of an Intel Xeon with AMX", "cpu", "bfloat16", 2.27, 0.93, 0.18, 0,
                    "measured: benchmarks/README.md"),
    "cpu-2-avx2": Device("two cores of an AMD EPYC with AVX2", "cpu", "float32", 0.072, 0.072,
                         0.85, 0, "measured: benchmarks/README.md"),
}  # fmt: skip


def choose_device(config: Config, name: str | None = None, tflops: float | None = None) -> Device:
    """Return the device that a configuration is planned for, in its number format.

    Parameters
    ----------
    config : Config
    name : str or None
        A key of `DEVICES`; None is what the configuration's `device` suggests.
    tflops : float or None
        The sustained rate that a user measured.

    Raises
    ------
    UserError
        If the rate is not positive.
    """
    device = DEVICES[name or _suggested(config)]
    if config.precision == "float32":
        device = replace(device, format="float32", training=device.evaluation)
    if tflops is None:
        return device
    if not tflops > 0:
        raise UserError(
            "a rate is positive.", came=f"{tflops:g} TFLOPS", do="give what you measured."
        )
    return replace(
        device, label=f"{tflops:g} TFLOPS sustained", training=tflops, evaluation=tflops,
        share=1.0, source="given",
    )  # fmt: skip


def _suggested(config: Config) -> str:
    """Return the key of a likely device: a GPU, or cores like those of this machine."""
    if config.device not in ("cpu", "mps"):
        return "h100"
    anyhow = config.model_copy(update={"precision": "auto"})
    fast = resolve_precision(anyhow, torch.device("cpu"))
    return "cpu-2" if fast == torch.bfloat16 else "cpu-2-avx2"


def device_warnings(config: Config, device: Device) -> Iterator[str]:
    """Say where a configuration will not run as the hours say."""
    kind = config.device.partition(":")[0]
    if kind == "mps":
        yield "`device: mps`, of which nothing was measured: the hours are of another device."
    elif kind not in ("auto", device.kind):
        yield (
            f"`device: {config.device}` in the configuration, and the hours are of "
            f"{'a CPU' if device.kind == 'cpu' else 'a GPU'}: leave `--device` out, or change it."
        )
    if config.precision == "bfloat16" and device.format == "float32":
        yield (
            "`precision: bfloat16`, which this device does not multiply in hardware: it is slower "
            "than the hours say, and `auto` is float32 there."
        )
