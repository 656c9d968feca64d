"""Networks against the published figures: parameter counts, sizes, receptive field, every layer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dhl.config.architectures import NETWORKS
from dhl.models.build import build_network

DENOISERS = ("released", "paper", "dncnn")
OF_ONE_SIGMA = {
    name: {"sigma": 30.0} for name, of in NETWORKS["denoiser"].items() if of.of_one_sigma
}


def randomised(network: nn.Module, *, seed: int = 0) -> nn.Module:
    """Give every parameter and BatchNorm statistic a random value, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_(std=0.2, generator=generator)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return network.eval()


def noisy_images(*shape: int) -> torch.Tensor:
    """Return random pixels in double precision."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def test_the_released_layers_have_the_published_shapes():
    network = build_network("denoiser", "released", width=64)
    assert sum(weight.numel() for weight in network.parameters()) == 1_033_443
    shapes = [
        tuple(module.weight.shape)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    # Out, in, kernel, kernel; deconvolutions have in before out.
    assert shapes == [
        (64, 3, 5, 5),
        (128, 64, 3, 3), (32, 128, 1, 1), (32, 32, 3, 3), (128, 32, 1, 1),
        (128, 128, 3, 3), (32, 128, 1, 1), (32, 32, 3, 3), (128, 32, 1, 1),
        (128, 32, 4, 4),
        (256, 160, 3, 3), (64, 256, 1, 1), (64, 64, 3, 3), (256, 64, 1, 1),
        (256, 64, 4, 4),
        (3, 128, 3, 3),
    ]  # fmt: skip


def test_dncnn_has_the_number_of_parameters_of_its_layers():
    first, middle, last = 3 * 64 * 9 + 64, 64 * 64 * 9 + 2 * 64, 64 * 3 * 9 + 3
    network = build_network("denoiser", "dncnn", width=64, depth=17)
    count = sum(weight.numel() for weight in network.parameters())
    assert count == first + 15 * middle + last == 558_403
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == 17


def batch_norm(x, state, name):
    """Normalise by running statistics, as Caffe's BatchNorm and Scale do."""
    mean, var, gamma, beta = (
        state[f"{name}.1.{key}"].view(1, -1, 1, 1)
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * gamma + beta


def deconvolution(x, weight, bias):
    """Spread the input by zeros and convolve with the turned kernel: 4x4, stride 2, padding 1."""
    n, channels, height, width = x.shape
    spread = x.new_zeros(n, channels, 2 * height - 1, 2 * width - 1)
    spread[..., ::2, ::2] = x
    return F.conv2d(spread, weight.transpose(0, 1).flip(2, 3), bias, padding=2)


def residual(x, state, name):
    """Three convolutions with BatchNorm and ReLU, ReLU after the sum."""
    inner = F.relu(batch_norm(F.conv2d(x, state[f"{name}.a.0.weight"]), state, f"{name}.a"))
    inner = F.conv2d(inner, state[f"{name}.b.0.weight"], padding=1)
    inner = F.relu(batch_norm(inner, state, f"{name}.b"))
    inner = batch_norm(F.conv2d(inner, state[f"{name}.c.0.weight"]), state, f"{name}.c")
    return F.relu(x + inner)


def released_by_the_table(noisy, state):
    """Compute each layer of the released network from the table, without any of its modules."""

    def conv(x, name, **options):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.conv2d(x, weight, bias, **options)

    def module(x, name, stride):
        x = conv(x, f"{name}.conv.0", stride=stride, padding=1)
        return residual(F.relu(batch_norm(x, state, f"{name}.conv")), state, f"{name}.residual")

    layers = {"conv0": conv(noisy, "conv0")}
    layers["encode1"] = module(layers["conv0"], "encode1", 2)
    layers["encode2"] = module(layers["encode1"], "encode2", 2)
    layers["up2"] = deconvolution(layers["encode2"], state["up2.weight"], state["up2.bias"])
    fused = torch.cat([layers["encode1"], layers["up2"]], 1)
    layers["decode"] = module(fused, "decode", 1)
    layers["up1"] = deconvolution(layers["decode"], state["up1.weight"], state["up1.bias"])
    fused = torch.cat([layers["conv0"], layers["up1"]], 1)
    layers["out"] = conv(fused, "out")
    return layers, noisy[..., 3:-3, 3:-3] + layers["out"]


def test_every_layer_of_the_released_network_equals_the_table():
    network = randomised(build_network("denoiser", "released", width=16).double())
    seen = {}
    for name, child in network.named_children():
        child.register_forward_hook(lambda _, __, value, name=name: seen.update({name: value}))
    noisy = noisy_images(2, 3, 24, 32)
    with torch.no_grad():
        output = network.forward_unpadded(noisy)
        layers, expected = released_by_the_table(noisy, network.state_dict())
    assert set(seen) == set(layers)
    for name, value in layers.items():
        assert value.abs().max() > 0.1
        torch.testing.assert_close(seen[name], value, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(output, expected)


def test_the_released_network_starts_as_the_authors_filler_does():
    network = build_network("denoiser", "released", width=64)
    assert (network.conv0.bias == 0.2).all()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            if layer is network.out:
                continue  # it begins near zero, see the next test
            bound = (3 / layer.weight[0].numel()) ** 0.5  # uniform, variance 1 / fan-in
            assert layer.weight.abs().max() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
            if layer.bias is not None and layer is not network.conv0:
                assert (layer.bias == 0).all()


@pytest.mark.parametrize("name", DENOISERS)
def test_every_denoiser_begins_by_returning_almost_its_input(name):
    torch.manual_seed(0)
    network = build_network("denoiser", name, width=16).eval()
    noisy = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (network(noisy) - noisy).square().mean().sqrt() < 0.02


@pytest.mark.parametrize("name", NETWORKS["denoiser"])
@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (2, 3), (3, 1), (4, 4), (5, 9), (6, 6), (7, 7), (8, 13), (17, 31), (33, 40), (1, 50)],
)
def test_the_output_has_the_size_of_the_input(name, height, width):
    network = build_network("denoiser", name, width=4, **OF_ONE_SIGMA.get(name, {})).eval()
    output = network(torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)))
    assert output.shape == (2, 3, height, width)
    assert output.isfinite().all()


