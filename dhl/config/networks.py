"""The networks of a run, by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dhl.config.architectures import NETWORKS, entry_of
from dhl.config.base import Count, Frozen, Place, nearest
from dhl.config.plugins import FORM, is_reference, read
from dhl.errors import ConfigError

# What `options` may not say again.
_RESERVED = ("role", "name", "classes", "width", "depth", "weights", "input")


class Network(Frozen):
    """A network by name; what is left out is the builder's own default.

    Attributes
    ----------
    name : str
        A key of `architectures.NETWORKS`, or the user's own code: a function that builds it.
    width : int or None
        Channels of its first layer.
    depth : int or None
        Number of convolutions.
    weights : str or None
        Of a task network: `imagenet` starts it from torchvision's published weights, a path from a
        file of such weights; None from fresh ones. A classifier with weights and without a recipe
        in `training.task` is used as it is.
    input : {"unit", "authors"}
        What the network's first layer reads: `unit` is the network's own normalisation of [0, 1];
        `authors` is BGR on 0-255 minus (104, 117, 123), for weights imported from Caffe.
    options : dict
        Further arguments of the user's own function.
    """

    name: str
    width: Count | None = None
    depth: Annotated[int, Field(ge=3)] | None = None
    weights: Place | None = None
    input: Literal["unit", "authors"] = "unit"
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _readable(cls, name: str) -> str:
        if is_reference(name):
            read(name)
        return name

    @field_validator("options")
    @classmethod
    def _not_said_twice(cls, options: dict[str, Any]) -> dict[str, Any]:
        if twice := [name for name in options if name in _RESERVED]:
            raise ConfigError(
                "`options` are arguments of your own function that no other key sets.",
                came=f"`{twice[0]}` in `options`",
                do=f"take it out, or write `{twice[0]}` beside `options` if it is a key there.",
            )
        return options

    def builder_options(self) -> dict[str, Any]:
        """Return the options that the builder is called with: those that are not its defaults."""
        known = {"width": self.width, "depth": self.depth}
        known["input"] = None if self.input == "unit" else self.input
        return {k: value for k, value in known.items() if value is not None} | self.options


class Networks(Frozen):
    """The networks of a run; the defaults are the paper's denoiser and DnCNN at full size."""

    denoiser: Network = Network(name="released", width=64)
    dncnn: Network = Network(name="dncnn", width=64, depth=17)
    classifier: Network = Network(name="small-vgg", width=32)
    segmenter: Network = Network(name="small-largefov", width=32)

    @model_validator(mode="after")
    def _known(self) -> Networks:
        for place in type(self).model_fields:
            role = "denoiser" if place == "dncnn" else place
            check_network(getattr(self, place), role, place=f"networks.{place}")
        return self


def check_network(network: Network, role: str, *, place: str) -> None:
    """Check that a network of this role exists and takes the options that it is given.

    Parameters
    ----------
    network : Network
    role : {"denoiser", "classifier", "segmenter"}
    place : str
        Where in the configuration it stands, for the message.

    Raises
    ------
    ConfigError
        If not.
    """
    if is_reference(network.name):
        _check_own(network, role, place=place)
        return
    known = NETWORKS[role]
    if network.name not in known:
        raise ConfigError(
            f"a {role} is one of {', '.join(known)}, or your own code ({FORM}).",
            came=f"`{place}.name: {network.name}`",
            do=nearest(network.name, known),
        )
    options = [*network.builder_options(), *(["weights"] if network.weights else [])]
    for option in options:
        if option not in known[network.name].takes:
            takers = [name for name, entry in known.items() if option in entry.takes]
            others = f"; it belongs to `{'`, `'.join(takers)}`" if takers else ""
            raise ConfigError(
                "a network has options of its own alone.",
                came=f"`{place}.{option}`, which is no option of `{network.name}`{others}",
                do=f"take `{option}` out, or name another network.",
            )


def _check_own(network: Network, role: str, *, place: str) -> None:
    """Check that a user's function takes what the configuration says of its network."""
    if network.weights and ("weights" not in entry_of(role, network.name).takes):
        raise ConfigError(
            "weights are given to task networks, not to denoisers.",
            came=f"`{place}.weights: {network.weights}`",
            do="take it out; `training.warm_start` has what a denoiser starts from.",
        )
    if network.weights == "imagenet":
        raise ConfigError(
            "the weights of your own network are in a file.",
            came=f"`{place}.weights: imagenet`",
            do="write the path of the file.",
        )
    keywords = () if role == "denoiser" else ("classes",)
    read(network.name).check_call(keywords=keywords, options=network.builder_options())
