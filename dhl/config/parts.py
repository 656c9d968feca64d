"""The parts of the paper, one for each table: data, sigmas, methods, networks, training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from dhl.config.base import Frozen, Sigma, UserPath, matching, nearest
from dhl.config.data import ClassificationData, DenoisingData, SegmentationData, check_classes
from dhl.config.data_sets import Folder
from dhl.config.methods import ALLOWED, METHODS, PARTS, PEERS, TASK_NETWORKS, TASKS
from dhl.config.networks import Network, check_network
from dhl.config.recipes import DenoisingTraining, TaskTraining
from dhl.errors import ConfigError

Grid = Annotated[tuple[Sigma, ...], Field(min_length=1, max_length=100)]
MethodName = Annotated[str, Field(examples=list(METHODS))]
MethodNames = Annotated[tuple[MethodName, ...], Field(min_length=1)]
TestSetName = Annotated[
    str,
    matching(
        "[a-z][a-z0-9]{0,29}",
        mistake="The name of a test set must be a letter, then letters or digits, all small.",
        do="write a name such as `mine`.",
    ),
]
ShardCount = Annotated[int, Field(ge=1, le=400)]


class Part(Frozen):
    """The keys that every part has."""

    sigmas: Grid = Field(description="noise levels on the 0-255 scale")
    methods: MethodNames = Field(description="rows of the table, in order")
    shards: ShardCount = Field(
        default=1,
        description="number of jobs that share the images of an untrained method, such as CBM3D, "
        "at one sigma; an interrupted job repeats only its share",
    )

    @field_validator("sigmas", mode="before")
    @classmethod
    def _on_the_255_scale(cls, value: Any) -> Any:
        for sigma in value if isinstance(value, list) else []:
            if isinstance(sigma, int | float) and not 1 <= sigma <= 255:
                shown = str(sigma)[:40]
                raise ConfigError(
                    f"Sigma {shown} is not on the 0-255 scale.",
                    came=f"{shown}, where 1 to 255 is valid",
                    do="multiply a standard deviation on [0, 1] by 255.",
                )
        return tuple(value) if isinstance(value, list) else value

    @field_validator("sigmas")
    @classmethod
    def _each_once(cls, sigmas: tuple[float, ...]) -> tuple[float, ...]:
        if twice := [sigma for sigma in sigmas if sigmas.count(sigma) > 1]:
            raise ConfigError(
                f"Sigma {twice[0]:g} is listed twice.",
                came=", ".join(f"{sigma:g}" for sigma in sigmas),
                do="remove one of them.",
            )
        return sigmas


class DenoisingPart(Part):
    """Table 1: quality of the denoised images, such as PSNR."""

    data: DenoisingData = Field(description="images for training denoisers, and for measuring PSNR")
    denoiser: Network = Field(
        default=Network(name="released", width=64), description="the paper's denoiser"
    )
    dncnn: Network = Field(
        default=Network(name="dncnn", width=64, depth=17), description="DnCNN, for comparison"
    )
    tnrd: Network = Field(default=Network(name="tnrd"), description="TNRD, for comparison")
    training: DenoisingTraining = Field(description="recipes of the denoisers trained for MSE")
    test_sets: dict[TestSetName, UserPath] = Field(
        default_factory=dict,
        description="further sets of test images, by name; each is a folder or a download, as "
        "`data.test`, and has a table of its own",
    )


class ClassificationPart(Part):
    """Table 2: accuracy and cross-entropy of the classifier behind each denoiser."""

    data: ClassificationData = Field(description="images with one class each")
    task_network: Network = Field(
        default=Network(name="small-vgg", width=32), description="the frozen classifier"
    )
    training: TaskTraining = Field(
        default=TaskTraining(), description="recipes of the classifier and of joint training"
    )


class SegmentationPart(Part):
    """Table 3: mIoU and cross-entropy of the segmenter behind each denoiser."""

    data: SegmentationData = Field(description="images with label maps")
    task_network: Network = Field(
        default=Network(name="small-largefov", width=32), description="the frozen segmenter"
    )
    training: TaskTraining = Field(
        default=TaskTraining(), description="recipes of the segmenter and of joint training"
    )


TaskPart = ClassificationPart | SegmentationPart


class Parts(Frozen):
    """The parts of a run by name; a part that is left out is not run.

    A mapping from the names of the configured parts, in the order of the paper's tables. A further
    test set `mine` is the part `denoising-mine`: that of denoising, with other test images. It is
    evaluated like the others, but no model is trained for it.
    """

    denoising: DenoisingPart = Field(description="Table 1")
    classification: ClassificationPart | None = Field(default=None, description="Table 2")
    segmentation: SegmentationPart | None = Field(default=None, description="Table 3")

    @property
    def of_paper(self) -> tuple[str, ...]:
        """The configured parts without the further test sets."""
        return tuple(part for part in PARTS if getattr(self, part) is not None)

    @cached_property
    def _further(self) -> dict[str, DenoisingPart]:
        """The parts of the further test sets."""
        part = self.denoising
        of_own = part.data if isinstance(part.data, Folder) else None
        trained, groups = (of_own.train, of_own.groups) if of_own else (None, None)
        return {
            f"denoising-{name}": part.model_copy(
                update={
                    "data": Folder(
                        kind="folder", name=name, train=trained, test=folder, groups=groups
                    ),
                    "test_sets": {},
                }
            )
            for name, folder in part.test_sets.items()
        }

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        first, *others = self.of_paper
        return iter((first, *self._further, *others))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, part: object) -> bool:
        return part in tuple(self)

    def __getitem__(self, part: str) -> Any:
        if part not in self:
            raise KeyError(part)
        return self._further[part] if part in self._further else getattr(self, part)

    @model_validator(mode="after")
    def _known_networks_and_classes(self) -> Parts:
        denoising = self.denoising
        check_network(denoising.denoiser, "denoiser", place="parts.denoising.denoiser")
        for peer in PEERS:
            check_network(getattr(denoising, peer), "denoiser", place=f"parts.denoising.{peer}")
        _ = self._further  # checks their folders
        for part in self.of_paper:
            check_classes(self[part].data, part)
            if part in TASKS:
                place = f"parts.{part}.task_network"
                check_network(self[part].task_network, TASK_NETWORKS[part], place=place)
        return self


def check_methods(parts: Parts, plugins: dict[str, str]) -> None:
    """Check that a part lists only its table's methods and `plugins` (by row), each once."""
    for part in parts.of_paper:
        methods = parts[part].methods
        for method in methods:
            if method not in (*ALLOWED[part], *plugins):
                raise ConfigError(
                    f"Unknown method `{method}` in `parts.{part}.methods`.",
                    came=f"`{method}`; known are {', '.join((*ALLOWED[part], *plugins))}, and a "
                    "plug-in as path/to/file.py:function",
                    do=nearest(method, ALLOWED[part]),
                )
            if methods.count(method) > 1:
                raise ConfigError(
                    f"Method `{method}` is listed twice in `parts.{part}.methods`.",
                    came=", ".join(methods),
                    do="remove one of them.",
                )
