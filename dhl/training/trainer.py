"""The training loop: one optimizer step per batch, resumable bit for bit."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from dhl.config.recipes import Recipe
from dhl.errors import UserError
from dhl.models import checkpoint
from dhl.progress import Progress
from dhl.seeding import derive_seed, torch_generator
from dhl.signals import noted_signals
from dhl.training.device import (
    autocast,
    device_name,
    is_out_of_memory,
    precision_name,
    to_device,
)
from dhl.training.optimizers import build_optimizer, learning_rate, set_learning_rate

logger = logging.getLogger("dhl")
CURVE_POINTS = 60
# In errors of sizes that do not fit, and of BatchNorm with a single value.
_OF_SIZES = re.compile(r"\b(sizes?|shapes?|dimensions?|too small|values? per channel)\b", re.I)


class Objective(Protocol):
    """The loss that a trainer minimises, as in `dhl.training.objectives`."""

    network: nn.Module

    def losses(
        self, images: torch.Tensor, targets: torch.Tensor | None, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return scalar losses: `loss` is minimised, all go into the training curve."""


# Maps a step and a CPU generator to images and targets on the device.
Batches = Callable[[int, torch.Generator], tuple[torch.Tensor, torch.Tensor | None]]


@dataclasses.dataclass(frozen=True)
class TrainerSettings:
    """Seeds, device and checkpoint of a training.

    Attributes
    ----------
    seed_names : tuple
        Every random draw is derived from these names.
    device : torch.device
    precision : torch.dtype
        Number format of the convolutions.
    compiled : bool
        Whether `torch.compile` fuses the computation of the losses.
    checkpoint_path : Path or None
        File of the checkpoint, which the caller deletes at the end; None saves no checkpoint.
    fingerprint : str
        Digest of everything that determines the weights. A checkpoint with another one is not used.
    """

    seed_names: tuple
    device: torch.device
    precision: torch.dtype = torch.float32
    compiled: bool = False
    checkpoint_path: Path | None = None
    fingerprint: str = ""


class Stopped(UserError):
    """A signal stopped the training after it saved its checkpoint, if the settings name one."""

    status = 128 + 15  # the exit status of a program that SIGTERM ends

    def __init__(self, signal_name: str, step: int, path: Path | None):
        saved = f"its checkpoint is {path}" if path else "it saves no checkpoint"
        super().__init__(
            f"{signal_name} stopped the training.",
            came=f"{signal_name} at step {step}; {saved}",
            do="run the same command again: it resumes at this step.",
        )


