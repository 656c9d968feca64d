"""The networks of a run, by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from dhl.config.architectures import NETWORKS, PUBLISHED, entry_of
from dhl.config.base import Frozen, UserPath, nearest
from dhl.config.plugins import FORM, is_reference, load_plugin
from dhl.errors import ConfigError

# Keys that `options` must not repeat.
_RESERVED = ("role", "name", "classes", "width", "depth", "weights", "input")


class Network(Frozen):
    """A network by name; an omitted option has the builder's default."""

    name: str = Field(
        description="a name from docs/networks.md, or a plug-in as path/to/file.py:function",
        examples=[name for names in NETWORKS.values() for name in names],
    )
    width: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        default=None, description="channels of the first layer"
    )
    depth: Annotated[int, Field(ge=3, le=1000)] | None = Field(
        default=None, description="number of convolutions"
    )
    weights: UserPath | None = Field(
        default=None,
        description="published weights: `imagenet` for a task network, `published` for a denoiser, "
        "or the path of a file, in which `{sigma}` is the noise level; null: random weights. A "
        "classifier or denoiser with weights and without a recipe is not trained",
    )
    input: Literal["unit", "authors"] = Field(
        default="unit",
        description="scale of a denoiser's first layer; `authors`: BGR on 0-255 minus "
        "(104, 117, 123), for weights imported from Caffe",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="further arguments of a plug-in's function"
    )

    @field_validator("name")
    @classmethod
    def _readable(cls, name: str) -> str:
        if is_reference(name):
            load_plugin(name)
        return name

    @field_validator("options")
    @classmethod
    def _not_given_twice(cls, options: dict[str, Any]) -> dict[str, Any]:
        if "sigma" in options:
            raise ConfigError(
                "`sigma` is not an option of a plug-in: the run passes the noise level.",
                came="`sigma` in `options`",
                do="remove it; a denoiser's function with a parameter `sigma` gets the sigma of "
                "each model.",
            )
        if twice := [name for name in options if name in _RESERVED]:
            raise ConfigError(
                f"`{twice[0]}` is not an option of a plug-in.",
                came=f"`{twice[0]}` in `options`",
                do=f"remove it, or write `{twice[0]}` beside `options` if it is a key there.",
            )
        return options

    def builder_options(self) -> dict[str, Any]:
        """Return the arguments of the builder: the options that are set."""
        known: dict[str, Any] = {"width": self.width, "depth": self.depth}
        known["input"] = None if self.input == "unit" else self.input
        return {k: value for k, value in known.items() if value is not None} | self.options


def check_network(network: Network, role: str, *, place: str) -> None:
    """Check that a network of this role exists and accepts its options; `place` is its key path."""
    if is_reference(network.name):
        _check_plugin(network, role, place=place)
        return
    known = NETWORKS[role]
    if network.name not in known:
        raise ConfigError(
            f"Unknown {role} `{network.name}` in `{place}.name`.",
            came=f"`{network.name}`; known are {', '.join(known)}, and a plug-in as {FORM}",
            do=nearest(network.name, known),
        )
    weights = {"weights": network.weights} if network.weights else {}
    for option, value in (network.builder_options() | weights).items():
        if option not in known[network.name].takes:
            takers = [name for name, entry in known.items() if option in entry.takes]
            others = f"; it belongs to `{'`, `'.join(takers)}`" if takers else ""
            raise ConfigError(
                f"The network `{network.name}` has no option `{option}`.",
                came=f"`{place}.{option}: {value}`{others}",
                do=f"remove `{option}`, or name another network.",
            )
    _check_word(network, role, place=place)
    widest = known[network.name].widest
    if widest is not None and (network.width or 0) > widest:
        raise ConfigError(
            f"The network `{network.name}` is at most {widest} wide.",
            came=f"`{place}.width: {network.width}`",
            do=f"write `width: {widest}`, or less.",
        )


def _check_word(network: Network, role: str, *, place: str) -> None:
    """Check that a word in place of a file of weights is that of the role, and stands for some."""
    entry, word = entry_of(role, network.name), PUBLISHED[role]
    words = set(PUBLISHED.values()) if role == "denoiser" else {word}
    if network.weights in words and (network.weights != word or not entry.pretrained):
        raise ConfigError(
            f"`{network.name}` has no weights `{network.weights}`.",
            came=f"`{place}.weights: {network.weights}`",
            do=f"write `{word}` or the path of a file."
            if entry.pretrained
            else "write the path of a file, or remove `weights`.",
        )
    if network.weights == word and entry.published_depth not in (None, network.depth):
        depth = "no depth" if network.depth is None else f"`depth: {network.depth}`"
        raise ConfigError(
            f"The published weights of `{network.name}` have depth {entry.published_depth}.",
            came=f"`{place}.weights: {network.weights}`, and {depth}",
            do=f"write `depth: {entry.published_depth}`, or remove `weights`.",
        )


def _check_plugin(network: Network, role: str, *, place: str) -> None:
    """Check that a plug-in accepts the options of its network."""
    _check_word(network, role, place=place)
    keywords: tuple[str, ...] = ("classes",)
    if role == "denoiser":
        keywords = ("sigma",) if entry_of(role, network.name).of_one_sigma else ()
    load_plugin(network.name).check_call(keywords=keywords, options=network.builder_options())
