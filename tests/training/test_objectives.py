"""Losses and the joint objective against NumPy: values and gradients by their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, normalized_root_mse
from torch import nn

from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.models.build import build_network
from dhl.training.objectives import (
    DenoisingObjective,
    JointObjective,
    PerceptualObjective,
    PermutedObjective,
    TaskObjective,
    coarse_logits,
    feature_loss,
    reconstruction_loss,
    shrink_labels,
    task_loss,
)

SIDE, CLASSES, SIGMA = 3, 4, 30


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return repeatable numbers in [0, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> float:
    """Return the mean over rows (n, classes)."""
    shifted = logits - logits.max(1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(1))
    return float((log_sums - shifted[np.arange(len(target)), target]).mean())


def test_task_loss_of_pixels_leaves_out_the_ignored_label():
    logits, target = 5 * uniform(2, CLASSES, 3, 3), np.random.default_rng(0).integers(0, 4, 18)
    target[[1, 5, 17]] = 255
    rows = logits.permute(0, 2, 3, 1).reshape(-1, CLASSES).numpy()
    loss = task_loss(logits=logits, target=torch.from_numpy(target.reshape(2, 3, 3)))
    expected = cross_entropy(rows[target != 255], target[target != 255])
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_a_label_has_no_loss_and_changes_no_weight():
    logits = (5 * uniform(2, CLASSES, 3, 3)).requires_grad_()
    loss = task_loss(logits=logits, target=torch.full((2, 3, 3), 255))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
    network = nn.Sequential(nn.Conv2d(3, CLASSES, 1))
    objective = TaskObjective(network, sigma=None)
    objective.losses(uniform(2, 3, 4, 4), torch.full((2, 4, 4), 255), torch.Generator())[
        "loss"
    ].backward()
    assert not network[0].weight.grad.any()


@pytest.mark.parametrize("shape", [(16, 10), (4, 11, 21, 23)])
def test_the_task_loss_is_pytorchs_mean_to_the_bit(shape):
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    ignored = 255 if len(shape) == 4 else -1
    if len(shape) == 4:
        target[torch.rand(target.shape, generator=generator) < 0.3] = 255
    one, other = ((5 * uniform(*shape)).requires_grad_() for _ in range(2))
    loss = task_loss(logits=one, target=target)
    expected = nn.functional.cross_entropy(other, target, ignore_index=ignored)
    (0.7 * loss).backward()
    (0.7 * expected).backward()
    assert torch.equal(loss, expected)
    assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_losses_equal_their_formulas_and_are_computed_in_float32(dtype):
    denoised, clean = uniform(2, 3, 8, 9).to(dtype), uniform(2, 3, 8, 9, seed=1)
    expected = mean_squared_error(denoised.float().numpy(), clean.numpy())
    loss = reconstruction_loss(denoised=denoised, clean=clean)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    logits = (5 * uniform(6, CLASSES)).to(dtype)
    loss = task_loss(logits=logits, target=torch.tensor([0, 1, 2, 3, 3, 0]))
    expected = cross_entropy(logits.float().numpy(), np.array([0, 1, 2, 3, 3, 0]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("factor", "side", "weight"), [(5e-8, 224, 0.0041), (5e-9, 321, 0.0198)])
def test_the_documented_weights_are_those_of_the_released_configurations(factor, side, weight):
    # Caffe: CE + factor * sum of squares / 2 on 0-255, divided by the batch.
    assert 1 / (factor / 2 * 255**2 * 3 * side**2) == pytest.approx(weight, rel=0.05)


class LinearDenoiser(nn.Module):
    """Mixes the channels of each pixel."""

    border = 0

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)

    def forward(self, noisy):
        return self.mix(noisy)


def linear_networks() -> tuple[LinearDenoiser, nn.Sequential]:
    """Return a linear denoiser and a linear classifier with random weights."""
    task = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES))
    denoiser = LinearDenoiser()
    for index, weight in enumerate([*denoiser.parameters(), *task.parameters()]):
        weight.data = 2 * uniform(*weight.shape, seed=index) - 1
    return denoiser, task


def joint_by_hand(clean, noisy, target, networks, weight):
    """Return the loss, and its gradient with respect to the denoiser's matrix and offset."""
    denoiser, task = networks
    mix = denoiser.mix.weight.detach().double().numpy()[..., 0, 0]
    offset = denoiser.mix.bias.detach().double().numpy()
    matrix = task[1].weight.detach().double().numpy()
    denoised = np.einsum("oi,nihw->nohw", mix, noisy) + offset[:, None, None]
    logits = denoised.reshape(len(target), -1) @ matrix.T + task[1].bias.detach().double().numpy()
    loss = np.square(denoised - clean).mean() + weight * cross_entropy(logits, target)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = (softmax - np.eye(CLASSES)[target]) / len(target)
    back = 2 * (denoised - clean) / clean.size
    back = back + weight * (wrong @ matrix).reshape(back.shape)
    return loss, np.einsum("nohw,nihw->oi", back, noisy), back.sum((0, 2, 3))


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.5])
def test_the_joint_objective_equals_its_formula_in_value_and_gradient(weight):
    networks = linear_networks()
    clean, target = uniform(5, 3, SIDE, SIDE, seed=9), np.array([0, 1, 2, 3, 1])
    noise = torch.empty_like(clean).normal_(generator=torch.Generator().manual_seed(4))
    noisy = (clean + noise * SIGMA / 255).double().numpy()
    loss, mix, offset = joint_by_hand(clean.double().numpy(), noisy, target, networks, weight)

    objective = JointObjective(
        networks[0], task_network=networks[1], sigma=SIGMA, task_weight=weight
    )
    losses = objective.losses(clean, torch.from_numpy(target), torch.Generator().manual_seed(4))
    losses["loss"].backward()
    assert losses["loss"].item() == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(networks[0].mix.weight.grad[..., 0, 0], mix, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(networks[0].mix.bias.grad, offset, rtol=1e-4, atol=1e-6)
    parts = losses["reconstruction_loss"], losses["task_loss"]
    assert (parts[0] + weight * parts[1]).item() == pytest.approx(loss, rel=1e-5)
    assert networks[1][1].weight.grad is None


def test_permuted_targets_are_those_of_the_next_image():
    networks = linear_networks()
    clean, target = uniform(5, 3, SIDE, SIDE, seed=9), np.array([0, 1, 2, 3, 1])
    noise = torch.empty_like(clean).normal_(generator=torch.Generator().manual_seed(4))
    noisy = (clean + noise * SIGMA / 255).double().numpy()
    of_others = np.array([1, 2, 3, 1, 0])
    loss, mix, _ = joint_by_hand(clean.double().numpy(), noisy, of_others, networks, 0.5)
    objective = PermutedObjective(
        networks[0], task_network=networks[1], sigma=SIGMA, task_weight=0.5
    )
    losses = objective.losses(clean, torch.from_numpy(target), torch.Generator().manual_seed(4))
    losses["loss"].backward()
    assert losses["loss"].item() == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(networks[0].mix.weight.grad[..., 0, 0], mix, rtol=1e-4, atol=1e-6)
    assert networks[1][1].weight.grad is None
    with pytest.raises(ValueError, match="targets"):
        objective.losses(clean, None, torch.Generator())


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


def test_a_network_without_such_a_layer_is_refused():
    objective = PerceptualObjective(
        LinearDenoiser(), task_network=nn.BatchNorm2d(3), sigma=SIGMA, task_weight=0.5
    )
    with pytest.raises(UserError) as caught:
        objective.features(uniform(2, 3, 8, 8))
    assert "`BatchNorm2d`" in caught.value.came


def test_the_denoising_objective_equals_the_joint_one_without_its_task():
    denoiser, task = linear_networks()
    clean = uniform(5, 3, SIDE, SIDE, seed=9)
    joint = JointObjective(denoiser, task_network=task, sigma=SIGMA, task_weight=0.5)
    plain = DenoisingObjective(denoiser, sigma=SIGMA, output_side=None)
    both = joint.losses(clean, torch.tensor([0, 1, 2, 3, 1]), torch.Generator().manual_seed(4))
    alone = plain.losses(clean, None, torch.Generator().manual_seed(4))
    assert alone["loss"].item() == both["reconstruction_loss"].item()


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


def test_the_task_network_sees_the_centre_that_no_padding_has_influenced():
    denoiser = build_network("denoiser", "released", width=4)
    task = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, CLASSES))
    clean, target = uniform(2, 3, 16, 16), torch.tensor([0, 2])
    joint = JointObjective(denoiser, task_network=task, sigma=SIGMA, task_weight=0.5, output_side=8)
    losses = joint.losses(clean, target, torch.Generator().manual_seed(4))
    noise = torch.empty_like(clean).normal_(generator=torch.Generator().manual_seed(4))
    denoised = denoiser.forward_unpadded(clean + noise * SIGMA / 255)[..., 1:-1, 1:-1]
    expected = nn.functional.cross_entropy(task(denoised), target)
    torch.testing.assert_close(losses["task_loss"], expected.detach())
    error = (denoised - clean[..., 4:-4, 4:-4]).square().mean()
    torch.testing.assert_close(losses["reconstruction_loss"], error.detach())
    control = DenoisingObjective(denoiser, sigma=SIGMA, output_side=8)
    alone = control.losses(clean, None, torch.Generator().manual_seed(4))
    assert alone["loss"].item() == losses["reconstruction_loss"].item()


