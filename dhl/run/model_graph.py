"""The model graph of a run: network, objective, data, recipe and parents of each model.

The key of a model is `<name>/<variant>`: `classifier/clean`, `separate-start/all`,
`joint-segmentation/sigma30`. `joint-segmentation/sigma30-seed2` is its second training, whose
parents are also from the second training. `joint-segmentation/sigma30-times10` has ten times the
recipe's task weight. `segmenter-unet/clean` is a further task network, and
`joint-segmentation-unet/sigma30` is the denoiser that is trained with its loss.
`matched-`, `permuted-` and `perceptual-segmentation/sigma30` are the controls of
`joint-segmentation/sigma30`. The frozen task networks are trained once: the paper takes them as
given.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from dhl.config.architectures import entry_of
from dhl.config.methods import TASK_NETWORKS, TASKS
from dhl.config.networks import Network
from dhl.config.parts import TaskPart
from dhl.config.plugins import references
from dhl.config.recipes import DenoiserRecipes, Recipe
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.run.evaluations import evaluated_models, evaluations
from dhl.run.model_keys import sigma_key, task_network_key, times_suffix
from dhl.seeding import seed_suffix
from dhl.sigma import GAUSSIAN, format_sigma, noise_std

_TIMES = re.compile(r"-times([0-9.]+)")
DENOISERS = {"separate": "denoiser", "dncnn": "dncnn"}
Level = tuple[float, int]  # sigma, number of the training


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Everything that decides a model's weights."""

    key: str
    role: str  # denoiser, classifier or segmenter
    network: Network
    objective: str  # denoise, task, joint, permuted or perceptual
    part: str  # the part with its training images
    recipe: Recipe | None  # None: the network's published weights are used
    sigma: float | tuple[float, float] | None  # on the 0-255 scale, or a range; None: clean
    classes: int | None = None  # of a task network
    crop: int | None = None  # side of the task network's input in pixels, if it is fixed
    start: str | None = None  # key of the model whose weights it starts from
    frozen: str | None = None  # key of the task network through which the loss passes
    noise: str = GAUSSIAN  # the configuration's noise model

    @property
    def parents(self) -> tuple[str, ...]:
        """Keys of the models that must exist first."""
        return tuple(key for key in (self.start, self.frozen) if key)

    @property
    def build_options(self) -> dict[str, Any]:
        """Arguments of `dhl.models.build.build_network` after the role."""
        options = {"name": self.network.name, **self.network.builder_options()}
        return options if self.classes is None else options | {"classes": self.classes}

    @property
    def seed_name(self) -> str:
        """The name that seeds the batches and the noise.

        The joint denoisers of a task and their controls share it: they see the same batches with
        the same noise, and differ only in the loss.
        """
        if not (self.start and self.role == "denoiser" and self.part in TASKS):
            return self.key
        variant = self.key.partition("/")[2]
        return f"joint-{self.part}/{_TIMES.sub('', variant)}"

    @property
    def code(self) -> tuple[str, ...]:
        """Modules and plug-ins that, with all their imports, decide the weights."""
        return (
            "dhl.training.train",
            "dhl.training.objectives",
            entry_of(self.role, self.network.name).module,
            *(references(self.noise) if self.sigma is not None else ()),
        )


def model_spec(config: Config, key: str) -> ModelSpec:
    """Return the specification of a model of this run; an unknown key is a `UserError`."""
    try:
        return dataclasses.replace(_spec(config, key), noise=config.noise)
    except _NoSuchModel:
        raise UserError(
            f"The run has no model `{key}`.",
            came=f"`{key}`; a key is `<name>/<variant>`, such as `separate/sigma30`",
            do="choose a model from the list of `dhl describe`.",
        ) from None


class _NoSuchModel(Exception):
    """No model of this run has the key."""


def _spec(config: Config, key: str) -> ModelSpec:
    """Describe the model of a key."""
    name, _, variant = key.partition("/")
    kind, _, task = name.partition("-")
    tasks = {role: task for task, role in TASK_NETWORKS.items()}
    if variant == "clean" and kind in tasks:
        return _task_network(config, tasks[kind], label=task)
    variant, seed = _seed_of(config, variant)
    if variant == "all" and task == "start" and kind in DENOISERS:
        return _warm_start(config, key, kind)
    variant, factor = _factor_of(config, variant)
    level = _sigma_of(variant), seed
    if kind == "joint":
        task, _, label = task.partition("-")
        return _joint(config, key, task, level, label=label, factor=factor)
    if factor != 1:
        raise _NoSuchModel
    if kind in DENOISERS and not task:
        return _denoiser(config, key, kind, level)
    trained_on_a_task = {
        "matched": _matched,
        "permuted": _permuted,
        "perceptual": _perceptual,
        "retrained": _retrained,
    }
    if kind not in trained_on_a_task:
        raise _NoSuchModel
    return trained_on_a_task[kind](config, key, task, level)


def _factor_of(config: Config, variant: str) -> tuple[str, float]:
    """Split the factor of the task weight from the end of a variant."""
    known = config.sensitivity.weight_factors if config.sensitivity else ()
    for factor in known:
        if variant.endswith(suffix := times_suffix(factor)):
            return variant.removesuffix(suffix), factor
    return variant, 1.0


def _seed_of(config: Config, variant: str) -> tuple[str, int]:
    """Split the number of the training from the end of a variant."""
    rest, _, number = variant.partition("-seed")
    seed = int(number) if number.isdecimal() else 1
    if variant != rest + seed_suffix(seed) or not 1 <= seed <= config.seeds:
        raise _NoSuchModel
    return rest, seed


