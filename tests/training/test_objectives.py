"""Losses and the joint objective against NumPy: values and gradients by their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_networks import CLASSES, SIDE, SIGMA, LinearDenoiser, linear_networks, uniform
from skimage.metrics import mean_squared_error
from torch import nn

from dhl.models.build import build_network
from dhl.training.objectives import (
    DenoisingObjective,
    JointObjective,
    PermutedObjective,
    TaskObjective,
    centre_crop,
    reconstruction_loss,
    shrink_labels,
    task_loss,
)


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


def test_the_denoising_objective_equals_the_joint_one_without_its_task():
    denoiser, task = linear_networks()
    clean = uniform(5, 3, SIDE, SIDE, seed=9)
    joint = JointObjective(denoiser, task_network=task, sigma=SIGMA, task_weight=0.5)
    plain = DenoisingObjective(denoiser, sigma=SIGMA, output_side=None)
    both = joint.losses(clean, torch.tensor([0, 1, 2, 3, 1]), torch.Generator().manual_seed(4))
    alone = plain.losses(clean, None, torch.Generator().manual_seed(4))
    assert alone["loss"].item() == both["reconstruction_loss"].item()


def test_a_crop_larger_than_the_image_is_an_error():
    with pytest.raises(ValueError, match="30 x 40 px are left of 32 x 32 px"):
        centre_crop(torch.zeros(1, 3, 30, 40), 32)


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


def test_the_stride_of_a_network_without_coarse_logits_is_its_own_affair():
    segmenter = nn.Conv2d(3, 3, 1)  # has an attribute `stride`
    images, labels = uniform(2, 3, 5, 5), torch.arange(50).reshape(2, 5, 5) % 3
    loss = TaskObjective(segmenter, sigma=None).losses(images, labels, torch.Generator())["loss"]
    expected = nn.functional.cross_entropy(segmenter(images), labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
