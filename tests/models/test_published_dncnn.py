"""Published weights of DnCNN: the network computes what NumPy does from the numbers in the file."""

from __future__ import annotations

import itertools

import h5py
import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from real_images import RELEASED_DNCNN, needs
from torch import nn

from dhl.errors import UserError
from dhl.models.published_dncnn import read_released_dncnn, read_usaid_dncnn


def make_filters(width: int, depth: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw filters in MATLAB's order (y, x, in, out), and biases (1, out)."""
    generator = np.random.default_rng(0)
    widths = [3, *[width] * (depth - 1), 3]
    return [
        (generator.normal(0, 0.3, (3, 3, a, b)).astype(np.float32), generator.random((1, b)))
        for a, b in itertools.pairwise(widths)
    ]


def write_matconvnet(path, filters):
    """Write the layers as MATLAB 7.3 does: references to arrays with the last axis first."""
    with h5py.File(path, "w") as file:

        def stored(name, array):
            file[name] = np.asarray(array).T
            return file[name].ref

        layers = []
        for number, pair in enumerate(filters):
            one, other = file.create_group(f"conv{number}"), file.create_group(f"relu{number}")
            cells = [stored(f"{number}/{side}", array) for side, array in enumerate(pair)]
            one["weights"] = np.array(cells, h5py.ref_dtype)[:, None]
            other["weights"] = np.zeros(2, np.uint64)
            layers += [one.ref, other.ref]
        file["net/layers"] = np.array(layers[:-1], h5py.ref_dtype)[:, None]
    return path


def read_filters(path):
    """Read filters (y, x, in, out) and biases."""
    with h5py.File(path) as file:
        cells = [file[layer]["weights"] for layer in file["net/layers"][()].ravel()]
        return [
            [file[one][()].T for one in pair[()].ravel()] for pair in cells if pair.dtype == "O"
        ]


def denoised_by_numpy(noisy, filters):
    """Apply convolutions (correlations, in float64) with ReLU between them to (H, W, 3)."""
    features = noisy.astype(np.float64)
    for number, (kernel, bias) in enumerate(filters):
        padded = np.pad(features, ((1, 1), (1, 1), (0, 0)))
        windows = sliding_window_view(padded, (3, 3), axis=(0, 1))  # y, x, in, ky, kx
        features = np.einsum("yxcij,ijco->yxo", windows, kernel, optimize=True) + bias.ravel()
        if number < len(filters) - 1:
            features = np.maximum(features, 0)
    return noisy - features


def denoised_by(network, noisy):
    with torch.no_grad():
        batch = torch.from_numpy(noisy).permute(2, 0, 1)[None]
        return network(batch)[0].permute(1, 2, 0).numpy()


def test_the_released_layers_are_those_of_the_file(tmp_path):
    filters = make_filters(width=5, depth=4)
    network = read_released_dncnn(write_matconvnet(tmp_path / "net.mat", filters))
    noisy = np.random.default_rng(1).random((9, 12, 3)).astype(np.float32)
    expected = denoised_by_numpy(noisy, filters)
    np.testing.assert_allclose(denoised_by(network, noisy), expected, rtol=1e-4, atol=1e-4)


@needs(RELEASED_DNCNN)
@pytest.mark.parametrize("sigma", [15, 25, 35, 50])
def test_the_released_networks_have_20_layers_and_remove_noise_as_numpy_does(sigma):
    path = RELEASED_DNCNN / f"color_sigma={sigma}.mat"
    filters, network = read_filters(path), read_released_dncnn(path)
    assert [kernel.shape[2:] for kernel, _ in filters] == [(3, 64), *18 * [(64, 64)], (64, 3)]
    ramp = np.linspace(0.2, 0.8, 40)[:, None, None] * np.ones((40, 40, 3))
    noise = np.random.default_rng(0).normal(0, sigma / 255, ramp.shape)
    noisy = (ramp + noise).astype(np.float32)
    denoised = denoised_by(network, noisy)
    np.testing.assert_allclose(denoised, denoised_by_numpy(noisy, filters), atol=1e-5)
    assert np.std(denoised - ramp) < 0.25 * sigma / 255


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_bytes(b"MATLAB 5.0"), "signature"),
        (lambda path: h5py.File(path, "w").close(), "not found"),
        (lambda path: write_matconvnet(path, make_filters(4, 2)), "2 convolutions"),
        (lambda path: write_matconvnet(path, make_filters(4, 5)[1:]), "size mismatch"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, write, words):
    path = tmp_path / "net.mat"
    write(path)
    with pytest.raises(UserError) as caught:
        read_released_dncnn(path)
    assert words in caught.value.came


class Usaid(nn.Module):
    """DnCNN as U-SAID's repository describes it: no biases, and BatchNorm inside."""

    def __init__(self, width: int, depth: int):
        super().__init__()
        layers = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        self.dncnn = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1, bias=False))


def test_u_saids_network_subtracts_what_its_layers_predict(tmp_path):
    torch.manual_seed(0)
    network = Usaid(width=6, depth=5)
    for statistic in network.buffers():
        statistic.copy_(0.5 + torch.rand(statistic.shape))
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    old = {name: value for name, value in state.items() if not name.endswith("tracked")}
    torch.save(old, tmp_path / "DnCNN.pth")
    noisy = np.random.default_rng(1).random((8, 10, 3)).astype(np.float32)
    predicted = denoised_by(network.dncnn.eval(), noisy)
    found = denoised_by(read_usaid_dncnn(tmp_path / "DnCNN.pth"), noisy)
    np.testing.assert_array_equal(found, noisy - predicted)


def test_other_tensors_are_refused(tmp_path):
    torch.save({"module.dncnn.0.weight": torch.ones(4, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="do not fit") as caught:
        read_usaid_dncnn(tmp_path / "other.pth")
    assert "1 convolutions" in caught.value.came
