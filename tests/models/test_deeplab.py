"""DeepLab-LargeFOV against its published figures and OpenCV."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from caffe_net import CaffeNet
from torch import nn

from dhl.models import deeplab
from dhl.models.build import build_network

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


@pytest.fixture(scope="module")
def on_meta():
    """The network at full size, without memory for its weights."""
    with torch.device("meta"):
        return build_network("segmenter", "deeplab-largefov", classes=21)


@pytest.fixture
def narrow(monkeypatch):
    """A narrow network with random weights."""
    widths = ((8, 8), (8, 8), (12, 12, 12), (16, 16, 16), (16, 16, 512))
    blocks = zip(widths, deeplab.BLOCKS, strict=True)
    monkeypatch.setattr(deeplab, "BLOCKS", tuple((new, *rest) for new, (_, *rest) in blocks))
    network = build_network("segmenter", "deeplab-largefov", classes=5).eval()
    network.fc6, network.fc7 = nn.Conv2d(512, 24, 3, padding=12, dilation=12), nn.Conv2d(24, 24, 1)
    network.fc8 = nn.Conv2d(24, 5, 1)
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        fan_in = weight[0].numel() if weight.ndim > 1 else 4
        weight.data.normal_(std=(2 / fan_in) ** 0.5, generator=generator)
    return network


def test_an_image_of_321_pixels_has_the_published_size_at_every_stage(on_meta):
    assert sum(weight.numel() for weight in on_meta.parameters()) == 20_505_429
    sizes = []
    layers = [*on_meta.features, on_meta.fc6, on_meta.fc7, on_meta.fc8]
    kinds = (nn.MaxPool2d, nn.AvgPool2d, nn.Conv2d)
    hooks = [
        layer.register_forward_hook(lambda layer, _, value: sizes.append((layer, value.shape)))
        for layer in layers
        if isinstance(layer, kinds)
    ]
    assert on_meta(torch.zeros(1, 3, 321, 321, device="meta")).shape == (1, 21, 321, 321)
    for hook in hooks:
        hook.remove()
    pooled = [tuple(size) for layer, size in sizes if not isinstance(layer, nn.Conv2d)]
    assert pooled == [
        (1, 64, 161, 161), (1, 128, 81, 81), (1, 256, 41, 41), (1, 512, 41, 41), (1, 512, 41, 41),
        (1, 512, 41, 41),
    ]  # fmt: skip
    convolutions = [(layer, size) for layer, size in sizes if isinstance(layer, nn.Conv2d)]
    assert [tuple(size) for _, size in convolutions[-3:]] == [
        (1, 1024, 41, 41), (1, 1024, 41, 41), (1, 21, 41, 41),
    ]  # fmt: skip
    dilations = [layer.dilation[0] for layer, _ in convolutions]
    assert dilations == [1] * 10 + [2] * 3 + [12, 1, 1]


@pytest.mark.parametrize(
    ("side", "coarse"),
    [(1, 1), (8, 2), (9, 2), (10, 3), (17, 3), (321, 41), (500, 64)],
)
def test_the_output_has_the_size_of_the_input(on_meta, side, coarse):
    images = torch.zeros(2, 3, side, 25, device="meta")
    assert on_meta.forward_coarse(images).shape == (2, 21, coarse, 4)
    assert on_meta(images).shape == (2, 21, side, 25)


def in_caffe(network: deeplab.DeepLabLargeFOV, height: int, width: int) -> CaffeNet:
    """Describe the network as its authors' definition does, with the same weights."""
    net, top = CaffeNet(height, width), "data"
    convolutions = iter(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))

    def convolution(name, bottom, **sizes):
        layer = next(convolutions)
        blobs = [layer.weight.detach().numpy(), layer.bias.detach().numpy()]
        return net.weighted(name, bottom, blobs, **sizes)

    def pool(name, bottom, stride, kind="MAX"):
        sizes = f"pooling_param {{ pool: {kind} kernel_size: 3 stride: {stride} pad: 1 }}"
        return net.add(name, "Pooling", bottom, name, sizes)

    for block, (count, dilation, stride) in enumerate(
        [(2, 1, 2), (2, 1, 2), (3, 1, 2), (3, 1, 1), (3, 2, 1)], start=1
    ):
        for index in range(1, count + 1):
            name = f"conv{block}_{index}"
            top = net.relu(convolution(name, top, pad=dilation, dilation=dilation))
        top = pool(f"pool{block}", top, stride)
    top = pool("pool5a", top, 1, "AVE")
    top = net.relu(convolution("fc6", top, pad=12, dilation=12))
    top = net.relu(convolution("fc7", top))
    convolution("fc8_voc12", top)
    return net


def test_the_coarse_logits_are_those_that_opencv_computes(narrow, tmp_path):
    caffe = in_caffe(narrow, 41, 46)
    caffe.write(tmp_path)
    reference = caffe.opencv(tmp_path)
    image = np.random.default_rng(0).random((41, 46, 3), np.float32)
    blob = ((image - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1)[None]
    reference.setInput(np.ascontiguousarray(blob))
    expected = reference.forward()
    with torch.no_grad():
        coarse = narrow.forward_coarse(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert expected.std() > 0.1
    np.testing.assert_allclose(coarse.numpy(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(33, 41), (36, 50)])
def test_full_size_logits_interpolate_the_coarse_ones(narrow, height, width):
    images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        coarse, full = narrow.forward_coarse(images)[0].numpy(), narrow(images)[0].numpy()

    def stretched(values, axis, side):
        positions = 8 * np.arange(values.shape[axis])
        return np.apply_along_axis(
            lambda line: np.interp(np.arange(side), positions, line), axis, values
        )

    expected = stretched(stretched(coarse, 1, height), 2, width)
    np.testing.assert_allclose(full, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(full[:, ::8, ::8], coarse[:, : -(-height // 8), : -(-width // 8)],
                               rtol=1e-4, atol=1e-5)  # fmt: skip


def test_new_layers_begin_normal_with_deviation_0_01_and_drop_half_while_training():
    network = build_network("segmenter", "deeplab-largefov", classes=21)
    for layer in (network.fc6, network.fc7, network.fc8):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not layer.bias.any()
    for layer in (network.fc6, network.fc7):
        nn.init.constant_(layer.bias, 100.0)  # after the ReLU, only dropped values are zero
    seen = []
    network.dropout.register_forward_hook(lambda *values: seen.append(values[2]))
    network.train()(torch.zeros(1, 3, 17, 17))
    assert len(seen) == 2
    for value in seen:
        assert (value == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