@pytest.mark.parametrize("sigma", [None, 30])
def test_the_task_objective_sees_clean_images_or_noisy_ones(sigma):
    _, task = linear_networks()
    images, target = uniform(5, 3, SIDE, SIDE), torch.tensor([0, 1, 2, 3, 1])
    loss = TaskObjective(task, sigma=sigma).losses(
        images, target, torch.Generator().manual_seed(4)
    )["loss"]
    if sigma:
        noise = torch.empty_like(images).normal_(generator=torch.Generator().manual_seed(4))
        images = images + noise * sigma / 255
    logits = task(images).detach().double().numpy()
    assert loss.item() == pytest.approx(cross_entropy(logits, target.numpy()), rel=1e-4)


def test_255_is_a_class_of_images():
    logits = uniform(2, 1000)
    target = torch.tensor([255, 3])
    expected = cross_entropy(logits.numpy(), target.numpy())
    assert task_loss(logits=logits, target=target).item() == pytest.approx(expected, rel=1e-5)


def test_a_task_needs_targets():
    objective = TaskObjective(linear_networks()[1], sigma=None)
    with pytest.raises(ValueError, match="targets"):
        objective.losses(uniform(5, 3, SIDE, SIDE), None, torch.Generator())


def test_labels_of_321_pixels_shrink_to_those_of_every_eighth_pixel():
    labels = torch.randint(0, 21, (2, 321, 321), generator=torch.Generator().manual_seed(0))
    shrunk = shrink_labels(labels, 8)
    assert shrunk.shape == (2, 41, 41)
    assert torch.equal(shrunk, labels[:, ::8, ::8])


