"""Training images from files: workers decode the images of the next steps ahead of time."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dhl.data.image_files import DamagedImage, ImageFiles, LabelFiles
from dhl.signals import SIGNALS

logger = logging.getLogger("dhl")


def stacked(image: np.ndarray, labels: np.ndarray | None) -> torch.Tensor:
    """Return an image (H, W, 3) as uint8 (3, H, W); its label map becomes the fourth channel."""
    if labels is not None:
        image = np.dstack([image, labels.astype(np.uint8)])
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


class Read(NamedTuple):
    """The images of one step, before they are cropped."""

    stacks: list[torch.Tensor]
    indices: list[int]
    damaged: list[DamagedImage]


class Steps(Dataset):
    """A data set with an item for each step: all images of this step.

    Parameters
    ----------
    images : ImageFiles
    targets : LabelFiles, ndarray or None
        Only label maps are read here.
    order : callable
        Maps a step to the indices of its images.
    """

    def __init__(
        self,
        images: ImageFiles,
        targets: LabelFiles | np.ndarray | None,
        order: Callable[[int], list[int]],
    ):
        self.images, self.order = images, order
        self.maps = targets if isinstance(targets, LabelFiles) else None

    def __getitem__(self, step: int) -> Read:
        """Read the images of a step; the next good image replaces a damaged one."""
        result = Read([], [], [])
        for first in self.order(step):
            for index in range(first, first + len(self.images)):
                stack = self._stack(index % len(self.images))
                if not isinstance(stack, DamagedImage):
                    break
                result.damaged.append(stack)
                if self.images.damaged == "stop":
                    return result
            else:
                raise result.damaged[-1].error()  # all are damaged
            result.stacks.append(stack)
            result.indices.append(index % len(self.images))
        return result

    def _stack(self, index: int) -> torch.Tensor | DamagedImage:
        """Read an image with its label map, if any."""
        image = self.images.read(index)
        labels = self.maps.read(index) if self.maps else None
        if isinstance(image, DamagedImage):
            return image
        return labels if isinstance(labels, DamagedImage) else stacked(image, labels)


class FileReader:
    """Reads the steps of a training in order, ahead of time, and copies them to the device.

    Parameters
    ----------
    steps : Steps
    device : torch.device
    count : int
        Number of steps of the training.
    workers : int
        Number of processes that decode images; 0 decodes in this process.
    """

    def __init__(self, steps: Steps, device: torch.device, *, count: int, workers: int):
        self.steps, self.device, self.count, self.workers = steps, device, count, workers
        self.next_step = -1
        self.reads: Iterator[Read] = iter(())
        self.named: set[str] = set()

    def __call__(self, step: int) -> tuple[list[torch.Tensor], list[int]]:
        """Return the images of a step (uint8, on the device) and their indices.

        Raises
        ------
        UserError
            If an image is damaged, and `damaged` is `stop`.
        """
        if step != self.next_step:
            self.reads = iter(
                DataLoader(
                    self.steps,
                    sampler=range(step, self.count),
                    batch_size=None,
                    num_workers=self.workers,
                    worker_init_fn=_ignore_signals,
                    pin_memory=self.device.type == "cuda",
                )
            )
        self.next_step = step + 1
        try:
            read = next(self.reads)
            self._report(read.damaged)
        except BaseException:
            # Ends the workers: they ignore the signal by which Python would end them at its exit.
            self.reads = iter(())
            raise
        return [stack.to(self.device, non_blocking=True) for stack in read.stacks], read.indices

    def _report(self, damaged: list[DamagedImage]) -> None:
        """Raise an error for a damaged image, or log its name once."""
        for image in damaged:
            if self.steps.images.damaged == "stop":
                raise image.error()
            if str(image.path) not in self.named:
                self.named.add(str(image.path))
                logger.warning(
                    "%s is damaged (%s): another image replaces it", image.path, image.reason
                )


def _ignore_signals(worker: int) -> None:
    """Ignore signals in a worker: the training completes its step and then ends its workers."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
