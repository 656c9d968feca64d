"""One fit loop for every model: one optimizer step a batch, resumable to the bit."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import nn

from dhl import checkpoint
from dhl.config import Config
from dhl.config.training import Optimizer, Recipe, Schedule
from dhl.data.image_set import load_split
from dhl.device import autocast, prepare_device, resolve_precision
from dhl.errors import UserError
from dhl.lineage import ModelSpec, fingerprint, model_spec
from dhl.models import build_network
from dhl.objectives import OBJECTIVES
from dhl.progress import Progress
from dhl.provenance import file_digest
from dhl.results import TRAINING_COLUMNS, RunFolder, write_csv
from dhl.sampling import BatchSampler
from dhl.seeding import derive_seed, torch_generator

logger = logging.getLogger("dhl")
CURVE_POINTS = 60


class Objective(Protocol):
    """What `fit` minimises; `network` holds the weights that move."""

    network: nn.Module

    def losses(
        self, images: torch.Tensor, targets: torch.Tensor | None, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return scalar losses; `loss` is minimised."""


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
    side_file : Path or None
        Where the state is kept while training; removed by the caller.
    fingerprint : str
        Of everything that decides the weights; a side file with another is refused.
    """

    seed_names: tuple
    device: torch.device
    precision: torch.dtype = torch.float32
    side_file: Path | None = None
    fingerprint: str = ""


def learning_rate(step: int, *, steps: int, lr: float, schedule: Schedule) -> float:
    """Return the learning rate of a step (from 0): a pure function, with no state to save."""
    if schedule.name == "constant":
        return lr
    if schedule.name == "step":
        return lr * schedule.gamma ** (step // schedule.every)
    warmup = schedule.warmup * steps if schedule.name == "one-cycle" else 0
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def build_optimizer(network: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """Build SGD with momentum, or AdamW."""
    weights = list(network.parameters())
    common = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": True}
    if settings.name == "sgd":
        return torch.optim.SGD(weights, momentum=settings.momentum, **common)
    return torch.optim.AdamW(weights, **common)


def fit(
    objective: Objective,
    batches: Callable[[int, torch.Generator], tuple[torch.Tensor, torch.Tensor | None]],
    recipe: Recipe,
    place: Fit,
) -> pd.DataFrame:
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
        The training curve, with `results.TRAINING_COLUMNS`; losses are means since the row before.

    Raises
    ------
    UserError
        If the loss stops being finite (the last good state is kept), or the side file is of another
        training.
    """
    network = objective.network.to(place.device, memory_format=torch.channels_last).train()
    optimizer = build_optimizer(network, recipe.optimizer)
    begin, curve, sums = _resume(network, optimizer, place)
    every = max(1, recipe.steps // CURVE_POINTS)
    with Progress("training", recipe.steps, done=begin) as progress:
        for step in range(begin, recipe.steps):
            lr = learning_rate(
                step, steps=recipe.steps, lr=recipe.optimizer.lr, schedule=recipe.schedule
            )
            for group in optimizer.param_groups:
                group["lr"] = lr
            losses = _train_step(objective, batches, optimizer, (step, recipe.clip_norm), place)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach()
            if (step + 1) % every == 0 or step + 1 == recipe.steps:
                curve.append(_curve_row(step + 1, lr, sums, curve))
                sums = {}
            progress.advance(note=f"loss {curve[-1]['loss']:.5f}" if curve else "")
            if (step + 1) % recipe.checkpoint_every == 0 and step + 1 < recipe.steps:
                _keep(network, optimizer, (step + 1, curve, sums), place)
    return pd.DataFrame(curve)


def _train_step(
    objective: Objective,
    batches: Callable,
    optimizer: torch.optim.Optimizer,
    step_and_clip: tuple[int, float | None],
    place: Fit,
) -> dict[str, torch.Tensor]:
    """Take one optimizer step; every draw is derived from the step's number."""
    step, clip_norm = step_and_clip
    images, targets = batches(step, torch_generator(*place.seed_names, "batch", step))
    generator = torch_generator(*place.seed_names, "noise", step, device=place.device)
    with autocast(place.device, place.precision):
        images = images.contiguous(memory_format=torch.channels_last)
        losses = objective.losses(images, targets, generator)
    optimizer.zero_grad()
    losses["loss"].backward()
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(objective.network.parameters(), clip_norm)
    optimizer.step()
    return losses


def _curve_row(step: int, lr: float, sums: dict, curve: list[dict]) -> dict[str, float]:
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


def _keep(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: tuple[int, list[dict], dict],
    place: Fit,
) -> None:
    """Write the side file from which an interrupted training resumes, if all in it is finite."""
    if place.side_file is None:
        return
    step, curve, sums = progress
    moving = [*sums.values(), *network.state_dict().values()]
    if not all(bool(value.isfinite().all()) for value in moving):
        return  # the next row of the curve will say so, and the good state before must stay
    content = {
        "fingerprint": place.fingerprint, "step": step, "curve": curve, "sums": sums,
        "state": network.state_dict(), "optimizer": optimizer.state_dict(),
    }  # fmt: skip
    checkpoint.save(content, place.side_file)


def _resume(
    network: nn.Module, optimizer: torch.optim.Optimizer, place: Fit
) -> tuple[int, list[dict], dict[str, torch.Tensor]]:
    """Restore the side file, if there is one; returns step, curve and sums since its last row."""
    if place.side_file is None or not place.side_file.exists():
        return 0, [], {}
    content = checkpoint.load(place.side_file)
    if content.get("fingerprint") != place.fingerprint:
        raise UserError(
            "training resumes only from a checkpoint of the same configuration, code and data.",
            came=f"{place.side_file} is of another one",
            do="delete it to train from the start.",
        )
    network.load_state_dict(content["state"])
    optimizer.load_state_dict(content["optimizer"])
    logger.info("resuming from step %d of %s", content["step"], place.side_file)
    sums = {name: value.to(place.device) for name, value in content["sums"].items()}
    return content["step"], content["curve"], sums


def train_model(config: Config, key: str, folder: RunFolder) -> None:
    """Train one model of a run and write its weights and curve; resumes where it was interrupted.

    Parameters
    ----------
    config : Config
    key : str
        As in `dhl.lineage`.
    folder : RunFolder
        Must hold the data and the parents.
    """
    spec = model_spec(config, key)
    device = prepare_device(config)
    digest = _content_fingerprint(config, spec, folder)
    place = Fit(
        seed_names=(config.base_seed, "training", spec.seed_name),
        device=device,
        precision=resolve_precision(config, device),
        side_file=folder.checkpoint(key, digest),
        fingerprint=digest,
    )
    logger.info("training %s on %s in %s", key, device, place.precision)
    network = _first_network(config, spec, folder)
    frozen = None
    if spec.frozen:
        frozen = checkpoint.load_model(folder.model(spec.frozen))[0]
        frozen = frozen.to(device, memory_format=torch.channels_last)
    objective = build_objective(network, spec, task_network=frozen)
    images = load_split(folder.data(spec.part), "train")
    sampler = BatchSampler(images, spec.recipe, seed_names=place.seed_names, device=device)
    curve = fit(objective, sampler, spec.recipe, place)
    write_csv(curve, folder.training(key), TRAINING_COLUMNS)
    content = {
        "key": key, "role": spec.role, "network": spec.build_options, "sigma": spec.sigma,
        "steps": spec.recipe.steps, "fingerprint": fingerprint(config, key),
        "state": objective.network.cpu().state_dict(),
    }  # fmt: skip
    checkpoint.save(content, folder.model(key))
    place.side_file.unlink(missing_ok=True)


def _first_network(config: Config, spec: ModelSpec, folder: RunFolder) -> nn.Module:
    """Return the network that a training starts from: its parent's weights, or fresh ones."""
    if spec.start:
        return checkpoint.load_model(folder.model(spec.start))[0]
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.base_seed, "weights", spec.seed_name))
        return build_network(spec.role, **spec.build_options)


def _content_fingerprint(config: Config, spec: ModelSpec, folder: RunFolder) -> str:
    """Digest the recipe with the bytes of data and parents, as a resumed training needs it."""
    files = [folder.data(spec.part), *(folder.model(key) for key in spec.parents)]
    digests = [file_digest(path) for path in files]
    return f"{derive_seed(fingerprint(config, spec.key), *digests):016x}"


def build_objective(
    network: nn.Module, spec: ModelSpec, *, task_network: nn.Module | None = None
) -> Objective:
    """Build what trains a network as its spec says; a joint objective needs its task network."""
    options: dict[str, Any] = {"sigma": spec.sigma}
    if spec.objective == "denoise":
        # The matched control pads, as the joint training that it is compared with does.
        options["crops"] = spec.recipe.patch is not None and spec.part == "denoising"
    if spec.objective == "joint":
        options["task_weight"] = spec.recipe.task_weight
        options["task_network"] = task_network
    return importlib.import_module(OBJECTIVES[spec.objective]).Objective(network, **options)
