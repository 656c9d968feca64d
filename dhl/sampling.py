"""Training batches as a pure function of (seed, step), so that a resumed run sees the same ones."""

from __future__ import annotations

import numpy as np
import torch

from dhl.config.training import Recipe
from dhl.data.image_set import ImageSet
from dhl.errors import UserError
from dhl.seeding import torch_generator


class BatchSampler:
    """Shuffled epochs of random crops with augmentation, on the device.

    Parameters
    ----------
    images : ImageSet
    recipe : Recipe
        Batch size, patch side and augmentation.
    seed_names : tuple
        Names that the draws are derived from.
    device : torch.device
        Where the images are kept, as uint8, and where batches appear.

    Raises
    ------
    UserError
        If an image is smaller than the patch, or images differ in size and no patch is set.
    """

    def __init__(
        self, images: ImageSet, recipe: Recipe, *, seed_names: tuple, device: torch.device
    ):
        self.images = [torch.from_numpy(np.ascontiguousarray(image)) for image in images.images]
        self.images = [image.permute(2, 0, 1).to(device) for image in self.images]
        self.targets = None
        if images.targets is not None:
            self.targets = torch.from_numpy(images.targets.astype(np.int64)).to(device)
        self.recipe, self.seed_names = recipe, seed_names
        self._check_sizes(images)
        self._epoch: tuple[int, torch.Tensor] | None = None

    def _check_sizes(self, images: ImageSet) -> None:
        """Refuse images that cannot make a batch."""
        patch = self.recipe.patch
        for name, image in zip(images.ids, self.images, strict=True):
            small = patch is not None and min(image.shape[1:]) < patch
            if small or (patch is None and image.shape != self.images[0].shape):
                raise UserError(
                    f"a training image is at least one patch ({patch} px) a side, and without a "
                    "patch all have one size.",
                    came=f"`{name}` has {image.shape[2]} x {image.shape[1]} px",
                    do="remove or enlarge it, or set `patch` in the recipe.",
                )

    def __call__(
        self, step: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return images (N, 3, H, W) in [0, 1] and targets of one step (from 0)."""
        chosen = self._indices(step)
        stacks = [self._stack(index) for index in chosen]
        batch = torch.stack([self._crop(stack, generator) for stack in stacks])
        images = batch[:, :3].float() / 255
        if self.targets is None:
            return images, None
        maps = self.targets.ndim == 3
        return images, batch[:, 3].long() if maps else self.targets[chosen]

    def _stack(self, index: int) -> torch.Tensor:
        """Return an image; its label map, a fourth channel, is cropped and turned with it."""
        if self.targets is None or self.targets.ndim == 1:
            return self.images[index]
        return torch.cat([self.images[index], self.targets[index][None].to(torch.uint8)])

    def _indices(self, step: int) -> list[int]:
        """Return the images of a step: neighbours in the epochs' shuffled orders."""
        first = step * self.recipe.batch
        return [self._at(place) for place in range(first, first + self.recipe.batch)]

    def _at(self, place: int) -> int:
        """Return the image at a place in the endless sequence of epochs."""
        epoch, offset = divmod(place, len(self.images))
        if self._epoch is None or self._epoch[0] != epoch:
            generator = torch_generator(*self.seed_names, "epoch", epoch)
            self._epoch = (epoch, torch.randperm(len(self.images), generator=generator))
        return int(self._epoch[1][offset])

    def _crop(self, image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Cut a patch and turn or mirror it; the three draws are made on the CPU."""
        patch, augment = self.recipe.patch, self.recipe.augment
        if patch is not None:
            top, left = (
                int(torch.randint(side - patch + 1, (), generator=generator))
                for side in image.shape[1:]
            )
            image = image[:, top : top + patch, left : left + patch]
        if augment == "none":
            return image
        if torch.rand((), generator=generator) < 0.5:
            image = image.flip(2)
        if augment == "dihedral":
            image = image.rot90(int(torch.randint(4, (), generator=generator)), (1, 2))
        return image
