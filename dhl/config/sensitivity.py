"""Experiments beyond the paper: other task weights, wrong noise levels, other task networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from dhl.config.base import Frozen, Sigma, spelt
from dhl.config.networks import Network, check_network
from dhl.errors import ConfigError

# The denoisers that are tested on noise of other levels.
MISMATCHED = {
    "denoising": ("separate", "dncnn"),
    "classification": ("separate-matched", "joint"),
    "segmentation": ("separate-matched", "joint"),
}

Factor = Annotated[float, Field(ge=1e-4, le=1e5)]
Label = Annotated[
    str,
    spelt(
        r"[a-z][a-z0-9]*",
        mistake="A network's short name needs lower-case letters and digits, a letter first.",
        do="write a name such as `resnet50`.",
    ),
]


class Sensitivity(Frozen):
    """How much the results depend on what the paper fixes."""

    sigma: Sigma = Field(description="noise level at which task weights and networks are varied")
    weight_factors: tuple[Factor, ...] = Field(
        default=(),
        description="multiples of `task_weight` to train joint denoisers with, beside 0 and 1",
    )
    mismatch: tuple[Literal["denoising", "classification", "segmentation"], ...] = Field(
        default=(), description="parts whose denoisers are tested on the part's other sigmas too"
    )
    classifiers: dict[Label, Network] = Field(
        default_factory=dict,
        description="further classifiers by a short name; each reads every denoiser's images and "
        "guides a denoiser of its own",
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
        for factor in factors:
            if float(f"{factor:g}") != factor:
                raise ConfigError(
                    f"The weight factor {factor!r} has more than six digits.",
                    came=f"{factor!r}; factors are part of the names of models",
                    do=f"write {factor:g}.",
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
        """Whether denoisers are trained jointly beyond those of the tables."""
        return bool(self.weight_factors or self.classifiers or self.segmenters)

    def others(self, task: str) -> dict[str, Network]:
        """Return the further task networks of a task, by their short names."""
        return {"classification": self.classifiers, "segmentation": self.segmenters}[task]
