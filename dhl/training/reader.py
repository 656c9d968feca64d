"""Training images from files: workers decode the next steps while the device computes."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dhl.data.image_files import DamagedImage, LabelFiles
from dhl.data.image_set import ImageSet
from dhl.training.signals import SIGNALS

logger = logging.getLogger("dhl")


class Read(NamedTuple):
    """The images of one step, before they are cropped."""

    stacks: list[torch.Tensor]
    indices: list[int]
    damaged: list[DamagedImage]


class Steps(Dataset):
    """A data set whose items are whole steps: item `step` has all images of this step.

    Parameters
    ----------
    images : ImageSet
        With `ImageFiles`.
    order : callable
        From a step to the indices of its images.
    """

    def __init__(self, images: ImageSet, order: Callable[[int], list[int]]):
        self.images, self.order = images, order

    def __getitem__(self, step: int) -> Read:
        """Read the images of a step; the next good image replaces a damaged one."""
        result = Read([], [], [])
        for index in self.order(step):
            stack = self._stack(index)
            while isinstance(stack, DamagedImage):
                result.damaged.append(stack)
                if self.images.images.damaged == "stop":
                    return result
                index = (index + 1) % len(self.images)
                stack = self._stack(index)
            result.stacks.append(stack)
            result.indices.append(index)
        return result

    def _stack(self, index: int) -> torch.Tensor | DamagedImage:
        """Read an image as uint8 (3, H, W); its label map becomes the fourth channel."""
        image = self.images.images.read(index)
        if isinstance(image, DamagedImage):
            return image
        if isinstance(self.images.targets, LabelFiles):
            labels = self.images.targets.read(index)
            if isinstance(labels, DamagedImage):
                return labels
            image = np.dstack([image, labels])
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


class FileReader:
    """Reads the steps of a training in order, ahead of time, and copies them to the device.

    Parameters
    ----------
    images, order
        As in `Steps`.
    device : torch.device
    steps : int
        Number of steps of the whole training.
    workers : int
        Number of processes that decode images; 0 decodes in this process.
    """

    def __init__(
        self, images: ImageSet, order: Callable[[int], list[int]], device: torch.device, *,
        steps: int, workers: int,
    ):  # fmt: skip
        self.dataset = Steps(images, order)
        self.device, self.steps, self.workers = device, steps, workers
        self.classes = None
        if not images.has_label_maps and images.targets is not None:
            self.classes = torch.from_numpy(images.targets.astype(np.int64))
        self.next_step, self.reads = -1, iter(())
        self.named: set[str] = set()

    def __call__(self, step: int) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Return the images of a step (uint8, on the device), and their classes, if any.

        Raises
        ------
        UserError
            If an image is damaged and the configuration says to stop.
        """
        if step != self.next_step:
            self.reads = self._begin(step)
        self.next_step = step + 1
        read = next(self.reads)
        self._report(read.damaged)
        stacks = [stack.to(self.device, non_blocking=True) for stack in read.stacks]
        if self.classes is None:
            return stacks, None
        return stacks, self.classes[read.indices].to(self.device, non_blocking=True)

    def _begin(self, step: int) -> Iterator[Read]:
        """Start the workers at this step."""
        loader = DataLoader(
            self.dataset,
            sampler=range(step, self.steps),
            batch_size=None,
            num_workers=self.workers,
            collate_fn=_unchanged,
            worker_init_fn=_ignore_signals,
            pin_memory=self.device.type == "cuda",
        )
        return iter(loader)

    def _report(self, damaged: list[DamagedImage]) -> None:
        """Raise an error for a damaged image, or log its name once."""
        for image in damaged:
            if self.dataset.images.images.damaged == "stop":
                raise image.error()
            if str(image.path) not in self.named:
                self.named.add(str(image.path))
                logger.warning(
                    "%s is damaged (%s): another image replaces it", image.path, image.reason
                )


def _unchanged(read: Read) -> Read:
    """Do not stack the images of a step: they can differ in size."""
    return read


def _ignore_signals(worker: int) -> None:
    """Ignore signals in a worker: the training finishes its step and then ends its workers."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
