"""The configuration of a run: frozen models; an unknown key or a wrong type stops the run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dhl.config.base import Count, Frozen, Positive, Sigma
from dhl.config.data import Data
from dhl.config.methods import Methods
from dhl.config.networks import Network, Networks
from dhl.config.sensitivity import Sensitivity
from dhl.config.training import Training
from dhl.keys import TASK_NETWORKS
from dhl.methods import PARTS, TASKS, model_of
from dhl.noise import GAUSSIAN
from dhl.own import FORM, is_reference, read, references

Grid = Annotated[tuple[Sigma, ...], Field(min_length=1)]
ShardCount = Annotated[int, Field(ge=1, le=400)]


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


class Shards(Frozen):
    """Into how many jobs a part's test images are split; an evaluation opens all their files."""

    denoising: ShardCount = 1
    classification: ShardCount = 1
    segmentation: ShardCount = 1


class Evaluation(Frozen):
    """How methods are measured.

    Attributes
    ----------
    protocol : {"authors", "plain"}
        `authors`: round, clip to 0-255, drop a 3 px border; `plain`: clip to [0, 1] only.
    batch : int
        Images that go through a network at once.
    baseline_shards : Shards
        Jobs per sigma of each method that is not trained here, such as CBM3D; an interrupted job
        repeats its own images only.
    """

    protocol: Literal["authors", "plain"] = "authors"
    batch: Count = 64
    baseline_shards: Shards = Shards()


class Statistics(Frozen):
    """Settings of intervals and verdicts; `margin_*` bound what counts as "nearly as good"."""

    bootstrap: Annotated[int, Field(ge=100)] = 2000
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    margin_accuracy: Positive = 0.02
    margin_miou: Positive = 0.02


class Config(Frozen):
    """The whole configuration of a run.

    `seeds` is how often every denoiser and every retrained network is trained, each time with
    other first weights, batches and training noise; the task networks, the test images and
    their noise are the same. `noise` is white and Gaussian, or the user's own code. `threads`
    are the CPU threads of one job; `workers` the processes that decode images for one training;
    `processes` train one model together, each on its own GPU; `jobs_per_gpu` jobs share one;
    `compile` lets `torch.compile` fuse a training step.
    """

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    base_seed: Annotated[int, Field(ge=0)]
    seeds: Count = 1
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Count = 1
    workers: Annotated[int, Field(ge=0)] = 0
    processes: Count = 1
    jobs_per_gpu: Literal[1, 2, 3, 4, 6, 12] = 1
    compile: bool = False
    noise: str = GAUSSIAN
    data: Data
    sigmas: Sigmas
    methods: Methods
    networks: Networks = Networks()
    training: Training
    evaluation: Evaluation = Evaluation()
    sensitivity: Sensitivity | None = None
    statistics: Statistics = Statistics()

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the paper that this run covers, in the order of its tables."""
        return tuple(part for part in PARTS if getattr(self.data, part) is not None)

    def task_networks(self, task: str) -> tuple[Network, ...]:
        """Return the task network of a task, and the further ones of `sensitivity`."""
        others = self.sensitivity.others(task).values() if self.sensitivity else ()
        return (getattr(self.networks, TASK_NETWORKS[task]), *others)

    @property
    def own_code(self) -> tuple[str, ...]:
        """References to the user's own code, each once."""
        networks = [getattr(self.networks, place).name for place in Networks.model_fields]
        networks += [network.name for task in TASKS for network in self.task_networks(task)]
        data = [getattr(self.data, part).kind for part in self.parts]
        names = (*self.methods.own.values(), self.noise, *networks, *data)
        return tuple(dict.fromkeys(references(*names)))

    @field_validator("noise")
    @classmethod
    def _known_noise(cls, noise: str) -> str:
        if is_reference(noise):
            read(noise).check_call("clean", keywords=("noise_std", "generator"))
        elif noise != GAUSSIAN:
            raise ValueError(f"`noise` is {GAUSSIAN} or your own code ({FORM}), but not `{noise}`")
        return noise

    @model_validator(mode="after")
    def _whole(self) -> Config:
        for part in self.parts:
            for section in ("sigmas", "methods"):
                if getattr(getattr(self, section), part) is None:
                    raise ValueError(f"`data.{part}` is given, so `{section}.{part}` must be too")
            for method in getattr(self.methods, part):
                self._require_recipe(method, part)
        return self

    @model_validator(mode="after")
    def _sensitivity_of_what_is_run(self) -> Config:
        if self.sensitivity is None:
            return self
        for part in self.sensitivity.mismatch:
            if part not in self.parts or len(getattr(self.sigmas, part)) < 2:
                raise ValueError(
                    f"`sensitivity.mismatch` has {part}, which has no two sigmas in this run"
                )
        for task in TASKS:
            self._require_for_sensitivity(task)
        return self

    def _require_for_sensitivity(self, task: str) -> None:
        """Check that a task has what `sensitivity` asks of it."""
        asked, networks = self.sensitivity, self.sensitivity.others(task).values()
        if task not in self.parts:
            if networks:
                raise ValueError(f"further networks of `sensitivity` need `data.{task}`")
            return
        if asked.sigma not in getattr(self.sigmas, task):
            raise ValueError(
                f"`sensitivity.sigma` ({asked.sigma:g}) is one of `sigmas.{task}`, so that its "
                "values stand beside the table's"
            )
        guided = asked.weight_factors or asked.classifiers or asked.segmenters
        if guided and getattr(self.training.joint, task) is None:
            raise ValueError(f"`sensitivity` trains jointly and needs `training.joint.{task}`")
        fresh = [network.name for network in networks if not _published_whole(task, network)]
        if fresh and getattr(self.training.task, task) is None:
            raise ValueError(
                f"`{fresh[0]}` of `sensitivity` has not all its weights and needs "
                f"`training.task.{task}`"
            )

    @model_validator(mode="after")
    def _joint_crops_fit(self) -> Config:
        crop = getattr(self.data.classification, "crop", None)
        recipe = self.training.joint.classification
        if crop is None or recipe is None or recipe.patch in (None, crop):
            return self
        if recipe.patch % 4 or recipe.patch < crop + 6:
            raise ValueError(
                f"`training.joint.classification.patch` is the classifier's crop ({crop}), or at "
                f"least 6 px more and a multiple of 4, but not {recipe.patch}"
            )
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
            known = task in self.parts and section == "task"
            if known and _published_whole(task, self.task_networks(task)[0]):
                continue
            if task not in self.parts or getattr(getattr(self.training, section), task) is None:
                raise ValueError(
                    f"method `{method}` of {part} needs `training.{section}.{task}` and "
                    f"`data.{task}`: add them, or take the method out of `methods.{part}`"
                )


def _published_whole(task: str, network: Network) -> bool:
    """Tell whether a task network comes with all its weights: then it needs no recipe.

    ImageNet's weights are of a classifier; a segmenter has only its first layers from them.
    """
    if task == "segmentation":
        return network.weights not in (None, "imagenet")
    return network.weights is not None