class Trainer:
    """Minimises an objective on batches; trains the objective's network in place.

    A checkpoint of the same training is resumed. One that is damaged or of another training is put
    aside, and the training starts again.

    Parameters
    ----------
    objective : Objective
    batches : callable
        A pure function of the step and its generator.
    recipe : Recipe
    settings : TrainerSettings
    """

    def __init__(
        self, objective: Objective, batches: Batches, recipe: Recipe, settings: TrainerSettings
    ):
        self.batches, self.recipe, self.settings = batches, recipe, settings
        self.network = to_device(objective.network, settings.device).train()
        if recipe.batch_norm_statistics == "fixed":
            fix_statistics(self.network)
        self.optimizer = build_optimizer(self.network, recipe.optimizer)
        self.losses = torch.compile(objective.losses) if settings.compiled else objective.losses
        self.steps_done = 0
        self.curve: list[dict] = []
        self.loss_sums: dict[str, torch.Tensor] = {}  # since the last row of the curve
        self.resume()

    def fit(self) -> list[dict[str, Any]]:
        """Train to the recipe's last step.

        Returns
        -------
        list of dict
            The rows of the training curve, with keys of `results.TRAINING_COLUMNS`: means over the
            steps since the previous row, without `loss_scale`.

        Raises
        ------
        UserError
            If the loss is no longer finite (the last good checkpoint is kept), or the device has
            too little memory.
        Stopped
            After a SIGTERM or SIGINT, once the checkpoint is saved.
        """
        steps, device = self.recipe.steps, self.settings.device
        with (
            Progress("training", steps, done=self.steps_done) as progress,
            noted_signals() as signal_name,
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            explained_step(self.recipe, first_step=lambda: self.steps_done == 0),
        ):
            while self.steps_done < steps:
                self.step()
                progress.advance(note=f"loss {self.curve[-1]['loss']:.5f}" if self.curve else "")
                if self.steps_done == steps:
                    break
                if signal_name():
                    self.save_checkpoint()
                    path = self.settings.checkpoint_path
                    raise Stopped(signal_name(), self.steps_done, path)
                if self.steps_done % self.recipe.checkpoint_every == 0:
                    self.save_checkpoint()
        return self.curve

    def step(self) -> None:
        """Take one optimizer step; its number determines every random draw."""
        recipe, settings, step = self.recipe, self.settings, self.steps_done
        lr = learning_rate(
            step, steps=recipe.steps, lr=recipe.optimizer.lr, schedule=recipe.schedule
        )
        set_learning_rate(self.optimizer, lr)
        images, targets = self.batches(step, torch_generator(*settings.seed_names, "batch", step))
        images = images.contiguous(memory_format=torch.channels_last)
        noise = torch_generator(*settings.seed_names, "noise", step, device=settings.device)
        torch.manual_seed(derive_seed(*settings.seed_names, "dropout", step, 0))
        with autocast(settings.device, settings.precision):
            losses = self.losses(images, targets, noise)
        self.optimizer.zero_grad()
        (losses["loss"] * recipe.loss_scale).backward()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self.steps_done += 1
        self._record(losses, lr)

    def _record(self, losses: dict[str, torch.Tensor], lr: float) -> None:
        """Add up the losses; at regular intervals, add a row with their means to the curve."""
        for name, value in losses.items():
            self.loss_sums[name] = self.loss_sums.get(name, 0) + value.detach().float()
        every = max(1, self.recipe.steps // CURVE_POINTS)
        if self.steps_done % every and self.steps_done < self.recipe.steps:
            return
        count = self.steps_done - (self.curve[-1]["step"] if self.curve else 0)
        means = {name: float(total) / count for name, total in self.loss_sums.items()}
        if not math.isfinite(means["loss"]):
            raise UserError(
                "The training loss is not finite.",
                came=f"{means['loss']} within the {count} steps before step {self.steps_done}",
                do="lower the learning rate or the task weight, or set `clip_norm`. The last "
                "checkpoint with finite weights is kept.",
            )
        self.curve.append({
            "step": self.steps_done, "lr": lr, **means,
            "device": device_name(self.settings.device),
            "precision": precision_name(self.settings.precision),
        })  # fmt: skip
        self.loss_sums = {}

    def save_checkpoint(self) -> None:
        """Save the training's state, if the settings name a file and all numbers are finite."""
        settings = self.settings
        if settings.checkpoint_path is None:
            return
        state = self.network.state_dict()
        if checkpoint.not_finite(self.loss_sums) or checkpoint.not_finite(state, self.network):
            return  # keep the last good checkpoint; the next row of the curve raises the error
        content = {
            "fingerprint": settings.fingerprint, "step": self.steps_done, "curve": self.curve,
            "sums": self.loss_sums, "state": state,
            "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        checkpoint.save(content, settings.checkpoint_path, network=self.network)

    def resume(self) -> None:
        """Continue from the checkpoint, if it exists; put aside one that cannot be used."""
        path = self.settings.checkpoint_path
        if path is None or not path.exists():
            return
        initial = copy.deepcopy(self.network.state_dict())
        try:
            self._restore(checkpoint.load(path))
        except torch.OutOfMemoryError:
            raise
        except (UserError, *checkpoint.DAMAGED, TypeError) as error:
            reason = error.came if isinstance(error, UserError) else f"{path}: {error}"
            aside = path.with_name(f"{path.name}.damaged")
            os.replace(path, aside)
            logger.warning(
                "the checkpoint is put aside as %s, and the training starts again: %s",
                aside.name, reason,
            )  # fmt: skip
            self.network.load_state_dict(initial)
            self.optimizer = build_optimizer(self.network, self.recipe.optimizer)
            return
        logger.info("resuming from step %d of %s", self.steps_done, path)

    def _restore(self, content: dict[str, Any]) -> None:
        """Take over the state in a checkpoint; an error means that it cannot be used."""
        step, curve, steps = content["step"], content["curve"], self.recipe.steps
        if content["fingerprint"] != self.settings.fingerprint:
            raise ValueError("it belongs to another training")
        if not 0 < step < steps or not all(0 < row["step"] <= step for row in curve):
            raise ValueError(f"step {step} of {steps}, or its curve, cannot be")
        sums, state = content["sums"], content["state"]
        if checkpoint.not_finite(sums) or checkpoint.not_finite(state, self.network):
            raise ValueError("numbers that are not finite")
        self.network.load_state_dict(state)
        self.optimizer.load_state_dict(content["optimizer"])
        device = self.settings.device
        self.loss_sums = {name: value.to(device) for name, value in sums.items()}
        self.steps_done, self.curve = step, curve


def fix_statistics(network: nn.Module) -> None:
    """Let each BatchNorm use its running mean and variance, and not change them.

    Its factors and biases are still trained.
    """
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


@contextmanager
def explained_step(recipe: Recipe, *, first_step: Callable[[], bool]) -> Iterator[None]:
    """Turn an out-of-memory error, and any of PyTorch in the first step, into a message."""
    try:
        yield
    except UserError:  # some are also a ValueError
        raise
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise UserError(
                f"A training step with `batch: {recipe.batch}` does not fit into the device's "
                "memory.",
                came=f"batch {recipe.batch}: {reason}",
                do=f"try `batch: {max(1, recipe.batch // 2)}` in the recipe, or a smaller `patch`; "
                "checkpoints are kept.",
            ) from None
        if not first_step():
            raise
        patch = f"patch {recipe.patch}" if recipe.patch else "complete images"
        raise UserError(
            "The first training step failed.",
            came=f"batch {recipe.batch}, {patch}: {reason}",
            do=_advice(reason),
        ) from error


def _advice(reason: str) -> str:
    """Say what to do about an error of PyTorch in the first step."""
    if "view size" in reason:
        return "write `flatten` or `reshape` in place of `view`: images are channels_last."
    if _OF_SIZES.search(reason):
        return (
            "use larger images, `patch` or `batch`: a network with pooling needs images of some "
            "size, and BatchNorm needs more than one value."
        )
    return (
        "correct the network, the noise model or the recipe; the traceback before this message "
        "shows the line."
    )
