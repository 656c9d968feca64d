"""What is asked beyond the paper: other weights, wrong noise levels, other task networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from dhl.config.base import Frozen, Sigma, spelt
from dhl.config.networks import Network, check_network
from dhl.errors import ConfigError

# The denoisers that are met with other noise: the learned peers, and a guided one with its control.
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
        rule="the short name of a network has lower-case letters and digits, a letter first.",
        do="write it so, such as `resnet50`.",
    ),
]


class Sensitivity(Frozen):
    """How much the results hang on what the paper fixes.

    Attributes
    ----------
    sigma : float
        Where weights and task networks are varied, on the 0-255 scale.
    weight_factors : tuple of float
        Joint denoisers are also trained with these multiples of their recipe's `task_weight`. The
        recipe's own weight and none at all, `joint` and `separate-matched`, always stand beside.
    mismatch : tuple of str
        Parts whose denoisers are also measured on the noise of the part's other sigmas.
    classifiers, segmenters : dict of str to Network
        Further task networks by a short name. Each is trained by its task's recipe, reads the
        images of every denoiser, and guides a denoiser of its own.
    """

    sigma: Sigma
    weight_factors: tuple[Factor, ...] = ()
    mismatch: tuple[Literal["denoising", "classification", "segmentation"], ...] = ()
    classifiers: dict[Label, Network] = Field(default_factory=dict)
    segmenters: dict[Label, Network] = Field(default_factory=dict)

    @field_validator("weight_factors")
    @classmethod
    def _other_weights(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        if 1 in factors or len(set(factors)) < len(factors):
            raise ConfigError(
                "weight factors differ, and 1, the recipe's own weight, is always there.",
                came=f"{', '.join(f'{factor:g}' for factor in factors)}",
                do="leave out 1, and what stands there twice.",
            )
        for factor in factors:
            if float(f"{factor:g}") != factor:
                raise ConfigError(
                    "weight factors have six digits at most, which stand in the names of models.",
                    came=f"{factor!r}",
                    do=f"write {factor:g}.",
                )
        return tuple(sorted(factors))

    @field_validator("classifiers", "segmenters")
    @classmethod
    def _known_networks(
        cls, networks: dict[str, Network], field: ValidationInfo
    ) -> dict[str, Network]:
        for label, network in networks.items():
            role = field.field_name.removesuffix("s")
            check_network(network, role, place=f"sensitivity.{field.field_name}.{label}")
        return networks

    @property
    def guides(self) -> bool:
        """Whether denoisers are trained jointly beyond those of the tables."""
        return bool(self.weight_factors or self.classifiers or self.segmenters)

    def others(self, task: str) -> dict[str, Network]:
        """Return the further task networks of a task, by their short names."""
        return {"classification": self.classifiers, "segmentation": self.segmenters}[task]
