"""The configuration of a run: frozen models; an unknown key or a wrong type stops the run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dhl.methods import ALLOWED, PARTS, TASKS, model_of
from dhl.models import NETWORKS

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Sigma = Annotated[float, Field(ge=1, le=255)]


class Frozen(BaseModel):
    """A model that refuses unknown keys, wrong types and later changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PhotoDigits(Frozen):
    """The embedded data set; counts are images per split, `size` their side in pixels."""

    kind: Literal["photo-digits"]
    train: Count
    validation: Count
    test: Count
    size: Annotated[int, Field(ge=24)]
    contrast: Annotated[float, Field(gt=0, le=1)] = 0.5

    @property
    def name(self) -> str:
        """The data set's name, which the evaluation noise is derived from."""
        return self.kind


class Folder(Frozen):
    """The user's own images for denoising: one folder to train on, one to test on."""

    kind: Literal["folder"]
    name: str
    train: str | None = None
    test: str


DataPart = Annotated[PhotoDigits | Folder, Field(discriminator="kind")]


class Data(Frozen):
    """Where the images of each part come from; a part that is left out is not run."""

    denoising: DataPart
    classification: PhotoDigits | None = None
    segmentation: PhotoDigits | None = None


class Network(Frozen):
    """A network by name; `width` is the number of channels of its first layer."""

    name: str
    width: Count = 64
    depth: Annotated[int, Field(ge=3)] | None = None


class Networks(Frozen):
    """The networks of a run; the defaults are the paper's denoiser and DnCNN at full size."""

    denoiser: Network = Network(name="released")
    dncnn: Network = Network(name="dncnn", depth=17)
    classifier: Network = Network(name="small-vgg", width=32)
    segmenter: Network = Network(name="small-largefov", width=32)

    @model_validator(mode="after")
    def _known(self) -> Networks:
        for place in type(self).model_fields:
            known = NETWORKS["denoiser" if place == "dncnn" else place]
            name = getattr(self, place).name
            if name not in known:
                raise ValueError(
                    f"`networks.{place}.name` is one of {', '.join(known)}, but not `{name}`"
                )
            if getattr(self, place).depth is not None and name != "dncnn":
                raise ValueError(
                    f"`networks.{place}.depth` belongs to `dncnn`, and not to `{name}`"
                )
        return self


class Optimizer(Frozen):
    """SGD or AdamW; the defaults are those of the authors' released solver."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 1e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 5e-4


class Schedule(Frozen):
    """How the learning rate moves: factor `gamma` every `every` steps, or over the whole run."""

    name: Literal["constant", "step", "one-cycle", "cosine"] = "constant"
    every: Count | None = None
    gamma: Positive = 0.1
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _step_needs_every(self) -> Schedule:
        if (self.name == "step") != (self.every is not None):
            raise ValueError("`every` belongs to the schedule `step`, and only to it")
        return self


class Recipe(Frozen):
    """How one model is trained.

    `patch` is the side of the random crops, None for whole images; `augment` is `dihedral` (flips
    and quarter turns), `mirror` or `none`.
    """

    steps: Count
    batch: Count
    patch: Annotated[int, Field(ge=8)] | None = None
    augment: Literal["dihedral", "mirror", "none"] = "none"
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    clip_norm: Positive | None = None
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
            raise ValueError(
                f"`sigma_low` ({self.sigma_low:g}) is not above `sigma_high` ({self.sigma_high:g})"
            )
        return self


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
                raise ValueError(
                    f"`training.{name}.patch` is a multiple of 4, because the denoiser halves it "
                    f"twice, but not {recipe.patch}"
                )
        return self


Grid = Annotated[tuple[Sigma, ...], Field(min_length=1)]
MethodNames = Annotated[tuple[str, ...], Field(min_length=1)]


class Sigmas(Frozen):
    """Noise levels (0-255 scale) of each table."""

    denoising: Grid
    classification: Grid | None = None
    segmentation: Grid | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _on_the_255_scale(cls, value: Any) -> Any:
        for sigma in value if isinstance(value, list) else []:
            if isinstance(sigma, int | float) and not 1 <= sigma <= 255:
                raise ValueError(
                    f"sigma {sigma:g} is not on the 0-255 scale (from 1 to 255); "
                    "multiply a [0, 1]-scale value by 255"
                )
        if isinstance(value, list) and any(value.count(sigma) > 1 for sigma in value):
            raise ValueError("a sigma stands twice in the list")
        return tuple(value) if isinstance(value, list) else value


class Methods(Frozen):
    """The rows of each table, in order."""

    denoising: MethodNames
    classification: MethodNames | None = None
    segmentation: MethodNames | None = None

    @model_validator(mode="after")
    def _known(self) -> Methods:
        for part in PARTS:
            methods = getattr(self, part) or ()
            for method in methods:
                if method not in ALLOWED[part]:
                    legal = ", ".join(ALLOWED[part])
                    raise ValueError(
                        f"`methods.{part}` has no method `{method}`; there are {legal}"
                    )
                if methods.count(method) > 1:
                    raise ValueError(f"`methods.{part}` has the method `{method}` twice")
        return self


class Evaluation(Frozen):
    """`authors`: round, clip to 0-255, drop a 3 px border; `plain`: clip to [0, 1] only."""

    protocol: Literal["authors", "plain"] = "authors"
    batch: Count = 64


class Statistics(Frozen):
    """Settings of intervals and verdicts; `margin_*` bound what counts as "nearly as good"."""

    bootstrap: Annotated[int, Field(ge=100)] = 2000
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    margin_accuracy: Positive = 0.02
    margin_miou: Positive = 0.02


class Config(Frozen):
    """The whole configuration of a run."""

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    base_seed: Annotated[int, Field(ge=0)]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Count = 1
    data: Data
    sigmas: Sigmas
    methods: Methods
    networks: Networks = Networks()
    training: Training
    evaluation: Evaluation = Evaluation()
    statistics: Statistics = Statistics()

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the paper that this run covers, in the order of its tables."""
        return tuple(part for part in PARTS if getattr(self.data, part) is not None)

    @model_validator(mode="after")
    def _whole(self) -> Config:
        for part in self.parts:
            for section in ("sigmas", "methods"):
                if getattr(getattr(self, section), part) is None:
                    raise ValueError(f"`data.{part}` is given, so `{section}.{part}` must be too")
            for method in getattr(self.methods, part):
                self._require_recipe(method, part)
        return self

    def _require_recipe(self, method: str, part: str) -> None:
        """Check that the recipe behind a method, and its task's data, are configured."""
        model = model_of(method, part) or ""
        kind, _, task = model.partition("-")
        needed = {"joint": ["joint"], "matched": ["joint"], "retrained": ["retrained"]}
        sections = [*needed.get(kind, []), "task"] if task else []
        task = task or part
        if part in TASKS:
            sections.append("task")
        for section in sections:
            if task not in self.parts or getattr(getattr(self.training, section), task) is None:
                raise ValueError(
                    f"method `{method}` of {part} needs `training.{section}.{task}` and "
                    f"`data.{task}`: add them, or take the method out of `methods.{part}`"
                )
