"""Published weights of DnCNN for colour, read into `dhl.models.dncnn.DnCNN`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dhl.errors import UserError, missing_extra
from dhl.models.checkpoint import flaw_of
from dhl.models.dncnn import DnCNN
from dhl.models.pretrained import misfit, read_tensors

_PREFIX = "module.dncnn."  # of U-SAID's names: a network behind DataParallel


def read_released_dncnn(path: Path) -> DnCNN:
    """Read a colour network of one sigma that DnCNN's authors released.

    Parameters
    ----------
    path : Path
        A file such as `color_sigma=25.mat` [1]_: MATLAB 7.3, with a list of MatConvNet's layers.

    Returns
    -------
    DnCNN
        In evaluation mode, 20 convolutions of width 64. The authors merged BatchNorm into the
        convolutions; here each BatchNorm only adds the bias of the convolution before it.

    Raises
    ------
    UserError
        If the package h5py is not installed, or the file cannot be read or does not fit.

    References
    ----------
    .. [1] github.com/cszn/DnCNN, model/specifics_color.
    """
    convolutions = _read_matconvnet(path)
    network = DnCNN(width=len(convolutions[0][1]), depth=len(convolutions))
    state = network.state_dict()
    for name, layer in network.layers.named_children():
        if isinstance(layer, nn.Conv2d):
            weight, bias = convolutions.pop(0)
            state[f"layers.{name}.weight"] = weight
            bias_key = f"layers.{name}.bias"
            if layer.bias is None:
                bias_key = f"layers.{int(name) + 1}.bias"
                state[f"layers.{int(name) + 1}.running_var"] -= nn.BatchNorm2d(1).eps
            state[bias_key] = bias
    return _filled(network, state, path)


def load_released_dncnn(network: nn.Module, path: Path) -> None:
    """Fill a `DnCNN` with the weights that `read_released_dncnn` reads, in place.

    Raises
    ------
    UserError
        As there, or if the network has another architecture, width or depth.
    """
    found = read_released_dncnn(path)
    kernels, wanted = (
        [tuple(value.shape) for value in one.state_dict().values() if value.dim() > 1]
        for one in (found, network)
    )
    if kernels != wanted:
        width, depth = kernels[0][0], len(kernels)
        raise misfit(path, f"a DnCNN of width {width} and depth {depth}, and the network differs")
    network.load_state_dict(found.state_dict())


def read_usaid_dncnn(path: Path) -> DnCNN:
    """Read the blind colour network of U-SAID's repository, or its S-SAID or U-SAID.

    Parameters
    ----------
    path : Path
        A file of `Saved_Models` in github.com/VITA-Group/USAID: a dict of tensors.

    Returns
    -------
    DnCNN
        In evaluation mode, 20 convolutions of width 64, whose first and last have no bias.

    Raises
    ------
    UserError
        If the file cannot be read or does not fit.
    """
    found = {f"layers.{k.removeprefix(_PREFIX)}": v for k, v in read_tensors(path).items()}
    convolutions = [key for key, tensor in found.items() if tensor.ndim == 4]
    if len(convolutions) < 3:
        raise misfit(path, f"{len(convolutions)} convolutions, but DnCNN needs at least 3")
    network = DnCNN(width=len(found[convolutions[0]]), depth=len(convolutions))
    without_bias = {key: torch.zeros_like(value) for key, value in network.state_dict().items()
                    if key.endswith(("bias", "num_batches_tracked"))}  # fmt: skip
    return _filled(network, without_bias | found, path)


def _read_matconvnet(path: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Read weight (out, in, 3, 3) and bias (out,) of each convolution."""
    try:
        import h5py
    except ImportError:
        raise missing_extra("h5py", "calibration") from None
    try:
        with h5py.File(path) as file:
            layers = [file[layer] for layer in file["net/layers"][()].ravel()]
            # ReLU has an empty array in place of references to weight and bias.
            cells = [layer["weights"][()].ravel() for layer in layers]
            pairs = [[file[one][()] for one in cell] for cell in cells if cell.dtype == "O"]
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"The file of weights {path} cannot be read.",
            came=f"{path}: {error}",
            do="download it again: `dhl data download dncnn-color`.",
        ) from None
    if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
        raise misfit(path, f"{len(pairs)} convolutions, but DnCNN needs at least 3, with biases")
    # MATLAB's arrays (kernel y, kernel x, in, out) are stored with the last axis first.
    return [
        (torch.from_numpy(weight).transpose(-1, -2), torch.from_numpy(bias).ravel())
        for weight, bias in pairs
    ]


def _filled(network: DnCNN, state: dict[str, torch.Tensor], path: Path) -> DnCNN:
    """Fill a network completely, or say which layer does not fit."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise misfit(path, str(error).splitlines()[1].strip()) from None
    if flaw := flaw_of(state):
        raise misfit(path, f"a flaw: {flaw}")
    return network.eval()
