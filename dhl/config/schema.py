"""The configuration of a run: frozen models; an unknown key or a wrong type stops the run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_serializer, field_validator, model_validator

from dhl.config.architectures import PEER_NETWORKS
from dhl.config.base import Count, Frozen, UserPath, matching
from dhl.config.catalogue import CATALOGUE
from dhl.config.methods import PEERS, TASKS
from dhl.config.networks import Network
from dhl.config.parts import Parts, check_methods
from dhl.config.plugins import (
    FORM,
    check_method_plugins,
    is_reference,
    load_plugin,
    references,
)
from dhl.config.sensitivity import Sensitivity
from dhl.errors import ConfigError, without_secrets
from dhl.sigma import GAUSSIAN

REFERENCE = "reference"  # `results/reference` has the results that the repository keeps


def _as_name(value: Any) -> Any:
    """Accept a whole number as a name: YAML and `--config run=2026` have no other text for it."""
    if isinstance(value, float | bool):
        raise ConfigError(
            "A run's name must be text.",
            came=f"{value}".lower(),
            do="write it in quotes: `run: '1.50'`, or `--config run=\"'1.50'\"` in a shell.",
        )
    return str(value) if isinstance(value, int) else value


class Downloads(Frozen):
    """The sources and the folder of downloaded data sets."""

    root: UserPath | None = Field(
        default=None,
        description="folder of the downloaded data sets; null: $DHL_DATA if set, else `datasets`",
    )
    mirrors: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="addresses or folders to try before the official address, by data set",
    )

    @field_validator("mirrors")
    @classmethod
    def _of_known_sets(cls, mirrors: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in mirrors:
            if name not in CATALOGUE:
                raise ConfigError(
                    f"Unknown data set `{name}` in `downloads.mirrors`.",
                    came=f"`{name}`; known are {', '.join(CATALOGUE)}",
                    do="name one of these.",
                )
        return mirrors

    @field_serializer("mirrors")
    def _without_secrets(self, mirrors: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """Leave out passwords and queries, since every file of a run has its configuration."""
        return {name: tuple(map(without_secrets, sources)) for name, sources in mirrors.items()}


class Evaluation(Frozen):
    """How methods are evaluated."""

    protocol: Literal["authors", "plain"] = Field(
        default="authors",
        description="`authors`: round, clip to 0-255, drop a border of 3 px; `plain`: clip to "
        "[0, 1] only",
    )
    batch: Count = Field(
        default=64, description="images in one forward pass; fewer of large images"
    )


class Statistics(Frozen):
    """Intervals and verdicts."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        default=0.95, description="confidence level of intervals and verdicts"
    )
    least_top1: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5,
        description="accuracy on clean images below which a classifier counts as not trained "
        "enough, so that its comparisons are not tested",
    )
    least_miou: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.3, description="the same for a segmenter and its mIoU"
    )


class Config(Frozen):
    """The whole configuration of a run."""

    run: Annotated[
        str,
        BeforeValidator(_as_name),
        matching(
            rf"(?!{REFERENCE}$)[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}",
            mistake="A run's name must be a letter or digit, then letters, digits, `.`, `_`, `-`, "
            f"at most 100 in all, and not `{REFERENCE}`.",
            do="write a name such as `my-run`: a folder is named after it.",
        ),
    ] = Field(description="name of the run, and of its folder in `results/`")
    base_seed: Annotated[int, Field(ge=0, le=10**18)] = Field(
        description="seed of every random draw"
    )
    seeds: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1,
        description="number of trainings of every denoiser and retrained network, with different "
        "batches, noise and initial weights; test images and their noise are the same",
    )
    task_seeds: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1,
        description="number of trainings of each task network that the run trains; every denoiser "
        "that depends on one is trained with each of them, `seeds` times",
    )
    device: Annotated[
        str,
        matching(
            r"auto|cpu|mps|cuda(:\d+)?",
            mistake="Unknown device.",
            do="write `auto`, `cpu`, `mps`, `cuda`, or one GPU such as `cuda:1`.",
        ),
    ] = Field(
        default="auto",
        description="where networks run: `auto` (a GPU if there is one), `cpu`, `mps`, `cuda`, "
        "or one GPU such as `cuda:1`",
        examples=["auto", "cpu", "mps", "cuda", "cuda:1"],
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="number format of training; `auto`: bfloat16 if the hardware supports it",
    )
    threads: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1, description="CPU threads of one job"
    )
    workers: Annotated[int, Field(ge=0, le=1024)] = Field(
        default=0, description="number of processes that decode images for one training"
    )
    jobs_per_gpu: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="jobs that share one GPU"
    )
    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0,
        description="how often a failed training, untrained method or evaluation is repeated "
        "before the run goes on without its result",
    )
    compile: bool = Field(
        default=False, description="whether training steps are compiled with `torch.compile`"
    )
    noise: str = Field(
        default=GAUSSIAN, description="`gaussian`, or a plug-in as path/to/file.py:function"
    )
    downloads: Downloads = Field(default=Downloads(), description="where data sets come from")
    parts: Parts = Field(description="the parts of the paper to run")
    plugin_methods: dict[str, str] = Field(
        default_factory=dict,
        description="plug-in methods by the name of their row; filled from the lists of methods",
    )
    evaluation: Evaluation = Field(default=Evaluation(), description="how methods are evaluated")
    sensitivity: Sensitivity | None = Field(
        default=None, description="experiments beyond the paper; null: none"
    )
    statistics: Statistics = Field(default=Statistics(), description="intervals and verdicts")

    def task_networks(self, task: str) -> tuple[Network, ...]:
        """Return the task network of a task, and the further ones of `sensitivity`."""
        others = self.sensitivity.others(task).values() if self.sensitivity else ()
        return (self.parts[task].task_network, *others)

    def stand_in(self, method: str) -> str:
        """Return the network that stands in the row of another one, such as DnCNN; else ""."""
        if method not in PEER_NETWORKS:
            return ""
        name = getattr(self.parts.denoising, method).name
        return "" if name in PEER_NETWORKS[method] else name

    @property
    def plugins(self) -> tuple[str, ...]:
        """References to all plug-ins, each once."""
        tasks = [task for task in TASKS if task in self.parts]
        denoising = self.parts.denoising
        networks = [denoising.denoiser, *(getattr(denoising, peer) for peer in PEERS)]
        networks += [network for task in tasks for network in self.task_networks(task)]
        data = [self.parts[part].data.kind for part in self.parts]
        names = (*self.plugin_methods.values(), self.noise, *(one.name for one in networks), *data)
        return tuple(dict.fromkeys(references(*names)))

    @field_validator("noise")
    @classmethod
    def _known_noise(cls, noise: str) -> str:
        if is_reference(noise):
            load_plugin(noise).check_call("clean", keywords=("noise_std", "generator"))
        elif noise != GAUSSIAN:
            raise ConfigError(
                f"Unknown noise `{noise}`.",
                came=f"`{noise}`",
                do=f"write `{GAUSSIAN}`, or a plug-in as {FORM}.",
            )
        return noise

    @model_validator(mode="after")
    def _known_methods(self) -> Config:
        used = {name for part in self.parts for name in self.parts[part].methods}
        check_method_plugins(self.plugin_methods, used)
        check_methods(self.parts, self.plugin_methods)
        return self