def _sigma_of(variant: str) -> float:
    """Return the sigma of a variant such as `sigma30`."""
    try:
        sigma = float(variant.removeprefix("sigma"))
    except ValueError:
        raise _NoSuchModel from None
    noise_std(sigma)
    if variant != f"sigma{format_sigma(sigma)}":
        raise _NoSuchModel
    return sigma


def _task_network(config: Config, task: str, *, label: str = "") -> ModelSpec:
    """Describe a task network on clean images: trained, or with its published weights."""
    part = _part(config, task)
    key, role = task_network_key(task, label), TASK_NETWORKS[task]
    network = part.task_network
    if label:
        network = _given((config.sensitivity.others(task) if config.sensitivity else {}).get(label))
    recipe = part.training.task_network
    if network.weights is None:
        recipe = _given(recipe)
    classes = part.data.classes_of(task)
    return ModelSpec(key, role, network, "task", task, recipe, None, classes)


def _retrained(config: Config, key: str, task: str, level: Level) -> ModelSpec:
    """Describe a task network that is fine-tuned on noisy images."""
    clean = _task_network(config, task)
    recipe = _given(_part(config, task).training.retrained)
    return dataclasses.replace(clean, key=key, recipe=recipe, sigma=level[0], start=clean.key)


def _warm_start(config: Config, key: str, kind: str) -> ModelSpec:
    """Describe the denoiser that is trained for a range of sigmas."""
    recipe = _given(denoiser_training(config, kind).warm_start)
    sigmas = (recipe.sigma_low, recipe.sigma_high)
    network = getattr(config.parts.denoising, DENOISERS[kind])
    return ModelSpec(key, "denoiser", network, "denoise", "denoising", recipe, sigmas)


def denoiser_training(config: Config, kind: str) -> DenoiserRecipes:
    """Return the MSE recipes of a kind of denoiser, `separate` or `dncnn`."""
    training = config.parts.denoising.training
    return (training.dncnn if kind == "dncnn" else None) or training


def _denoiser(config: Config, key: str, kind: str, level: Level) -> ModelSpec:
    """Describe a denoiser of one sigma with lambda = 0."""
    network = getattr(config.parts.denoising, DENOISERS[kind])
    recipes = denoiser_training(config, kind)
    sigma, seed = level
    start = f"{kind}-start/all{seed_suffix(seed)}" if recipes.warm_start else None
    return ModelSpec(
        key, "denoiser", network, "denoise", "denoising", recipes.separate, sigma, start=start
    )


def _matched(config: Config, key: str, task: str, level: Level) -> ModelSpec:
    """Describe the control: the joint denoiser's images, steps and schedule, with lambda = 0."""
    joint = _given(_part(config, task).training.joint)
    recipe = Recipe(**joint.model_dump(include=set(Recipe.model_fields)))
    network, start = config.parts.denoising.denoiser, sigma_key("separate", *level)
    return ModelSpec(
        key, "denoiser", network, "denoise", task, recipe, level[0],
        crop=_crop(config, task), start=start,
    )  # fmt: skip


def _joint(
    config: Config, key: str, task: str, level: Level, *, label: str, factor: float
) -> ModelSpec:
    """Describe the denoiser trained with a task's loss."""
    recipe = _given(_part(config, task).training.joint)
    weights = {"task_weight": factor * recipe.task_weight, "feature_weight": None}
    recipe = recipe.model_copy(update=weights)
    return ModelSpec(
        key, "denoiser", config.parts.denoising.denoiser, "joint", task, recipe, level[0],
        crop=_crop(config, task),
        start=sigma_key("separate", *level), frozen=_task_network(config, task, label=label).key,
    )  # fmt: skip


def _permuted(config: Config, key: str, task: str, level: Level) -> ModelSpec:
    """Describe the control with the joint loss and the labels of other images."""
    joint = _joint(config, key, task, level, label="", factor=1)
    return dataclasses.replace(joint, objective="permuted")


def _perceptual(config: Config, key: str, task: str, level: Level) -> ModelSpec:
    """Describe the control without labels; its `task_weight` is the weight of the features."""
    joint = _joint(config, key, task, level, label="", factor=1)
    configured = _given(_part(config, task).training.joint)
    weights = {"task_weight": configured.perceptual_weight, "feature_weight": None}
    recipe = configured.model_copy(update=weights)
    return dataclasses.replace(joint, objective="perceptual", recipe=recipe)


def _crop(config: Config, task: str) -> int | None:
    """Return the side of the crops that a task is tested on, if its data is cropped."""
    return getattr(config.parts[task].data, "crop", None)


def _part(config: Config, task: str) -> TaskPart:
    """Return the configuration of a task's part."""
    if task not in TASKS or task not in config.parts:
        raise _NoSuchModel
    return config.parts[task]


def _given(section: Any) -> Any:
    """Return a section of the configuration; without it there is no such model."""
    if section is None:
        raise _NoSuchModel
    return section


def all_models(config: Config) -> tuple[str, ...]:
    """List every model of a run, parents first."""
    found: dict[str, None] = {}

    def visit(key: str) -> None:
        if key not in found:
            for parent in model_spec(config, key).parents:
                visit(parent)
            found[key] = None

    for evaluation in evaluations(config):
        for key in evaluated_models(config, *evaluation):
            visit(key)
    return tuple(found)


def waiting_models(config: Config) -> dict[str, int]:
    """Return how many models, one after the other, wait at most for each model of a run."""
    waiting = dict.fromkeys(all_models(config), 0)
    for key in reversed(waiting):  # parents are listed first
        for parent in model_spec(config, key).parents:
            waiting[parent] = max(waiting[parent], waiting[key] + 1)
    return waiting
