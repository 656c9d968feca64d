"""The configuration of a run: frozen models; an unknown key or a wrong type stops the run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from dhl.config.base import Count, Frozen, Sigma, spelt
from dhl.config.data import Data
from dhl.config.method_lists import Methods
from dhl.config.methods import PARTS, TASK_NETWORKS, TASKS
from dhl.config.networks import Network, Networks
from dhl.config.plugins import FORM, is_reference, read, references
from dhl.config.recipes import Training
from dhl.config.sensitivity import Sensitivity
from dhl.config.sigma import GAUSSIAN
from dhl.errors import ConfigError

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
                raise ConfigError(
                    "a sigma is on the 0-255 scale, from 1 to 255.",
                    came=f"{sigma:g}",
                    do="multiply a value on the scale of [0, 1] by 255.",
                )
            if value.count(sigma) > 1:
                raise ConfigError(
                    "each sigma stands once in its list.",
                    came=f"{sigma:g} twice" if isinstance(sigma, int | float) else f"{sigma} twice",
                    do="take one of them out.",
                )
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


WIDEST_MARGIN = 0.2


def _a_fraction(margin: float) -> float:
    """Refuse a margin in points, with which everything would be nearly as good."""
    if not 0 < margin < WIDEST_MARGIN:
        raise ConfigError(
            f"a margin is a fraction above 0 and below {WIDEST_MARGIN}: 0.02 is 2 points.",
            came=f"{margin:g}",
            do=f"write {margin / 100:g} for {margin:g} points." if 0 < margin < 100 * WIDEST_MARGIN
            else "write a fraction, such as 0.02.",
        )  # fmt: skip
    return margin


Margin = Annotated[float, AfterValidator(_a_fraction)]


class Statistics(Frozen):
    """Settings of intervals and verdicts; `margin_*` bound what counts as "nearly as good"."""

    bootstrap: Annotated[int, Field(ge=100)] = 2000
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    margin_accuracy: Margin = 0.02
    margin_miou: Margin = 0.02


class Config(Frozen):
    """The whole configuration of a run.

    `seeds` is how often every denoiser and every retrained network is trained, each time with
    other batches and training noise, and what starts afresh with other first weights; the task
    networks, the test images and their noise are the same. `noise` is white and Gaussian, or the
    user's own code. `threads` are the CPU threads of one job; `workers` the processes that decode
    images for one training; `processes` train one model together, each on its own GPU;
    `jobs_per_gpu` jobs share one; `compile` lets `torch.compile` fuse a training step.
    """

    run: Annotated[
        str,
        spelt(
            r"[A-Za-z0-9][A-Za-z0-9._-]*",
            rule="a run is called by letters, digits, `.`, `_` and `-`, a letter or digit first.",
            do="write it so, such as `my-run`: a folder has this name.",
        ),
    ]
    base_seed: Annotated[int, Field(ge=0)]
    seeds: Count = 1
    device: Annotated[
        str,
        spelt(
            r"auto|cpu|mps|cuda(:\d+)?",
            rule="a device is `auto`, `cpu`, `mps`, `cuda`, or one GPU such as `cuda:1`.",
            do="write one of these.",
        ),
    ] = "auto"
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
            raise ConfigError(
                f"noise is {GAUSSIAN}, or your own code ({FORM}).",
                came=f"`noise: {noise}`",
                do=f"write `{GAUSSIAN}`, or name your function.",
            )
        return noise
