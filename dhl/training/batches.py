"""Training batches as a pure function of (seed, step): a resumed run sees the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from dhl.config.recipes import Recipe
from dhl.data.class_names import IGNORED_LABEL
from dhl.data.image_files import ImageFiles
from dhl.data.image_set import ImageSet, check_sizes
from dhl.seeding import torch_generator
from dhl.training.reader import FileReader, Steps, stacked

# A small image is padded with ImageNet's mean colour, which is zero after Caffe subtracts the mean;
# its label map is padded with the ignored label.
FILLING = (123, 117, 104, IGNORED_LABEL)


class EpochOrder:
    """The order of the training images: one shuffled epoch after another.

    Parameters
    ----------
    count, batch : int
        Number of images in the data set, and in a batch.
    seed_names : tuple
        The shuffles are derived from these names.
    """

    def __init__(self, count: int, batch: int, seed_names: tuple):
        self.count, self.batch, self.seed_names = count, batch, seed_names
        self.epoch, self.shuffled = -1, torch.empty(0)

    def __call__(self, step: int) -> list[int]:
        """Return the indices of the images of a step, counted from 0."""
        indices = []
        for position in range(step * self.batch, (step + 1) * self.batch):
            epoch, offset = divmod(position, self.count)
            if epoch != self.epoch:
                generator = torch_generator(*self.seed_names, "epoch", epoch)
                self.epoch = epoch
                self.shuffled = torch.randperm(self.count, generator=generator)
            indices.append(int(self.shuffled[offset]))
        return indices


class Augmentation(NamedTuple):
    """The random augmentation of one image: corner of the crop, mirroring, quarter turns."""

    top: int = 0
    left: int = 0
    mirrored: bool = False
    turns: int = 0


class InMemory:
    """Images on the device as uint8 (3, H, W); a label map is the fourth channel."""

    def __init__(self, images: ImageSet, order: EpochOrder, device: torch.device):
        self.order = order
        maps: Iterable[np.ndarray | None] = [None] * len(images)
        if images.targets is not None and images.has_label_maps:
            maps = images.targets
        self.stacks = [
            stacked(image, labels).to(device)
            for image, labels in zip(images.images, maps, strict=True)
        ]

    def __call__(self, step: int) -> tuple[list[torch.Tensor], list[int]]:
        """Return the images of a step and their indices."""
        indices = self.order(step)
        return [self.stacks[index] for index in indices], indices


class BatchSampler:
    """Draws batches of random crops with augmentation, in shuffled epochs, on the device.

    Parameters
    ----------
    images : ImageSet
        Images in memory are kept on the device; image files are decoded ahead of time.
    recipe : Recipe
        Batch size, patch side and augmentation.
    seed_names : tuple
        The order of the images is derived from these names.
    device : torch.device
        Crops and rotates the batches.
    workers : int
        Number of processes that decode image files; 0 decodes in this process.

    Raises
    ------
    UserError
        If an image without a label map is smaller than the patch; or if no patch is set, and the
        images differ in size, or have unequal sides and are to be rotated.
    """

    def __init__(
        self, images: ImageSet, recipe: Recipe, *, seed_names: tuple, device: torch.device,
        workers: int = 0,
    ):  # fmt: skip
        self.recipe, self.device, self.sizes = recipe, device, images.sizes
        check_sizes(images, recipe)
        self.has_label_maps, self.classes = images.has_label_maps, None
        if isinstance(images.targets, np.ndarray) and not images.has_label_maps:
            self.classes = torch.from_numpy(images.targets.astype(np.int64))
        self.order = EpochOrder(len(images), recipe.batch, seed_names)
        self.source: Callable[[int], tuple[list[torch.Tensor], list[int]]]
        if isinstance(images.images, ImageFiles):
            steps = Steps(images.images, images.targets, self.order)
            self.source = FileReader(steps, device, count=recipe.steps, workers=workers)
        else:
            self.source = InMemory(images, self.order, device)

    def __call__(
        self, step: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the images (N, 3, H, W) in [0, 1] and targets of a step, counted from 0."""
        drawn = [self._draw(self.sizes[index], generator) for index in self.order(step)]
        stacks, indices = self.source(step)
        batch = torch.stack(
            [self._crop(stack, one) for stack, one in zip(stacks, drawn, strict=True)]
        )
        images = batch[:, :3].float() / 255
        if self.has_label_maps:
            return images, batch[:, 3].long()
        if self.classes is None:
            return images, None
        return images, self.classes[indices].to(self.device, non_blocking=True)

    def _draw(self, size: Sequence[int], generator: torch.Generator) -> Augmentation:
        """Draw the augmentation of an image of this height and width, on the CPU."""
        patch, augment = self.recipe.patch, self.recipe.augment
        top, left = (
            int(torch.randint(max(side, patch) - patch + 1, (), generator=generator))
            if patch
            else 0
            for side in size
        )
        if augment == "none":
            return Augmentation(top, left)
        mirrored = bool(torch.rand((), generator=generator) < 0.5)
        if augment == "mirror":
            return Augmentation(top, left, mirrored)
        return Augmentation(top, left, mirrored, int(torch.randint(4, (), generator=generator)))

    def _crop(self, image: torch.Tensor, drawn: Augmentation) -> torch.Tensor:
        """Cut a patch out, and mirror or rotate it."""
        patch = self.recipe.patch
        if patch is not None:
            if min(image.shape[1:]) < patch:
                image = enlarged(image, patch)
            # An image that replaces a damaged one may be smaller.
            top, left = (
                min(begin, side - patch)
                for begin, side in zip((drawn.top, drawn.left), image.shape[1:], strict=True)
            )
            image = image[:, top : top + patch, left : left + patch]
        if drawn.mirrored:
            image = image.flip(2)
        return image.rot90(drawn.turns, (1, 2)) if drawn.turns else image


def enlarged(image: torch.Tensor, side: int) -> torch.Tensor:
    """Pad a small image and its label map (4, H, W) at the right and the bottom, to `side` px.

    References
    ----------
    .. [1] Chen et al., ICLR 2015: their data layer pads with the mean and the ignored label.
    """
    extra = (0, max(0, side - image.shape[2]), 0, max(0, side - image.shape[1]))
    channels = zip(image, FILLING, strict=True)
    return torch.stack([F.pad(channel, extra, value=value) for channel, value in channels])
