"""Train the models of a run: from the configuration to a model file and a training curve."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dhl.config.architectures import PUBLISHED, entry_of
from dhl.config.catalogue import CATALOGUE
from dhl.config.plugins import is_reference
from dhl.config.recipes import JointRecipe, Recipe
from dhl.config.schema import Config
from dhl.data.image_set import load_split
from dhl.data.locations import data_root, downloaded
from dhl.errors import UserError
from dhl.locks import locked
from dhl.models import checkpoint
from dhl.models.build import build_network, try_sizes
from dhl.models.padded_denoiser import border_of
from dhl.models.pretrained import load_pretrained
from dhl.models.published_dncnn import load_released_dncnn
from dhl.models.receptive_field import network_size
from dhl.run.downloads import downloaded_weights
from dhl.run.fingerprints import fingerprint, settings_digest
from dhl.run.folder import RunFolder
from dhl.run.model_graph import ModelSpec, model_spec
from dhl.run.results import TRAINING_COLUMNS, file_digest, record_digest, write_rows
from dhl.seeding import derive_seed
from dhl.sigma import format_sigma
from dhl.training.batches import BatchSampler
from dhl.training.device import (
    find_device,
    precision_name,
    reserved_device,
    resolve_precision,
    to_device,
    uses_cuda,
)
from dhl.training.objectives import (
    DenoisingObjective,
    JointObjective,
    PermutedObjective,
    TaskObjective,
)
from dhl.training.perceptual_objective import PerceptualObjective
from dhl.training.shared_models import is_complete, kept_model, shared_model
from dhl.training.trainer import Objective, Trainer, TrainerSettings

logger = logging.getLogger("dhl")
GUIDED = {"joint": JointObjective, "permuted": PermutedObjective, "perceptual": PerceptualObjective}


def train_model(config: Config, key: str, folder: RunFolder) -> None:
    """Train one model of a run and write its weights and training curve.

    An interrupted training is resumed. If two processes ask for the same model at the same time,
    one trains it and the other one uses the result.

    Parameters
    ----------
    config : Config
    key : str
        The model's key, as in `dhl.run.model_graph`.
    folder : RunFolder
        Must contain the data and the parent models.

    Raises
    ------
    UserError
        If the training cannot continue.
    """
    spec = model_spec(config, key)
    if spec.recipe is None:
        logger.info("taking %s with its published weights", key)
        network = _initial_network(config, spec, folder)
        _write_model(config, spec, folder, network=network, curve=[])
        return
    digest = _content_fingerprint(config, spec, folder)
    made_from = fingerprint(config, key, folder)
    shared = shared_model("-".join(_arithmetic(config)), digest)
    kept = kept_model(folder, digest)
    if any(one.take(key, folder, fingerprint=made_from) for one in (kept, shared) if one):
        return
    lock = shared.weights if shared else folder.checkpoint(key, digest)
    with locked(lock.with_suffix(".lock")) as had_to_wait:
        if had_to_wait and shared and shared.take(key, folder, fingerprint=made_from):
            return
        files = folder.model(key), folder.training(key)
        if had_to_wait and is_complete(*files, fingerprint=made_from):
            logger.info("another process has trained %s", key)
            return
        _train(config, spec, folder, digest)
        if kept is None or kept.give(key, folder):
            folder.checkpoint(key, digest).unlink(missing_ok=True)
        if shared:
            shared.give(key, folder)


def _train(config: Config, spec: ModelSpec, folder: RunFolder, digest: str) -> None:
    """Train a model on its part's images and write it."""
    with reserved_device(config) as device:
        settings = TrainerSettings(
            seed_names=(config.base_seed, "training", spec.seed_name),
            device=device,
            precision=resolve_precision(config, device),
            compiled=config.compile,
            checkpoint_path=folder.checkpoint(spec.key, digest),
            fingerprint=digest,
        )
        logger.info("training %s on %s in %s", spec.key, device, settings.precision)
        frozen = None
        if spec.frozen:
            frozen = to_device(_parent(config, spec.frozen, folder)[0], device)
        network = _initial_network(config, spec, folder)
        if is_reference(spec.network.name):
            sizes = load_split(folder.data(spec.part), "test").sizes
            network = to_device(network, device)
            try_sizes(network, sizes, reference=spec.network.name, device=device)
        batches = BatchSampler(
            load_split(folder.data(spec.part), "train"), recipe_of(spec),
            seed_names=settings.seed_names, device=device, workers=config.workers,
        )  # fmt: skip
        objective = build_objective(network, spec, task_network=frozen)
        curve = Trainer(objective, batches, recipe_of(spec), settings).fit()
        _write_model(config, spec, folder, network=network, curve=curve)


def recipe_of(spec: ModelSpec) -> Recipe:
    """Return the recipe of a trained model; a model with published weights has none."""
    if spec.recipe is None:
        raise ValueError(f"{spec.key} has published weights and is not trained")
    return spec.recipe


