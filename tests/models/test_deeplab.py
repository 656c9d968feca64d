"""DeepLab-LargeFOV against its published figures and OpenCV; the loss at an eighth of the size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from caffe_net import CaffeNet
from torch import nn

from dhl.models import deeplab
from dhl.models.build import build_network
from dhl.models.cascade import shrink_labels
from dhl.training.objectives import JointObjective, TaskObjective

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


@pytest.fixture(scope="module")
def on_meta():
    """The network at full size, without memory for its weights."""
    with torch.device("meta"):
        return build_network("segmenter", "deeplab-largefov", classes=21)


@pytest.fixture(scope="module")
def narrow():
    """A narrow network with random weights."""
    blocks = deeplab.BLOCKS
    widths = ((8, 8), (8, 8), (12, 12, 12), (16, 16, 16), (16, 16, 512))
    deeplab.BLOCKS = tuple((new, *rest) for new, (_, *rest) in zip(widths, blocks, strict=True))
    try:
        network = build_network("segmenter", "deeplab-largefov", classes=5).eval()
    finally:
        deeplab.BLOCKS = blocks
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        fan_in = weight[0].numel() if weight.ndim > 1 else 4
        weight.data.normal_(std=(2 / fan_in) ** 0.5, generator=generator)
    return network


def test_the_number_of_parameters_is_the_published_20_5_million(on_meta):
    assert sum(weight.numel() for weight in on_meta.parameters()) == 20_505_429


def test_an_image_of_321_pixels_has_the_published_size_at_every_stage(on_meta):
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
    [(1, 1), (8, 2), (9, 2), (10, 3), (16, 3), (17, 3), (321, 41), (375, 48), (500, 64), (513, 65)],
)
def test_any_size_comes_back_at_its_own_size(on_meta, side, coarse):
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

    for block, (count, hole, stride) in enumerate(
        [(2, 1, 2), (2, 1, 2), (3, 1, 2), (3, 1, 1), (3, 2, 1)], start=1
    ):
        for index in range(1, count + 1):
            top = net.relu(convolution(f"conv{block}_{index}", top, pad=hole, dilation=hole))
        top = pool(f"pool{block}", top, stride)
    top = pool("pool5a", top, 1, "AVE")
    top = net.relu(convolution("fc6", top, pad=12, dilation=12))
    top = net.relu(convolution("fc7", top))
    convolution("fc8_voc12", top)
    return net


@pytest.mark.parametrize(("height", "width"), [(41, 33), (40, 46)])
def test_the_coarse_logits_are_those_that_opencv_computes(narrow, tmp_path, height, width):
    caffe = in_caffe(narrow, height, width)
    caffe.write(tmp_path)
    reference = caffe.opencv(tmp_path)
    image = np.random.default_rng(0).random((height, width, 3), np.float32)
    blob = ((image - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1)[None]
    reference.setInput(np.ascontiguousarray(blob))
    expected = reference.forward()
    with torch.no_grad():
        coarse = narrow.forward_coarse(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert expected.std() > 0.1
    np.testing.assert_allclose(coarse.numpy(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(33, 41), (36, 50)])
def test_full_size_logits_lie_between_the_coarse_ones_at_every_eighth_pixel(narrow, height, width):
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
        nn.init.constant_(layer.bias, 100.0)  # after the ReLU, only what is dropped is zero
    seen = []
    network.dropout.register_forward_hook(lambda *values: seen.append(values[2]))
    network.train()(torch.zeros(1, 3, 17, 17))
    assert len(seen) == 2
    for value in seen:
        assert (value == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_labels_of_321_pixels_shrink_to_those_of_every_eighth_pixel():
    labels = torch.randint(0, 21, (2, 321, 321), generator=torch.Generator().manual_seed(0))
    shrunk = shrink_labels(labels, 8)
    assert shrunk.shape == (2, 41, 41)
    for row, column in ((0, 0), (0, 40), (17, 3), (40, 40)):
        assert torch.equal(shrunk[:, row, column], labels[:, 8 * row, 8 * column])


@pytest.mark.parametrize(("side", "inside"), [(16, 2), (20, 3), (24, 3), (25, 4)])
def test_shrunk_labels_beyond_the_image_are_ignored(on_meta, side, inside):
    shrunk = shrink_labels(torch.ones(1, side, 17, dtype=torch.long), 8)
    coarse = on_meta.forward_coarse(torch.zeros(1, 3, side, 17, device="meta"))
    assert shrunk.shape == (1, *coarse.shape[-2:])
    assert (shrunk[0, :inside] == 1).all()
    assert (shrunk[0, inside:] == 255).all()


class Coarse(nn.Module):
    """A linear segmenter with a quarter of the resolution."""

    stride = 4

    def __init__(self):
        super().__init__()
        self.score = nn.Conv2d(3, 3, 1)

    def forward_coarse(self, images):
        return self.score(images[..., ::4, ::4])

    def forward(self, images):
        return F.interpolate(self.forward_coarse(images), size=images.shape[-2:])


class Brighten(nn.Module):
    """A denoiser of one weight."""

    border = 0

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, noisy):
        return self.gain * noisy


@pytest.mark.parametrize("joint", [False, True])
def test_the_loss_is_taken_at_the_coarse_positions(joint):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 9, 13, generator=generator)
    labels = torch.randint(0, 3, (2, 9, 13), generator=generator)
    labels[0, 4, 8] = 255
    segmenter, denoiser = Coarse(), Brighten()
    objective = TaskObjective(segmenter, sigma=None)
    if joint:
        objective = JointObjective(denoiser, task_network=segmenter, sigma=0, task_weight=2.0)
    losses = objective.losses(images, labels, generator)
    gain = 1.5 if joint else 1.0
    total = count = 0
    for image, label in zip(images, labels, strict=True):
        for y in range(0, 9, 4):
            for x in range(0, 13, 4):
                if label[y, x] != 255:
                    weight = segmenter.score.weight[..., 0, 0]
                    logits = weight @ (gain * image[:, y, x]) + segmenter.score.bias
                    total -= logits.log_softmax(0)[label[y, x]]
                    count += 1
    assert count == 23
    assert losses["task_loss"].item() == pytest.approx((total / count).item(), rel=1e-5)
    losses["loss"].backward()
    moved = denoiser.gain if joint else segmenter.score.weight
    assert moved.grad.abs().max() > 0
