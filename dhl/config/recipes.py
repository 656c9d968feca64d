"""How models are trained: optimizers, schedules, recipes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhl.config.base import Count, Frozen, NonNegative, Positive, Sigma
from dhl.config.methods import PEERS
from dhl.errors import ConfigError


class Optimizer(Frozen):
    """SGD or AdamW; the defaults are those of the authors' released solver.

    `last_layer_lr`, `bias_lr` and `bias_decay` are Caffe's `lr_mult` and `decay_mult`; the biases
    of the last layer have both factors.
    """

    name: Literal["sgd", "adamw"] = Field(default="sgd", description="algorithm")
    lr: Positive = Field(default=1e-4, description="learning rate")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.9, description="momentum of SGD"
    )
    weight_decay: NonNegative = Field(default=5e-4, description="weight decay")
    last_layer_lr: Positive = Field(
        default=1.0, description="factor of the learning rate of the last layer"
    )
    bias_lr: Positive = Field(default=1.0, description="factor of the learning rate of biases")
    bias_decay: NonNegative = Field(default=1.0, description="factor of the weight decay of biases")


class Schedule(Frozen):
    """How the learning rate changes over the steps."""

    name: Literal["constant", "step", "one-cycle", "cosine", "poly"] = Field(
        default="constant",
        description="`one-cycle` rises during `warmup` and then falls as a cosine; `poly` is "
        "(1 - step / steps) to the `power`",
    )
    every: Count | None = Field(
        default=None, description="period in steps at which `step` multiplies the rate by `gamma`"
    )
    gamma: Positive = Field(default=0.1, description="factor of `step`")
    power: Positive = Field(default=0.9, description="exponent of `poly`")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="fraction of the steps in which `one-cycle` rises"
    )

    @model_validator(mode="after")
    def _step_needs_every(self) -> Schedule:
        if (self.name == "step") != (self.every is not None):
            missing = self.every is None
            raise ConfigError(
                "The schedule `step` needs `every`."
                if missing
                else f"The schedule `{self.name}` has no `every`.",
                came=f"`name: {self.name}`" + ("" if missing else f" and `every: {self.every}`"),
                do="add `every`." if missing else "remove `every`.",
            )
        return self


class Recipe(Frozen):
    """How one model is trained."""

    steps: Count = Field(description="optimizer steps")
    batch: Count = Field(description="images in a batch")
    patch: Annotated[int, Field(ge=8, le=10_000)] | None = Field(
        default=None, description="side of the random crops in pixels; null takes whole images"
    )
    augment: Literal["dihedral", "mirror", "none"] = Field(
        default="none",
        description="`dihedral`: flips and quarter turns; `mirror`: left-right flips",
    )
    optimizer: Optimizer = Field(default=Optimizer(), description="optimizer")
    schedule: Schedule = Field(default=Schedule(), description="learning-rate schedule")
    clip_norm: Positive | None = Field(
        default=None, description="largest norm of the gradient (after `loss_scale`); null: off"
    )
    loss_scale: Positive = Field(
        default=1.0,
        description="factor of the whole loss, to reproduce losses that are summed or on 0-255",
    )
    batch_norm_statistics: Literal["batch", "fixed"] = Field(
        default="batch",
        description="by what BatchNorm normalises in training: mean and variance of each `batch`, "
        "or the `fixed` running ones that the network starts with",
    )
    checkpoint_every: Count = Field(default=500, description="steps between two checkpoints")

    @property
    def images(self) -> int:
        """How many images a training sees, each as often as it is drawn."""
        return self.steps * self.batch


class JointRecipe(Recipe):
    """A recipe of joint training: MSE on [0, 1] plus `task_weight` times the mean cross-entropy."""

    task_weight: NonNegative = Field(description="weight of the task's loss: the paper's lambda")
    feature_weight: NonNegative | None = Field(
        default=None,
        description="weight of the distance of features in `joint-perceptual`, which replaces the "
        "cross-entropy; null: `task_weight`",
    )

    @property
    def perceptual_weight(self) -> float:
        """The weight of the distance of features."""
        return self.task_weight if self.feature_weight is None else self.feature_weight


class WarmStart(Recipe):
    """The recipe of one denoiser for a range of sigmas, from which the others start."""

    sigma_low: Sigma = Field(description="lowest sigma of the training noise")
    sigma_high: Sigma = Field(description="highest sigma of the training noise")

    @model_validator(mode="after")
    def _ordered(self) -> WarmStart:
        if self.sigma_low > self.sigma_high:
            raise ConfigError(
                "`sigma_low` is above `sigma_high`.",
                came=f"`sigma_low: {self.sigma_low:g}` and `sigma_high: {self.sigma_high:g}`",
                do="swap them.",
            )
        return self

    def covers(self, sigma: float) -> bool:
        """Tell whether a sigma is in the range."""
        return self.sigma_low <= sigma <= self.sigma_high


class DenoiserRecipes(Frozen):
    """How a denoiser is trained for the MSE alone."""

    warm_start: WarmStart | None = Field(
        default=None,
        description="one denoiser for a range of sigmas, from which each sigma's denoiser starts; "
        "null trains each from scratch",
    )
    separate: Recipe | None = Field(
        default=None,
        description="the denoiser of each sigma; null: the `weights` of the denoiser, untrained",
    )


class DenoisingTraining(DenoiserRecipes):
    """The recipes of the paper's denoiser, and of those that it is compared with."""

    dncnn: DenoiserRecipes | None = Field(
        default=None, description="recipes of DnCNN; null: those of the denoiser"
    )
    tnrd: DenoiserRecipes | None = Field(
        default=None, description="recipes of TNRD; null: those of the denoiser"
    )

    @model_validator(mode="after")
    def _patches_fit_the_denoiser(self) -> DenoisingTraining:
        for name in ("warm_start", "separate"):
            recipe = getattr(self, name)
            if recipe is not None and recipe.patch is not None and recipe.patch % 4:
                raise ConfigError(
                    f"The patch of {recipe.patch} px is not a multiple of 4.",
                    came=f"`{name}.patch: {recipe.patch}`; the denoiser downsamples by 2 twice",
                    do=f"write {max(8, recipe.patch // 4 * 4)} or {recipe.patch // 4 * 4 + 4}.",
                )
        return self

    def of(self, kind: str) -> DenoiserRecipes:
        """Return the MSE recipes of a kind of denoiser, such as `separate` or `dncnn`."""
        return (getattr(self, kind) if kind in PEERS else None) or self


class TaskTraining(Frozen):
    """The recipes of one task."""

    task_network: Recipe | None = Field(
        default=None, description="the task network on clean images"
    )
    joint: JointRecipe | None = Field(
        default=None,
        description="the denoiser with the task's loss; its controls follow it too",
    )
    retrained: Recipe | None = Field(default=None, description="the task network on noisy images")