def build_objective(
    network: nn.Module, spec: ModelSpec, *, task_network: nn.Module | None = None
) -> Objective:
    """Build the objective that trains a network; those of `GUIDED` need the task network."""
    noise: dict[str, Any] = {"sigma": spec.sigma, "noise": spec.noise}
    if spec.objective == "task":
        return TaskObjective(network, **noise)
    noise["output_side"] = _output_side(network, spec)
    if spec.objective == "denoise":
        return DenoisingObjective(network, **noise)
    if not isinstance(spec.recipe, JointRecipe) or task_network is None:
        raise ValueError(f"{spec.key} needs a task weight and a task network")
    weight = spec.recipe.task_weight
    guided = GUIDED[spec.objective]
    return guided(network, task_network=task_network, task_weight=weight, **noise)


def _output_side(network: nn.Module, spec: ModelSpec) -> int | None:
    """Return the side of the denoised square that the losses compare; None compares all.

    The controls have the same side as the joint training that they are compared with.
    """
    patch = recipe_of(spec).patch
    if patch is None:
        return None
    if spec.part == "denoising":
        return patch - 2 * border_of(network)
    return spec.crop if spec.crop is not None and patch > spec.crop else None


def _initial_network(config: Config, spec: ModelSpec, folder: RunFolder) -> nn.Module:
    """Return a network with the weights of its parent, or with fresh weights.

    Published weights replace fresh ones in the layers that the file contains.
    """
    if spec.start:
        network, content = _parent(config, spec.start, folder)
        _check_precision(config, spec, content.get("precision"))
        return network
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.base_seed, "weights", spec.seed_name))
        network = build_network(spec.role, **spec.build_options)
    if (path := _weights_file(config, spec)) is not None:
        (load_released_dncnn if path.suffix == ".mat" else load_pretrained)(network, path)
    return network


def _parent(config: Config, key: str, folder: RunFolder) -> tuple[nn.Module, dict[str, Any]]:
    """Load a model that another one starts from or is trained through; a stale one is refused."""
    made_from = fingerprint(config, key, folder)
    return checkpoint.load_model(folder.model(key), fingerprint=made_from)


def _weights_file(config: Config, spec: ModelSpec) -> Path | None:
    """Return the file of a network's published weights; None if it has none."""
    if spec.network.weights != PUBLISHED[spec.role]:
        return spec.given_weights
    entry = entry_of(spec.role, spec.network.name)
    sigma = format_sigma(spec.sigma) if isinstance(spec.sigma, float) else ""
    name = downloaded_weights(spec.role, spec.network)
    if name is None:
        return importlib.import_module(entry.module).packaged_weights()
    files = [archive.name for archive in CATALOGUE[name].archives]
    file = entry.file.replace("{sigma}", sigma) if entry.file else files[0]
    if file not in files:
        raise UserError(
            f"`{spec.network.name}` has no published weights for sigma {sigma}.",
            came=f"no {file} in `{name}`, which has {', '.join(files)}",
            do="use their noise levels, or write the path of your own files in `weights`.",
        )
    return downloaded(data_root(config), name) / file


def _check_precision(config: Config, spec: ModelSpec, before: str | None) -> None:
    """Refuse a parent in another number format: methods must differ only in their loss."""
    precision = _arithmetic(config)[1]
    if before not in (None, precision):
        raise UserError(
            f"{spec.key} and the model that it starts from have different number formats.",
            came=f"{spec.start} was trained in {before}, and with `precision: auto` this machine "
            f"would train {spec.key} in {precision}",
            do="train on machines of one kind; or set `precision: float32`, which every machine "
            "has, and start again.",
        )


def _write_model(
    config: Config, spec: ModelSpec, folder: RunFolder, *, network: nn.Module, curve: list[dict]
) -> None:
    """Write a model's training curve, then its weights."""
    size = network_size(network, spec.role)
    write_rows([row | size for row in curve], folder.training(spec.key), TRAINING_COLUMNS)
    content = {
        "key": spec.key, "role": spec.role, "network": spec.build_options, "sigma": spec.sigma,
        "steps": spec.recipe.steps if spec.recipe else 0,
        "fingerprint": fingerprint(config, spec.key, folder),
        "precision": curve[-1]["precision"] if curve else None,
        "state": network.cpu().state_dict(),
    }  # fmt: skip
    checkpoint.save(content, folder.model(spec.key), network=network)
    record_digest(folder.model(spec.key))


def _content_fingerprint(config: Config, spec: ModelSpec, folder: RunFolder) -> str:
    """Digest everything that determines the weights, to the bit, also the version of PyTorch."""
    files = [folder.model(key) for key in spec.parents]
    if not spec.start and (weights := _weights_file(config, spec)) is not None:
        files.append(weights)
    made_from = fingerprint(config, spec.key, folder)
    arithmetic = (*_arithmetic(config), torch.__version__.partition("+")[0])
    return settings_digest(made_from, arithmetic, list(map(file_digest, files)))


def _arithmetic(config: Config) -> tuple[str, str]:
    """Name the kind of device and the number format of this machine, without holding a GPU."""
    device = torch.device("cuda") if uses_cuda(config) else find_device(config.device)
    return device.type, precision_name(resolve_precision(config, device))
