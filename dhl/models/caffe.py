"""Import the authors' trained denoisers: from Caffe's binary file to a model file.

A `.caffemodel` is a protocol buffer. Only the fields with weights are described here; protobuf
skips all others.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import torch
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from dhl.errors import UserError
from dhl.models import checkpoint
from dhl.models.build import build_network
from dhl.run.results import file_digest

# Numbers and types are those of Caffe's `caffe.proto`; `layers` is the format before 2015.
# In proto3 repeated numbers are packed, as in Caffe's files.
_MESSAGES = """
name: "dhl/caffe.proto" package: "caffe" syntax: "proto3"
message_type { name: "BlobShape"
  field { name: "dim" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
message_type { name: "BlobProto"
  field { name: "num" number: 1 type: TYPE_INT32 }
  field { name: "channels" number: 2 type: TYPE_INT32 }
  field { name: "height" number: 3 type: TYPE_INT32 }
  field { name: "width" number: 4 type: TYPE_INT32 }
  field { name: "data" number: 5 type: TYPE_FLOAT label: LABEL_REPEATED }
  field { name: "shape" number: 7 type: TYPE_MESSAGE type_name: ".caffe.BlobShape" }
  field { name: "double_data" number: 8 type: TYPE_DOUBLE label: LABEL_REPEATED } }
message_type { name: "LayerParameter"
  field { name: "name" number: 1 type: TYPE_STRING }
  field { name: "type" number: 2 type: TYPE_STRING }
  field { name: "blobs" number: 7 type: TYPE_MESSAGE type_name: ".caffe.BlobProto"
          label: LABEL_REPEATED } }
message_type { name: "NetParameter"
  field { name: "layers" number: 2 type: TYPE_BYTES label: LABEL_REPEATED }
  field { name: "layer" number: 100 type: TYPE_MESSAGE type_name: ".caffe.LayerParameter"
          label: LABEL_REPEATED } }
"""
_FACTOR = "factor"  # BatchNorm's third blob: divides the sums in its other two blobs


@cache
def net_parameter() -> type[Message]:
    """Return the message class of a `.caffemodel`."""
    pool = DescriptorPool()
    pool.Add(text_format.Parse(_MESSAGES, FileDescriptorProto()))
    return GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def _normalised(convolution: str, batch_norm: str, scale: str, *, key: str, bias: bool) -> list:
    """List the three layers of a convolution with BatchNorm, and the weights that they fill."""
    weights = (f"{key}.0.weight", f"{key}.0.bias")
    return [
        (convolution, "Convolution", weights if bias else weights[:1]),
        (batch_norm, "BatchNorm", (f"{key}.1.running_mean", f"{key}.1.running_var", _FACTOR)),
        (scale, "Scale", (f"{key}.1.weight", f"{key}.1.bias")),
    ]


def released_layers() -> list[tuple[str, str, tuple[str, ...]]]:
    """List the layers of the authors' definition: name, type and `ReleasedDenoiser` weights."""
    layers: list[tuple[str, str, tuple[str, ...]]] = []
    for name, kind, key in (
        ("conv0", "Convolution", "conv0"),
        ("upsample_r2", "Deconvolution", "up2"),
        ("upsample", "Deconvolution", "up1"),
        ("concat_reduction", "Convolution", "out"),
    ):
        layers.append((name, kind, (f"{key}.weight", f"{key}.bias")))
    for number, key in ((1, "encode1"), (2, "encode2"), (3, "decode")):
        name = f"conv{number}"
        layers += _normalised(name, f"{name}_bn", f"{name}_Scale", key=f"{key}.conv", bias=True)
        for branch in "abc":
            names = (f"residual_{number}_{part}branch2{branch}" for part in ("", "bn_", "scale_"))
            layers += _normalised(*names, key=f"{key}.residual.{branch}", bias=False)
    return layers


def import_denoiser(source: Path, target: Path, *, sigma: float | None = None) -> None:
    """Write a model file with the weights of a denoiser that the authors' code trained.

    Parameters
    ----------
    source : Path
        A binary `.caffemodel` of the denoiser, alone or in front of a task network.
    target : Path
        The model file, as `dhl denoise` reads it.
    sigma : float, optional
        Noise level in training, on the 0-255 scale; only stored in the file.

    Raises
    ------
    UserError
        If the file cannot be read, or a layer is missing or does not fit.
    """
    layers = {layer.name: layer for layer in _read(source).layer}
    state = _state(layers, source)
    options = {"name": "released", "width": len(state["conv0.bias"]), "input": "authors"}
    content = {
        "key": f"imported/{source.stem}", "role": "denoiser", "network": options, "sigma": sigma,
        "steps": None, "fingerprint": f"caffe:{file_digest(source)}",
        "state": {f"network.{key}": value for key, value in state.items()},
    }  # fmt: skip
    checkpoint.save(content, target)


def _read(path: Path) -> Message:
    """Parse a `.caffemodel`."""
    try:
        net = net_parameter().FromString(path.read_bytes())
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from None
    except DecodeError:
        raise _refused(path, "truncated, or not a binary protocol buffer") from None
    if net.layers and not net.layer:
        raise _refused(
            path,
            "layers in the format of Caffe before 2015",
            do="convert it with Caffe's `upgrade_net_proto_binary`.",
        )
    return net


def _state(layers: dict[str, Message], path: Path) -> dict[str, torch.Tensor]:
    """Collect the weights of a `ReleasedDenoiser`, whose width is that of the first layer."""
    found: dict[str, np.ndarray] = {}
    for name, kind, keys in released_layers():
        layer = layers.get(name)
        if layer is None or layer.type != kind:
            came = "is missing" if layer is None else f"is of type {layer.type}"
            raise _refused(path, f"layer `{name}` ({kind}) {came}")
        if len(layer.blobs) != len(keys):
            raise _refused(path, f"layer `{name}` has {len(layer.blobs)} blobs, not {len(keys)}")
        blobs = dict(zip(keys, (_array(blob, name, path) for blob in layer.blobs), strict=True))
        if kind == "BatchNorm":
            factor = blobs.pop(_FACTOR)
            if factor.size != 1 or factor.item() <= 0:
                came = f"has the moving-average factor {factor.ravel().tolist()}"
                raise _refused(path, f"layer `{name}` {came}")
            blobs = {key: sums / factor.item() for key, sums in blobs.items()}
            if (blobs[keys[1]] < 0).any():
                raise _refused(path, f"layer `{name}` has a negative variance")
        found |= blobs
    network = build_network("denoiser", "released", width=len(found["conv0.weight"]))
    state = network.state_dict()
    for name, _, keys in released_layers():
        for key in keys:
            if key != _FACTOR:
                state[key] = _fitted(found[key], state[key].shape, name, path)
    return state


def _array(blob: Message, name: str, path: Path) -> np.ndarray:
    """Return a blob as an array; older files give its shape as four numbers."""
    numbers = np.array(blob.data or blob.double_data, np.float32)
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    if numbers.size != math.prod(shape):
        raise _refused(path, f"layer `{name}` has {numbers.size} numbers for the shape {shape}")
    if not np.isfinite(numbers).all():
        raise _refused(path, f"layer `{name}` has numbers that are not finite")
    return numbers.reshape(shape)


def _fitted(blob: np.ndarray, shape: torch.Size, name: str, path: Path) -> torch.Tensor:
    """Reshape a blob to a weight; an older file's shape may begin with additional ones."""
    ones, rest = blob.shape[: -len(shape)], blob.shape[-len(shape) :]
    if rest != shape or set(ones) - {1}:
        raise _refused(path, f"layer `{name}` has the shape {blob.shape}, not {tuple(shape)}")
    return torch.from_numpy(blob.reshape(shape))


def _refused(path: Path, came: str, do: str = "") -> UserError:
    """Return the error for a file that is not the authors' denoiser."""
    return UserError(
        f"The Caffe file {path} does not contain the authors' denoiser.",
        came=f"{path}: {came}",
        do=do or "name a complete `.caffemodel` that the authors' `train_*.prototxt` made.",
    )
