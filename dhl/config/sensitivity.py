"""Experiments beyond the paper: other task weights, wrong noise levels, other task networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from dhl.config.base import Frozen, Sigma, matching, six_digits
from dhl.config.networks import Network, check_network
from dhl.errors import ConfigError

# The denoisers that are tested at other noise levels.
MISMATCHED = {
    "denoising": ("separate", "dncnn"),
    "classification": ("separate-matched", "joint"),
    "segmentation": ("separate-matched", "joint"),
}

Factor = Annotated[float, Field(ge=1e-4, le=1e5), AfterValidator(six_digits)]
Label = Annotated[
    str,
    matching(
        r"[a-z][a-z0-9]{0,31}",
        mistake="A network's short name must be up to 32 lower-case letters and digits, a letter "
        "first.",
        do="write a name such as `resnet50`.",
    ),
]


class Sensitivity(Frozen):
    """Experiments that vary choices which the paper fixes."""

    sigma: Sigma = Field(description="noise level at which task weights and networks are varied")
    weight_factors: tuple[Factor, ...] = Field(
        default=(),
        description="factors of `task_weight` to train joint denoisers with, besides 0 and 1",
    )
    mismatch: tuple[Literal["denoising", "classification", "segmentation"], ...] = Field(
        default=(), description="parts whose denoisers are also tested at the part's other sigmas"
    )
    classifiers: dict[Label, Network] = Field(
        default_factory=dict,
        description="further classifiers by a short name; each is tested behind the denoisers at "
        "`sigma`, and one more joint denoiser is trained with its loss",
    )
    segmenters: dict[Label, Network] = Field(
        default_factory=dict, description="further segmenters by a short name"
    )

    @field_validator("weight_factors")
    @classmethod
    def _other_weights(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        listed = ", ".join(f"{factor:g}" for factor in factors)
        if 1 in factors or len(set(factors)) < len(factors):
            raise ConfigError(
                "Weight factors must differ from each other and from 1.",
                came=listed,
                do="remove 1, which is always trained, and repeated factors.",
            )
        return tuple(sorted(factors))

    @field_validator("classifiers", "segmenters")
    @classmethod
    def _known_networks(
        cls, networks: dict[str, Network], field: ValidationInfo
    ) -> dict[str, Network]:
        for label, network in networks.items():
            role = str(field.field_name).removesuffix("s")
            check_network(network, role, place=f"sensitivity.{field.field_name}.{label}")
        return networks

    @property
    def guides(self) -> bool:
        """Whether joint denoisers are trained beyond those of the tables."""
        return bool(self.weight_factors or self.classifiers or self.segmenters)

    def others(self, task: str) -> dict[str, Network]:
        """Return the further task networks of a task, by their short names."""
        return {"classification": self.classifiers, "segmentation": self.segmenters}[task]
