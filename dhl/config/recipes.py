"""How models are trained: optimizers, schedules, recipes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhl.config.base import Count, Frozen, NonNegative, Positive, Sigma
from dhl.errors import ConfigError


class Optimizer(Frozen):
    """SGD or AdamW; the defaults are those of the authors' released solver.

    `last_layer_lr` and `bias_lr` multiply the learning rate of the last layer and of all biases,
    `bias_decay` the weight decay of biases, as `lr_mult` and `decay_mult` in Caffe; the last
    layer's biases have both factors.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 1e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 5e-4
    last_layer_lr: Positive = 1.0
    bias_lr: Positive = 1.0
    bias_decay: NonNegative = 1.0


class Schedule(Frozen):
    """How the learning rate moves: factor `gamma` every `every` steps, or over the whole run.

    `poly` is (1 - step / steps) to the `power`.
    """

    name: Literal["constant", "step", "one-cycle", "cosine", "poly"] = "constant"
    every: Count | None = None
    gamma: Positive = 0.1
    power: Positive = 0.9
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _step_needs_every(self) -> Schedule:
        if (self.name == "step") != (self.every is not None):
            raise ConfigError(
                "`every` belongs to the schedule `step`, and only to it.",
                came=f"`name: {self.name}` and "
                + ("no `every`" if self.every is None else f"`every: {self.every}`"),
                do="add `every`." if self.every is None else "take `every` out.",
            )
        return self


class Recipe(Frozen):
    """How one model is trained.

    `batch` counts images over all processes. `patch` is the side of the random crops, None for
    whole images; `augment` is `dihedral` (flips and quarter turns), `mirror` or `none`.
    `loss_scale` multiplies the whole loss: it restates losses that were summed or taken on 0-255.
    """

    steps: Count
    batch: Count
    patch: Annotated[int, Field(ge=8)] | None = None
    augment: Literal["dihedral", "mirror", "none"] = "none"
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    clip_norm: Positive | None = None
    loss_scale: Positive = 1.0
    checkpoint_every: Count = 500


class JointRecipe(Recipe):
    """A recipe of joint training; `task_weight` is the paper's lambda.

    The loss is MSE on [0, 1] plus `task_weight` times the mean cross-entropy.
    """

    task_weight: NonNegative


class PerTask(Frozen):
    """One recipe per task, for the task network and for its retraining on noisy images."""

    classification: Recipe | None = None
    segmentation: Recipe | None = None


class JointPerTask(Frozen):
    """One joint recipe per task."""

    classification: JointRecipe | None = None
    segmentation: JointRecipe | None = None


class WarmStart(Recipe):
    """The recipe of one denoiser over a range of sigmas, from which each sigma's one starts."""

    sigma_low: Sigma
    sigma_high: Sigma

    @model_validator(mode="after")
    def _ordered(self) -> WarmStart:
        if self.sigma_low > self.sigma_high:
            raise ConfigError(
                "`sigma_low` is not above `sigma_high`.",
                came=f"`sigma_low: {self.sigma_low:g}` and `sigma_high: {self.sigma_high:g}`",
                do="exchange them.",
            )
        return self

    def covers(self, sigma: float) -> bool:
        """Tell whether a sigma is in the range."""
        return self.sigma_low <= sigma <= self.sigma_high


class DenoiserTraining(Frozen):
    """The training for MSE alone; `warm_start: null` trains each sigma from scratch."""

    warm_start: WarmStart | None = None
    separate: Recipe


class Training(DenoiserTraining):
    """Every training of a run; DnCNN is trained as the denoiser is, unless `dncnn` says how."""

    dncnn: DenoiserTraining | None = None
    task: PerTask = PerTask()
    joint: JointPerTask = JointPerTask()
    retrained: PerTask = PerTask()

    @model_validator(mode="after")
    def _patches_fit_the_denoiser(self) -> Training:
        for name in ("warm_start", "separate"):
            recipe = getattr(self, name)
            if recipe is not None and recipe.patch is not None and recipe.patch % 4:
                raise ConfigError(
                    "a patch is a multiple of 4, because the denoiser halves it twice.",
                    came=f"`training.{name}.patch: {recipe.patch}`",
                    do=f"write {max(8, recipe.patch // 4 * 4)} or {recipe.patch // 4 * 4 + 4}.",
                )
        return self