@pytest.mark.parametrize("name", DENOISERS)
def test_padding_changes_no_pixel_whose_receptive_field_is_inside(name):
    network = randomised(build_network("denoiser", name, width=4).double())
    noisy = noisy_images(1, 3, 96, 96)
    with torch.no_grad():
        expected, shifted = network(noisy), network(noisy[..., 4:, 8:])
    torch.testing.assert_close(shifted[..., 40:-40, 40:-40], expected[..., 44:-40, 48:-40])


@pytest.mark.parametrize("phase", range(4))
def test_the_receptive_field_of_the_released_network_is_39_pixels(phase):
    network = build_network("denoiser", "released", width=4).double().eval()
    for weight in network.parameters():
        weight.data.abs_().add_(0.01)  # all positive: no ReLU hides a path
    noisy = noisy_images(1, 3, 96, 96).requires_grad_()
    # The output starts 3 px inside the input; the size is the same at each phase of the strides.
    network.forward_unpadded(noisy)[0, :, 44 + phase, 44 + phase].sum().backward()
    reached = noisy.grad.abs().sum((0, 1)).nonzero()
    extent = reached.max(0).values - reached.min(0).values + 1
    assert extent.tolist() == [39, 39]


def test_dncnn_returns_the_input_minus_what_it_predicts():
    network = build_network("denoiser", "dncnn", width=4, depth=3)
    nn.init.zeros_(network.layers[-1].weight)
    nn.init.constant_(network.layers[-1].bias, 0.25)
    noisy = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(noisy), noisy - 0.25)


@pytest.mark.parametrize("name", ["released", "paper", "dncnn"])
def test_a_zero_last_layer_makes_a_denoiser_the_identity_without_clipping(name):
    network = build_network("denoiser", name, width=4).eval()
    nn.init.zeros_(network.layers[-1].weight if name == "dncnn" else network.out.weight)
    noisy = torch.linspace(-2, 3, 3 * 13 * 18).reshape(1, 3, 13, 18)
    torch.testing.assert_close(network(noisy), noisy, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("role", "name", "shape"),
    [
        ("classifier", "small-vgg", (10,)), ("classifier", "small-resnet", (10,)),
        ("segmenter", "small-largefov", (10, 33, 37)), ("segmenter", "small-unet", (10, 33, 37)),
    ],
)  # fmt: skip
def test_task_networks_return_logits_for_each_image_independently(role, name, shape):
    network = randomised(build_network(role, name, width=4, classes=10).double())
    images = noisy_images(3, 3, 33, 37)
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (3, *shape)
        torch.testing.assert_close(logits[1:2], network(images[1:2]))
