"""The perceptual objective: distances of features before the last layer, by their formulas."""

from __future__ import annotations

import pytest
import torch
from linear_networks import CLASSES, SIDE, SIGMA, LinearDenoiser, linear_networks, uniform
from skimage.metrics import normalized_root_mse
from torch import nn

from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.models.build import build_network
from dhl.training.objectives import DenoisingObjective, coarse_logits, feature_loss
from dhl.training.perceptual_objective import PerceptualObjective


def test_the_distance_of_features_is_the_squared_relative_error():
    found, wanted = uniform(2, 5, 4, 4), uniform(2, 5, 4, 4, seed=1)
    expected = normalized_root_mse(wanted.numpy(), found.numpy(), normalization="euclidean") ** 2
    distance = feature_loss(denoised=found, clean=wanted)
    assert distance.item() == pytest.approx(expected, rel=1e-5)
    scaled = feature_loss(denoised=100 * found, clean=100 * wanted)
    assert scaled.item() == pytest.approx(expected, rel=1e-5)  # it has no unit


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_perceptual_objective_equals_its_formula_in_value_and_gradient(weight):
    """The last layer reads the image itself, so features differ by the relative error."""
    (denoiser, task), (plain, _) = linear_networks(), linear_networks()
    clean = uniform(5, 3, SIDE, SIDE, seed=9)
    objective = PerceptualObjective(denoiser, task_network=task, sigma=SIGMA, task_weight=weight)
    losses = objective.losses(clean, None, torch.Generator().manual_seed(4))
    losses["loss"].backward()
    alone = DenoisingObjective(plain, sigma=SIGMA, output_side=None)
    error = alone.losses(clean, None, torch.Generator().manual_seed(4))["loss"]
    error.backward()
    power = clean.square().mean().item()
    assert losses["reconstruction_loss"].item() == error.item()
    assert losses["feature_loss"].item() == pytest.approx(error.item() / power, rel=1e-5)
    factor = 1 + weight / power
    assert losses["loss"].item() == pytest.approx(factor * error.item(), rel=1e-5)
    torch.testing.assert_close(denoiser.mix.weight.grad, factor * plain.mix.weight.grad)
    assert task[1].weight.grad is None


RESIDUAL = f"{PROJECT / 'docs/examples/residual.py'}:residual"


@pytest.mark.parametrize(
    ("role", "name", "options", "side", "last"),
    [
        ("classifier", "small-vgg", {"width": 4}, 16, "head"),
        ("classifier", "small-resnet", {"width": 4}, 16, "head"),
        ("classifier", "vgg16", {}, 32, "network.classifier.6"),
        ("classifier", "resnet50", {}, 32, "network.fc"),
        ("classifier", "efficientnet-lite0", {}, 32, "network._fc"),
        ("classifier", RESIDUAL, {"width": 4, "blocks": 1}, 16, "4"),
        ("segmenter", "small-unet", {"width": 4}, 16, "score"),
        ("segmenter", "deeplab-largefov", {}, 33, "fc8"),
    ],
)
def test_features_are_the_input_of_the_last_layer(role, name, options, side, last):
    network = build_network(role, name, classes=7, **options)
    objective = PerceptualObjective(
        LinearDenoiser(), task_network=network, sigma=SIGMA, task_weight=0.5
    )
    images = uniform(2, 3, side, side)
    with torch.no_grad():
        features = objective.features(images)
        assert torch.equal(network.get_submodule(last)(features), coarse_logits(network, images))


def test_features_that_are_all_zero_have_no_distance():
    denoised = uniform(2, 4).requires_grad_()
    loss = feature_loss(denoised=denoised, clean=torch.zeros(2, 4))
    loss.backward()
    assert loss.item() == 0
    assert not denoised.grad.any()


def test_features_of_a_network_are_those_before_its_upsampling():
    network = build_network("segmenter", "small-largefov", width=4, classes=7)
    objective = PerceptualObjective(
        LinearDenoiser(), task_network=network, sigma=SIGMA, task_weight=0.5
    )
    assert objective.features(uniform(2, 3, 16, 20)).shape == (2, 16, 4, 5)


class Reversed(nn.Module):
    """Defines its last layer first, and ends with BatchNorm."""

    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Conv2d(5, CLASSES, 1), nn.Conv2d(3, 5, 1)
        self.norm = nn.BatchNorm2d(CLASSES)

    def forward(self, images):
        return self.norm(self.last(self.first(images)))


def test_the_last_layer_is_the_last_that_runs():
    network = Reversed()
    objective = PerceptualObjective(
        LinearDenoiser(), task_network=network, sigma=SIGMA, task_weight=0.5
    )
    images = uniform(2, 3, 8, 8)
    assert torch.equal(objective.features(images), network.first(images))


class TwoHeaded(nn.Module):
    """A second head runs after the one that gives the logits, from the same or earlier features."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 6, 1)
        self.head, self.auxiliary = nn.Conv2d(6, CLASSES, 1), nn.Conv2d(5, CLASSES, 1)
        self.deeper = nn.Conv2d(CLASSES, CLASSES, 1)

    def forward(self, images):
        early = self.first(images).relu_()
        logits = self.head(self.second(early).relu_())
        self.deeper(self.auxiliary(early))
        return logits


def test_an_auxiliary_head_that_runs_last_is_not_compared():
    network = TwoHeaded()
    objective = PerceptualObjective(
        LinearDenoiser(), task_network=network, sigma=SIGMA, task_weight=0.5
    )
    images = uniform(2, 3, 8, 8)
    for _ in range(2):
        with torch.no_grad():
            features = objective.features(images)
            assert torch.equal(network.head(features), network(images))
    objective.features(images.requires_grad_()).sum().backward()
    assert images.grad.any()


def test_a_network_without_such_a_layer_is_refused():
    objective = PerceptualObjective(
        LinearDenoiser(), task_network=nn.BatchNorm2d(3), sigma=SIGMA, task_weight=0.5
    )
    with pytest.raises(UserError) as caught:
        objective.features(uniform(2, 3, 8, 8))
    assert "`BatchNorm2d`" in caught.value.came


def test_features_are_compared_on_the_centre_that_no_padding_has_influenced():
    denoiser = build_network("denoiser", "released", width=4)
    task = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, CLASSES))
    clean = uniform(2, 3, 16, 16)
    objective = PerceptualObjective(
        denoiser, task_network=task, sigma=SIGMA, task_weight=0.5, output_side=8
    )
    losses = objective.losses(clean, None, torch.Generator().manual_seed(4))
    power = clean[..., 4:-4, 4:-4].square().mean()
    torch.testing.assert_close(losses["feature_loss"], losses["reconstruction_loss"] / power)