@pytest.mark.parametrize(("side", "inside", "total"), [(16, 2, 3), (20, 3, 4), (25, 4, 4)])
def test_shrunk_labels_outside_the_image_are_ignored(side, inside, total):
    shrunk = shrink_labels(torch.ones(1, side, 17, dtype=torch.long), 8)
    assert shrunk.shape == (1, total, 3)
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


@pytest.mark.parametrize("joint", [False, True])
def test_the_loss_is_computed_at_the_coarse_positions(joint):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 9, 13, generator=generator)
    labels = torch.randint(0, 3, (2, 9, 13), generator=generator)
    labels[0, 4, 8] = 255
    segmenter, denoiser = Coarse(), LinearDenoiser()
    objective = TaskObjective(segmenter, sigma=None)
    if joint:
        objective = JointObjective(denoiser, task_network=segmenter, sigma=0, task_weight=2.0)
    losses = objective.losses(images, labels, generator)
    with torch.no_grad():
        logits = segmenter.score(denoiser(images) if joint else images)[..., ::4, ::4]
    rows, target = logits.permute(0, 2, 3, 1).reshape(-1, 3).numpy(), labels[:, ::4, ::4].flatten()
    counted = target.numpy() != 255
    assert counted.sum() == 23
    expected = cross_entropy(rows[counted], target.numpy()[counted])
    assert losses["task_loss"].item() == pytest.approx(expected, rel=1e-5)
    losses["loss"].backward()
    trained = denoiser.mix.weight if joint else segmenter.score.weight
    assert trained.grad.abs().max() > 0
