"""Loss functions, and objectives, which compute the losses of a training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from dhl.data.class_names import IGNORED_LABEL
from dhl.data.noise import add_noise
from dhl.models.padded_denoiser import border_of
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
        Pixels with the label 255 do not count. A batch without any other pixel has no loss: 0, with
        gradients of 0.
    """
    # 255 is the ignore index of label maps, but a valid class of ImageNet.
    ignored = IGNORED_LABEL if logits.dim() == 4 else -1
    total = F.cross_entropy(logits.float(), target, ignore_index=ignored, reduction="sum")
    return total / (target != ignored).sum().clamp(min=1)


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


def feature_loss(*, denoised: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of features, relative to the mean square of `clean`.

    It is computed in float32 over all features of the batch, has no unit, and does not depend on
    the scale of the features. If all features of the clean images are zero, it is 0.

    Parameters
    ----------
    denoised, clean : Tensor of equal shape (N, ...)
        A task network's features of the denoised and of the clean images.

    References
    ----------
    .. [1] Johnson, Alahi and Fei-Fei, Perceptual Losses for Real-Time Style Transfer and
       Super-Resolution, ECCV 2016: their feature reconstruction loss is relative to the number of
       features instead.
    """
    scale = clean.float().square().mean()
    scale = scale.masked_fill(scale == 0, float("inf"))
    return F.mse_loss(denoised.float(), clean.float()) / scale


def centre_crop(images: torch.Tensor, side: int | None) -> torch.Tensor:
    """Cut the central `side` x `side` px out of images (N, C, H, W); None cuts nothing.

    Raises
    ------
    ValueError
        If the images are smaller.
    """
    if side is None:
        return images
    height, width = images.shape[-2:]
    if side > min(height, width):
        raise ValueError(f"{height} x {width} px are left of {side} x {side} px that are compared")
    top, left = ((length - side) // 2 for length in (height, width))
    return images[..., top : top + side, left : left + side]


def denoise_centre(denoiser: nn.Module, noisy: torch.Tensor, side: int | None) -> torch.Tensor:
    """Denoise images (N, 3, H, W) and return the central `side` x `side` px.

    If `side` is None, return complete images, denoised with padding. Otherwise denoise without
    padding, if the denoiser can.
    """
    unpadded = side is not None and border_of(denoiser) > 0
    denoise = cast(Callable, denoiser.forward_unpadded) if unpadded else denoiser
    return centre_crop(denoise(noisy), side)


def shrink_labels(target: torch.Tensor, stride: int) -> torch.Tensor:
    """Sample label maps at the positions of a coarse grid.

    Parameters
    ----------
    target : Tensor of int64, shape (N, H, W)
    stride : int
        Pixels between positions; the first is on the first pixel.

    Returns
    -------
    Tensor of int64, shape (N, ceil((H - 1) / stride) + 1, ceil((W - 1) / stride) + 1)
        Positions outside the image get the label 255, which the loss ignores.

    Notes
    -----
    DeepLab's Caffe code interpolates labels with aligned corners, at (H - 1) / stride + 1 positions
    a side. Its training crops have sides of k * stride + 1, so every position is on a pixel, whose
    label is copied: 321 px at stride 8 give 41 labels, those of pixels 0, 8, ..., 320.
    """
    bottom, right = (-(side - 1) % stride for side in target.shape[-2:])
    return F.pad(target, (0, right, 0, bottom), value=IGNORED_LABEL)[..., ::stride, ::stride]


def coarse_logits(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return a task network's logits; DeepLab's are those before the upsampling."""
    return getattr(network, "forward_coarse", network)(images)


def loss_of_network(
    network: nn.Module, images: torch.Tensor, targets: torch.Tensor | None
) -> torch.Tensor:
    """Return a task network's loss; DeepLab's is computed before the upsampling.

    Raises
    ------
    ValueError
        If the images have no targets.
    """
    if targets is None:
        raise ValueError("a task's loss needs images with targets")
    logits = coarse_logits(network, images)
    stride = getattr(network, "stride", None) if hasattr(network, "forward_coarse") else None
    return task_loss(
        logits=logits, target=targets if stride is None else shrink_labels(targets, stride)
    )


class DenoisingObjective:
    """Trains a denoiser with the reconstruction loss alone (lambda = 0).

    Parameters
    ----------
    network : nn.Module
        A denoiser.
    sigma : float or pair of float
        Noise level, or a range of noise levels, on the 0-255 scale.
    output_side : int or None
        The loss compares the central square of this side in pixels, denoised without padding if
        the denoiser can, as in the authors' training. None compares complete images, denoised with
        padding.
    noise : str
        The configuration's `noise`.
    """

    def __init__(
        self, network: nn.Module, *, sigma: float | tuple[float, float], output_side: int | None,
        noise: str = GAUSSIAN,
    ):  # fmt: skip
        self.network = network
        self.sigma, self.noise, self.output_side = sigma, noise, output_side

    def reconstruct(
        self, images: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Denoise noisy copies of clean images; return the denoised images and their loss."""
        noisy = add_noise(images, sigma=self.sigma, generator=generator, model=self.noise)
        denoised = denoise_centre(self.network, noisy, self.output_side)
        clean = centre_crop(images, self.output_side)
        loss = reconstruction_loss(denoised=denoised, clean=clean)
        return denoised, loss

    def losses(
        self, images: torch.Tensor, targets: torch.Tensor | None, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return `loss` and `reconstruction_loss` of clean images (N, 3, H, W) in [0, 1]."""
        _, loss = self.reconstruct(images, generator)
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
        self, images: torch.Tensor, targets: torch.Tensor | None, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return `loss` and `task_loss` of clean images (N, 3, H, W) in [0, 1] and targets."""
        if self.sigma is not None:
            images = add_noise(images, sigma=self.sigma, generator=generator, model=self.noise)
        loss = loss_of_network(self.network, images, targets)
        return {"loss": loss, "task_loss": loss.detach()}


class JointObjective(DenoisingObjective):
    """Trains a denoiser with the joint loss: the paper's Figure 3.

    Gradients pass through the task network, which is frozen: its weights get no gradients, and it
    stays in evaluation mode. Its input, the denoised images, is neither clipped nor rounded.

    Parameters
    ----------
    network : nn.Module
        A denoiser.
    task_network : nn.Module
        Frozen in place.
    sigma : float
        Noise level on the 0-255 scale.
    task_weight : float
        The paper's lambda.
    output_side : int or None
        Both losses use the central square of this side in pixels; None uses the complete crop.
    noise : str
        The configuration's `noise`.
    """

    guidance = "task_loss"  # the name of the second loss in training curves

    def __init__(
        self, network: nn.Module, *, task_network: nn.Module, sigma: float, task_weight: float,
        output_side: int | None = None, noise: str = GAUSSIAN,
    ):  # fmt: skip
        super().__init__(network, sigma=sigma, output_side=output_side, noise=noise)
        self.task_network = task_network.requires_grad_(False).eval()
        self.task_weight = task_weight

    def losses(
        self, images: torch.Tensor, targets: torch.Tensor | None, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return `loss`, `reconstruction_loss` and the guiding loss by its name."""
        denoised, reconstruction = self.reconstruct(images, generator)
        guiding = self.guiding_loss(denoised, images, targets)
        loss = joint_loss(reconstruction=reconstruction, task=guiding, task_weight=self.task_weight)
        return {
            "loss": loss,
            "reconstruction_loss": reconstruction.detach(),
            self.guidance: guiding.detach(),
        }

    def guiding_loss(
        self, denoised: torch.Tensor, images: torch.Tensor, targets: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the second loss of denoised images, from their clean images and targets."""
        return loss_of_network(self.task_network, denoised, targets)


class PermutedObjective(JointObjective):
    """The joint objective with the target of the next image of the batch.

    Targets have the right frequencies and say nothing about their image. The loss is least if every
    prediction is the frequency of the classes.
    """

    def guiding_loss(
        self, denoised: torch.Tensor, images: torch.Tensor, targets: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the task's loss with permuted targets."""
        others = None if targets is None else targets.roll(-1, 0)
        return super().guiding_loss(denoised, images, others)
