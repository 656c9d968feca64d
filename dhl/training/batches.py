"""Training batches as a pure function of (seed, step), so that a resumed run sees the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from dhl.config.class_names import IGNORED_LABEL
from dhl.config.recipes import Recipe
from dhl.data import processes
from dhl.data.image_files import ImageFiles
from dhl.data.image_set import ImageSet
from dhl.errors import UserError
from dhl.seeding import torch_generator
from dhl.training.reader import FileReader

# What a small image is enlarged with, label map included: ImageNet's mean colour, as Caffe's zero
# after the mean is subtracted, and the label that no loss counts.
FILLING = (123, 117, 104, IGNORED_LABEL)


class EpochOrder:
    """The order of images: shuffled epochs, one after the other without end.

    Parameters
    ----------
    count, batch : int
        Images in all, and in a batch.
    seed_names : tuple
        Names that the shuffles are derived from.
    """

    def __init__(self, count: int, batch: int, seed_names: tuple):
        self.count, self.batch, self.seed_names = count, batch, seed_names
        self._epoch: tuple[int, torch.Tensor] | None = None

    def __call__(self, step: int) -> list[int]:
        """Return the images of a step: neighbours in the epochs' shuffled orders."""
        first = step * self.batch
        return [self._at(place) for place in range(first, first + self.batch)]

    def _at(self, place: int) -> int:
        """Return the image at a place in the sequence."""
        epoch, offset = divmod(place, self.count)
        if self._epoch is None or self._epoch[0] != epoch:
            generator = torch_generator(*self.seed_names, "epoch", epoch)
            self._epoch = (epoch, torch.randperm(self.count, generator=generator))
        return int(self._epoch[1][offset])


class Draw(NamedTuple):
    """What becomes of one image: where its patch begins, and how the patch is turned."""

    top: int = 0
    left: int = 0
    mirrored: bool = False
    turns: int = 0


class InMemory:
    """Images on the device as uint8 (3, H, W), a label map as their fourth channel."""

    def __init__(self, images: ImageSet, order: EpochOrder, device: torch.device):
        self.order = order
        self.images = [torch.from_numpy(np.ascontiguousarray(image)) for image in images.images]
        self.images = [image.permute(2, 0, 1).to(device) for image in self.images]
        self.maps, self.classes = None, None
        if images.targets is not None:
            targets = torch.from_numpy(images.targets.astype(np.int64)).to(device)
            if images.has_label_maps:
                self.maps = targets.to(torch.uint8)
            else:
                self.classes = targets

    def __call__(self, step: int) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Return this process's images of a step, and their classes if they have some."""
        chosen = self.order(step)[processes.own_share(self.order.batch)]
        stacks = [self._stack(index) for index in chosen]
        return stacks, None if self.classes is None else self.classes[chosen]

    def _stack(self, index: int) -> torch.Tensor:
        """Return an image with its label map, if it has one."""
        if self.maps is None:
            return self.images[index]
        return torch.cat([self.images[index], self.maps[index][None]])


class BatchSampler:
    """Shuffled epochs of random crops with augmentation, on the device.

    Parameters
    ----------
    images : ImageSet
        Kept on the device if they are in memory, else decoded by workers ahead of time.
    recipe : Recipe
        Batch size, patch side and augmentation.
    seed_names : tuple
        Names that the draws are derived from.
    device : torch.device
        Where batches appear, and are cropped and turned.
    workers : int
        Processes that decode images; 0 decodes in this one.

    Raises
    ------
    UserError
        If an image without a label map is smaller than the patch; or no patch is set, and images
        differ in size, or are oblong and to be turned.
    """

    def __init__(
        self, images: ImageSet, recipe: Recipe, *, seed_names: tuple, device: torch.device,
        workers: int = 0,
    ):  # fmt: skip
        self.recipe, self.device, self.sizes = recipe, device, images.sizes
        self.has_label_maps = images.has_label_maps
        _check_sizes(images, recipe)
        self.order = EpochOrder(len(images), recipe.batch, seed_names)
        self.source = (
            FileReader(images, self.order, device, steps=recipe.steps, workers=workers)
            if isinstance(images.images, ImageFiles)
            else InMemory(images, self.order, device)
        )

    def __call__(
        self, step: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return images (N, 3, H, W) in [0, 1] and targets of one step (from 0).

        N is this process's share of the batch; the draws are made for all of it, so that they do
        not depend on the number of processes.
        """
        draws = [self._draw(self.sizes[index], generator) for index in self.order(step)]
        draws = draws[processes.own_share(len(draws))]
        stacks, classes = self.source(step)
        batch = torch.stack(
            [self._crop(stack, draw) for stack, draw in zip(stacks, draws, strict=True)]
        )
        images = batch[:, :3].float() / 255
        return images, batch[:, 3].long() if self.has_label_maps else classes

    def _draw(self, size: Sequence[int], generator: torch.Generator) -> Draw:
        """Draw on the CPU what becomes of an image of this height and width."""
        patch, augment = self.recipe.patch, self.recipe.augment
        top, left = (
            int(torch.randint(max(side, patch) - patch + 1, (), generator=generator))
            if patch
            else 0
            for side in size
        )
        if augment == "none":
            return Draw(top, left)
        mirrored = bool(torch.rand((), generator=generator) < 0.5)
        if augment == "mirror":
            return Draw(top, left, mirrored)
        return Draw(top, left, mirrored, int(torch.randint(4, (), generator=generator)))

    def _crop(self, image: torch.Tensor, draw: Draw) -> torch.Tensor:
        """Cut a patch and turn or mirror it."""
        patch = self.recipe.patch
        if patch is not None:
            if min(image.shape[1:]) < patch:
                image = enlarged(image, patch)
            # An image that takes a damaged one's place may be smaller than it.
            top, left = (
                min(begin, side - patch)
                for begin, side in zip((draw.top, draw.left), image.shape[1:], strict=True)
            )
            image = image[:, top : top + patch, left : left + patch]
        if draw.mirrored:
            image = image.flip(2)
        return image.rot90(draw.turns, (1, 2)) if draw.turns else image


def enlarged(image: torch.Tensor, side: int) -> torch.Tensor:
    """Fill a small image with its label map (4, H, W) up to a side, at the right and below.

    References
    ----------
    .. [1] Chen et al., ICLR 2015: their data layer fills with the mean and the ignored label.
    """
    extra = (0, max(0, side - image.shape[2]), 0, max(0, side - image.shape[1]))
    channels = zip(image, FILLING, strict=True)
    return torch.stack([F.pad(channel, extra, value=value) for channel, value in channels])


def _check_sizes(images: ImageSet, recipe: Recipe) -> None:
    """Refuse images that cannot make a batch."""
    sizes, patch = np.asarray(images.sizes), recipe.patch
    if patch is None:
        rule = "without a patch all training images have one size"
        wrong = (sizes != sizes[0]).any(1)
        if recipe.augment == "dihedral":
            rule += ", and those that are turned are square"
            wrong |= sizes[:, 0] != sizes[:, 1]
    elif images.has_label_maps:
        return
    else:
        rule = f"a training image is at least one patch ({patch} px) a side"
        wrong = sizes.min(1) < patch
    if wrong.any():
        first = int(wrong.argmax())
        raise UserError(
            f"{rule}.",
            came=f"`{images.ids[first]}` has {sizes[first][1]} x {sizes[first][0]} px",
            do="remove or enlarge it, or lower `patch`." if patch
            else "set `patch` in the recipe; `augment: mirror` turns nothing.",
        )  # fmt: skip
