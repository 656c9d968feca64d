"""The model graph of a run: network, objective, data, recipe and parents of each model.

The key of a model is `<name>/<variant>`: `classifier/clean`, `separate-start/all`,
`joint-segmentation/sigma30`. `joint-segmentation/sigma30-seed2` is its second training, whose
parents are also from the second training. `joint-segmentation/sigma30-times10` has ten times the
recipe's task weight. `segmenter-unet/clean` is a further task network, and
`joint-segmentation-unet/sigma30` is the denoiser that is trained with its loss.
`matched-`, `permuted-` and `perceptual-segmentation/sigma30` are the controls of
`joint-segmentation/sigma30`. With `task_seeds`, `segmenter/clean-seed2` is the second training of a
task network that the run trains, and `joint-segmentation/sigma30-task2-seed3` the third training of
a denoiser with it.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from dhl.config.architectures import PUBLISHED, entry_of
from dhl.config.data_sets import PartData
from dhl.config.methods import PEERS, TASK_NETWORKS, TASK_OF_NETWORK, TASKS
from dhl.config.networks import Network
from dhl.config.parts import TaskPart
from dhl.config.plugins import references
from dhl.config.recipes import Recipe
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.run.evaluations import evaluated_models, evaluations
from dhl.run.model_keys import key_in_draw, sigma_key, task_network_key, times_suffix
from dhl.seeding import FIRST, Draw, split_draw
from dhl.sigma import GAUSSIAN, format_sigma, noise_std

_NOT_IN_BATCHES = re.compile(r"-times[0-9.]+|-task[0-9]+")
DENOISERS = {"separate": "denoiser", **{peer: peer for peer in PEERS}}
Level = tuple[float, Draw]  # sigma, and which trainings


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
    data: PartData | None = None  # of a task network
    crop: int | None = None  # side of the task network's input in pixels, if it is fixed
    start: str | None = None  # key of the model whose weights it starts from
    frozen: str | None = None  # key of the task network through which the loss passes
    noise: str = GAUSSIAN  # the configuration's noise model

    @property
    def parents(self) -> tuple[str, ...]:
        """Keys of the models that must exist first."""
        return tuple(key for key in (self.start, self.frozen) if key)

    @property
    def classes(self) -> int | None:
        """The classes of a task network, None of a denoiser; a user's folder must be there."""
        return None if self.data is None else self.data.classes_of(self.part)

    @property
    def given_weights(self) -> Path | None:
        """The user's file of weights that it starts from; None for published or random ones."""
        weights = self.network.weights
        if self.start or weights in (None, PUBLISHED[self.role]):
            return None
        sigma = format_sigma(self.sigma) if isinstance(self.sigma, float) else ""
        return Path(weights.replace("{sigma}", sigma))

    @property
    def build_options(self) -> dict[str, Any]:
        """Arguments of `dhl.models.build.build_network` after the role."""
        options = {"name": self.network.name, **self.network.builder_options()}
        if entry_of(self.role, self.network.name).of_one_sigma:
            options["sigma"] = self.sigma
        classes = self.classes
        return options if classes is None else options | {"classes": classes}

    @property
    def seed_name(self) -> str:
        """The name that seeds the batches and the noise.

        The joint denoisers of a task and their controls share it: they see the same batches with
        the same noise, and differ only in the loss. So do those of several task networks.
        """
        name, _, variant = _NOT_IN_BATCHES.sub("", self.key).partition("/")
        if self.start and self.role == "denoiser" and self.part in TASKS:
            name = f"joint-{self.part}"
        return f"{name}/{variant}"

    @property
    def code(self) -> tuple[str, ...]:
        """Modules and plug-ins that, with all their imports, decide the weights."""
        return (
            "dhl.training.train",
            "dhl.training.objectives",
            entry_of(self.role, self.network.name).module,
            *(("dhl.models.published_dncnn",) if self.network.weights else ()),
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
    if kind in TASK_OF_NETWORK and variant.startswith("clean"):
        draw = _task_draw(config, key)
        return _task_network(config, TASK_OF_NETWORK[kind], label=task, draw=draw)
    variant, draw = _draw_of(config, key)
    if variant == "all" and task == "start" and kind in DENOISERS:
        return _warm_start(config, key, kind)
    variant, factor = _factor_of(config, variant)
    level = _sigma_of(variant), draw
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


def _task_draw(config: Config, key: str) -> Draw:
    """Return the training of a task network, with a key such as `segmenter/clean-seed2`."""
    first = key.partition("/")[0] + "/clean"
    known = (Draw(task=number) for number in range(1, config.task_seeds + 1))
    return _given(next((draw for draw in known if key_in_draw(config, first, draw) == key), None))


def _draw_of(config: Config, key: str) -> tuple[str, Draw]:
    """Return the variant of a key without the numbers of its trainings, and these."""
    first, draw = split_draw(key)
    known = draw.task <= config.task_seeds and draw.seed <= config.seeds
    if not known or key_in_draw(config, first, draw) != key:
        raise _NoSuchModel
    return first.partition("/")[2], draw


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


def _task_network(config: Config, task: str, *, label: str = "", draw: Draw = FIRST) -> ModelSpec:
    """Describe a task network on clean images: trained, or with its published weights."""
    part = _part(config, task)
    key, role = key_in_draw(config, task_network_key(task, label), draw), TASK_NETWORKS[task]
    network = part.task_network
    if label:
        network = _given((config.sensitivity.others(task) if config.sensitivity else {}).get(label))
    recipe = part.training.task_network
    if network.weights is None:
        recipe = _given(recipe)
    return ModelSpec(key, role, network, "task", task, recipe, None, part.data)


def _retrained(config: Config, key: str, task: str, level: Level) -> ModelSpec:
    """Describe a task network that is fine-tuned on noisy images."""
    sigma, draw = level
    clean = _task_network(config, task, draw=draw)
    recipe = _given(_part(config, task).training.retrained)
    return dataclasses.replace(clean, key=key, recipe=recipe, sigma=sigma, start=clean.key)


def _warm_start(config: Config, key: str, kind: str) -> ModelSpec:
    """Describe the denoiser that is trained for a range of sigmas."""
    recipe = _given(config.parts.denoising.training.of(kind).warm_start)
    sigmas = (recipe.sigma_low, recipe.sigma_high)
    network = getattr(config.parts.denoising, DENOISERS[kind])
    return ModelSpec(key, "denoiser", network, "denoise", "denoising", recipe, sigmas)


def _denoiser(config: Config, key: str, kind: str, level: Level) -> ModelSpec:
    """Describe a denoiser of one sigma with lambda = 0."""
    network = getattr(config.parts.denoising, DENOISERS[kind])
    recipes = config.parts.denoising.training.of(kind)
    sigma, draw = level
    start = key_in_draw(config, f"{kind}-start/all", draw) if recipes.warm_start else None
    return ModelSpec(
        key, "denoiser", network, "denoise", "denoising", recipes.separate, sigma, start=start
    )


def _matched(config: Config, key: str, task: str, level: Level) -> ModelSpec:
    """Describe the control: the joint denoiser's images, steps and schedule, with lambda = 0."""
    joint = _given(_part(config, task).training.joint)
    recipe = Recipe(**joint.model_dump(include=set(Recipe.model_fields)))
    sigma, draw = level
    return ModelSpec(
        key, "denoiser", config.parts.denoising.denoiser, "denoise", task, recipe, sigma,
        crop=_crop(config, task), start=key_in_draw(config, sigma_key("separate", sigma), draw),
    )  # fmt: skip


def _joint(
    config: Config, key: str, task: str, level: Level, *, label: str, factor: float
) -> ModelSpec:
    """Describe the denoiser trained with a task's loss."""
    recipe = _given(_part(config, task).training.joint)
    weights = {"task_weight": factor * recipe.task_weight, "feature_weight": None}
    recipe = recipe.model_copy(update=weights)
    sigma, draw = level
    return ModelSpec(
        key, "denoiser", config.parts.denoising.denoiser, "joint", task, recipe, sigma,
        crop=_crop(config, task), start=key_in_draw(config, sigma_key("separate", sigma), draw),
        frozen=_task_network(config, task, label=label, draw=draw).key,
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
