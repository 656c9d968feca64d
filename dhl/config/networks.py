"""The networks of a run, by name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhl.config.base import Count, Frozen
from dhl.models import NETWORKS


class Network(Frozen):
    """A network by name; what is left out is the builder's own default.

    Attributes
    ----------
    name : str
        A key of `dhl.models.NETWORKS`.
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
    """

    name: str
    width: Count | None = None
    depth: Annotated[int, Field(ge=3)] | None = None
    weights: str | None = None
    input: Literal["unit", "authors"] = "unit"

    def builder_options(self) -> dict[str, int | str]:
        """Return the options that the builder is called with: those that are not its defaults."""
        options = {"width": self.width, "depth": self.depth}
        options["input"] = None if self.input == "unit" else self.input
        return {name: value for name, value in options.items() if value is not None}


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
    ValueError
        If not.
    """
    known = NETWORKS[role]
    if network.name not in known:
        raise ValueError(f"`{place}.name` is one of {', '.join(known)}, but not `{network.name}`")
    options = [*network.builder_options(), *(["weights"] if network.weights else [])]
    for option in options:
        if option not in known[network.name].takes:
            takers = [name for name, entry in known.items() if option in entry.takes]
            others = f"; it belongs to `{'`, `'.join(takers)}`" if takers else ""
            raise ValueError(f"`{place}.{option}` is no option of `{network.name}`{others}")
