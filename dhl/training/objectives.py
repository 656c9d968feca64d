"""What a training step minimises: loss functions, and an objective for each kind of training.

An objective has `network`, whose weights are trained, and
`losses(images, targets, generator)`, which returns a dict of scalar tensors: `loss` is minimised,
the others go into the training curve.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dhl.data.class_names import IGNORED_LABEL
from dhl.data.noise import add_noise
from dhl.models.cascade import Cascade, labels_for_loss, logits_for_loss
from dhl.models.centre_crop import centre_crop, denoise_centre
from dhl.sigma import GAUSSIAN


def reconstruction_loss(*, denoised: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error over all pixels and channels, on the [0, 1] scale, in float32.

    Parameters
    ----------
    denoised, clean : Tensor of shape (N, 3, H, W)

    Notes
    -----
    The authors' code minimises half of the squared error on the 0-255 scale: multiply by
    255**2 / 2.
    """
    return F.mse_loss(denoised.float(), clean.float())


def task_loss(*, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy over images or pixels, in float32.

    Parameters
    ----------
    logits : Tensor of shape (N, C) or (N, C, H, W)
    target : Tensor of int64, shape (N,) or (N, H, W)
        Pixels with the label 255 do not count.
    """
    # 255 is the ignore index of label maps, but a valid class of ImageNet.
    ignored = IGNORED_LABEL if logits.dim() == 4 else -1
    return F.cross_entropy(logits.float(), target, ignore_index=ignored)


def joint_loss(
    *, reconstruction: torch.Tensor, task: torch.Tensor, task_weight: float
) -> torch.Tensor:
    """Return the paper's joint loss: `reconstruction` + lambda * `task`.

    Parameters
    ----------
    reconstruction, task : scalar Tensor
        From `reconstruction_loss` and `task_loss`.
    task_weight : float
        The paper's lambda. In these units the authors' released configurations have 0.0041
        (classification) and 0.0198 (segmentation).
    """
    return reconstruction + task_weight * task


class DenoisingObjective:
    """Trains a denoiser for the reconstruction loss alone (lambda = 0).

    Parameters
    ----------
    network : nn.Module
        A denoiser.
    sigma : float or pair of float
        Noise level, or a range of noise levels, on the 0-255 scale.
    output_side : int or None
        The loss compares the central square of this side, which no padding has influenced, as in
        the authors' training. None compares whole images, padded as when the denoiser is used.
    noise : str
        The configuration's `noise`.
    """

    def __init__(
        self, network: nn.Module, *, sigma: float | tuple[float, float], output_side: int | None,
        noise: str = GAUSSIAN,
    ):  # fmt: skip
        self.network = network
        self.sigma, self.noise, self.output_side = sigma, noise, output_side

    def losses(
        self, images: torch.Tensor, targets: object, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return `loss` and `reconstruction_loss` of clean images (N, 3, H, W) in [0, 1]."""
        noisy = add_noise(images, sigma=self.sigma, generator=generator, model=self.noise)
        denoised = denoise_centre(self.network, noisy, self.output_side)
        clean = centre_crop(images, self.output_side)
        loss = reconstruction_loss(denoised=denoised, clean=clean)
        return {"loss": loss, "reconstruction_loss": loss.detach()}


class TaskObjective:
    """Trains a task network on clean images, or retrains it on noisy ones.

    Parameters
    ----------
    network : nn.Module
        A classifier or a segmenter.
    sigma : float or None
        Noise level on the 0-255 scale; None trains on clean images.
    noise : str
        The configuration's `noise`.
    """

    def __init__(self, network: nn.Module, *, sigma: float | None, noise: str = GAUSSIAN):
        self.network, self.sigma, self.noise = network, sigma, noise

    def losses(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return `loss` and `task_loss` of clean images (N, 3, H, W) in [0, 1] and targets."""
        if self.sigma is not None:
            images = add_noise(images, sigma=self.sigma, generator=generator, model=self.noise)
        logits = logits_for_loss(self.network, images)
        loss = task_loss(logits=logits, target=labels_for_loss(self.network, targets))
        return {"loss": loss, "task_loss": loss.detach()}


class JointObjective:
    """Trains the denoiser of a cascade for the joint loss; the task network stays frozen.

    Parameters
    ----------
    network, task_network : nn.Module
        The denoiser, and the frozen network that guides it.
    sigma : float
        Noise level on the 0-255 scale.
    task_weight : float
        The paper's lambda.
    output_side : int or None
        The task network sees the central square of this side of the denoised crop, which is also
        what the reconstruction loss compares. None takes all of it.
    noise : str
        The configuration's `noise`.
    """

    def __init__(
        self, network: nn.Module, *, task_network: nn.Module, sigma: float, task_weight: float,
        output_side: int | None = None, noise: str = GAUSSIAN,
    ):  # fmt: skip
        self.network = network
        self.cascade = Cascade(network, task_network, output_side)
        self.sigma, self.noise, self.output_side = sigma, noise, output_side
        self.task_weight = task_weight

    def losses(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return `loss`, `reconstruction_loss` and `task_loss` of clean images and targets."""
        noisy = add_noise(images, sigma=self.sigma, generator=generator, model=self.noise)
        denoised, logits = self.cascade(noisy)
        clean = centre_crop(images, self.output_side)
        reconstruction = reconstruction_loss(denoised=denoised, clean=clean)
        target = labels_for_loss(self.cascade.task_network, targets)
        task = task_loss(logits=logits, target=target)
        loss = joint_loss(reconstruction=reconstruction, task=task, task_weight=self.task_weight)
        return {
            "loss": loss,
            "reconstruction_loss": reconstruction.detach(),
            "task_loss": task.detach(),
        }
