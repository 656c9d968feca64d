"""One fit loop for every model: one optimizer step a batch, resumable to the bit."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dhl.config.recipes import Recipe
from dhl.data import processes
from dhl.errors import UserError
from dhl.models import checkpoint
from dhl.models.synced_batch_norm import synchronise
from dhl.progress import Progress
from dhl.seeding import derive_seed, torch_generator
from dhl.training.averaging import mean_over_processes
from dhl.training.device import autocast, device_name, precision_name
from dhl.training.optimizers import build_optimizer, learning_rate, set_learning_rate
from dhl.training.signals import noted_signals

logger = logging.getLogger("dhl")
CURVE_POINTS = 60


class Objective(Protocol):
    """What `fit` minimises; `network` holds the weights that move."""

    network: nn.Module

    def losses(
        self, images: torch.Tensor, targets: torch.Tensor | None, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return scalar losses; `loss` is minimised."""


class Batches(Protocol):
    """Where `fit` takes its images from: a pure function of the step."""

    def __call__(
        self, step: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return images and targets on the device, of this process's share of the batch."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """Where a fit runs and what it is called.

    Attributes
    ----------
    seed_names : tuple
        Names that every draw is derived from.
    device : torch.device
    precision : torch.dtype
        Of the convolutions.
    compiled : bool
        Whether `torch.compile` fuses the step's losses.
    side_file : Path or None
        Where the state is kept while training; removed by the caller.
    fingerprint : str
        Of everything that decides the weights; a side file with another is refused.
    """

    seed_names: tuple
    device: torch.device
    precision: torch.dtype = torch.float32
    compiled: bool = False
    side_file: Path | None = None
    fingerprint: str = ""


class Stopped(UserError):
    """A training that was asked to stop, and kept its state."""

    status = 128 + 15  # as of a program that a SIGTERM ends

    def __init__(self, cause: str, step: int, side_file: Path | None):
        kept = f"its state is in {side_file}" if side_file else "it keeps no state"
        super().__init__(
            "a training that is stopped keeps its state.",
            came=f"{cause} at step {step}; {kept}",
            do="run the same command again: it goes on from there.",
        )


class Step(nn.Module):
    """An objective as a module, so that torch's wrappers can go around it."""

    def __init__(self, objective: Objective):
        super().__init__()
        self.network = objective.network
        self.losses = objective.losses

    def forward(
        self, images: torch.Tensor, targets: torch.Tensor | None, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return the objective's losses."""
        return self.losses(images, targets, generator)


def fit(objective: Objective, batches: Batches, recipe: Recipe, place: Fit) -> pd.DataFrame:
    """Minimise an objective.

    Parameters
    ----------
    objective : Objective
        Its `network` is trained in place.
    batches : callable
        From step and CPU generator to images and targets on the device.
    recipe : Recipe
    place : Fit

    Returns
    -------
    DataFrame
        The training curve, with `results.TRAINING_COLUMNS`; losses are means since the row before,
        before `loss_scale`.

    Raises
    ------
    UserError
        If the loss stops being finite (the last good state is kept), the memory does not suffice,
        or the side file is of another training.
    Stopped
        After a SIGTERM or SIGINT, with the state kept.
    """
    objective.network.to(place.device, memory_format=torch.channels_last).train()
    loop = _Loop(objective, batches, recipe, place)
    forked = [place.device] if place.device.type == "cuda" else []
    with (
        Progress("training", recipe.steps, done=loop.step) as progress,
        noted_signals() as signal_name,
        torch.random.fork_rng(forked),
        _memory_advice(recipe.batch),
    ):
        while loop.step < recipe.steps:
            loop.advance(signal_name)
            progress.advance(note=f"loss {loop.curve[-1]['loss']:.5f}" if loop.curve else "")
            if loop.stopping and loop.step < recipe.steps:
                loop.keep()
                cause = signal_name() or "a signal to another process"
                raise Stopped(f"{cause} came", loop.step, place.side_file)
            if loop.step % recipe.checkpoint_every == 0 and loop.step < recipe.steps:
                loop.keep()
    return pd.DataFrame(loop.curve)


class _Loop:
    """The state of a fit between two steps."""

    def __init__(self, objective: Objective, batches: Batches, recipe: Recipe, place: Fit):
        self.network, self.recipe, self.place = objective.network, recipe, place
        self.batches = batches
        if processes.count() > 1:
            synchronise(self.network)
        self.optimizer = build_optimizer(self.network, recipe.optimizer)
        self.step, self.curve, self.sums = 0, [], {}
        self.hardware = {
            "device": device_name(place.device), "precision": precision_name(place.precision),
        }  # fmt: skip
        self.stopping = False
        self._resume()
        self.losses = Step(objective)
        if place.compiled:
            self.losses.compile()
        if processes.count() > 1:
            # Else it sums in another order after the first step, and so after each resumption.
            self.losses = DistributedDataParallel(self.losses, find_unused_parameters=True)

    def advance(self, signal_name: Callable[[], str]) -> None:
        """Take one optimizer step; every draw is derived from the step's number."""
        recipe, seed_names = self.recipe, self.place.seed_names
        lr = learning_rate(
            self.step, steps=recipe.steps, lr=recipe.optimizer.lr, schedule=recipe.schedule
        )
        set_learning_rate(self.optimizer, lr)
        losses = self._losses(torch_generator(*seed_names, "batch", self.step))
        self.optimizer.zero_grad()
        (losses["loss"] * recipe.loss_scale).backward()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self._count(losses, stop_asked=bool(signal_name()))
        self.step += 1
        every = max(1, recipe.steps // CURVE_POINTS)
        if self.step % every == 0 or self.step == recipe.steps:
            self.curve.append(_curve_row(self.step, lr, self.sums, self.curve) | self.hardware)
            self.sums = {}

    def _losses(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Compute the losses of this process's share of a batch."""
        place = self.place
        images, targets = self.batches(self.step, generator)
        noise = torch_generator(*place.seed_names, "noise", self.step, device=place.device)
        torch.manual_seed(derive_seed(*place.seed_names, "dropout", self.step, processes.rank()))
        with autocast(place.device, place.precision):
            images = images.contiguous(memory_format=torch.channels_last)
            return self.losses(images, targets, noise)

    def _count(self, losses: dict[str, torch.Tensor], *, stop_asked: bool) -> None:
        """Add up the losses; all processes hear of one another's losses and of a wish to stop."""
        self.stopping = stop_asked
        values = torch.stack([value.detach().float() for value in losses.values()])
        if processes.count() > 1:
            flag = values.new_tensor([float(stop_asked)])
            *values, flag = mean_over_processes(torch.cat([values, flag]))
            self.stopping = float(flag) > 0
        for name, value in zip(losses, values, strict=True):
            self.sums[name] = self.sums.get(name, 0) + value

    def keep(self) -> None:
        """Write the side file from which an interrupted training resumes, if all is finite."""
        if self.place.side_file is None or processes.rank() > 0:
            return
        moving = [*self.sums.values(), *self.network.state_dict().values()]
        if not all(bool(value.isfinite().all()) for value in moving):
            return  # the next row of the curve will say so, and the good state before must stay
        content = {
            "fingerprint": self.place.fingerprint, "step": self.step, "curve": self.curve,
            "sums": self.sums, "state": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        checkpoint.save(content, self.place.side_file)

    def _resume(self) -> None:
        """Restore the side file, if there is one."""
        place = self.place
        if place.side_file is None or not place.side_file.exists():
            return
        content = checkpoint.load(place.side_file)
        if content.get("fingerprint") != place.fingerprint:
            raise UserError(
                "training resumes only from a checkpoint of the same configuration, code and data.",
                came=f"{place.side_file} is of another one",
                do="delete it to train from the start.",
            )
        self.network.load_state_dict(content["state"])
        self.optimizer.load_state_dict(content["optimizer"])
        logger.info("resuming from step %d of %s", content["step"], place.side_file)
        self.step, self.curve = content["step"], content["curve"]
        self.sums = {name: value.to(place.device) for name, value in content["sums"].items()}


def _curve_row(step: int, lr: float, sums: dict, curve: list[dict]) -> dict[str, Any]:
    """Average the losses since the last row, and stop where they are not finite."""
    count = step - (curve[-1]["step"] if curve else 0)
    row = {"step": step, "lr": lr, **{name: float(sums[name]) / count for name in sums}}
    if not math.isfinite(row["loss"]):
        raise UserError(
            "the training loss is a finite number.",
            came=f"{row['loss']} within the {count} steps before step {step}",
            do="lower the learning rate or the task weight, or set `clip_norm`; checkpoints from "
            "before are kept.",
        )
    return row


@contextmanager
def _memory_advice(batch: int) -> Iterator[None]:
    """Turn a lack of memory into a message with the batch to try."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError on a GPU is one; the CPU's is plain
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise UserError(
            "a batch with all that its gradients need fits into the device's memory.",
            came=f"batch {batch}: {str(error).splitlines()[0]}",
            do=f"try `batch: {max(1, batch // 2)}` in the recipe, more `processes`, or a smaller "
            "`patch`; checkpoints are kept.",
        ) from None
