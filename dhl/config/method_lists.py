"""The rows of the tables, by name; a user's own methods are named after their functions."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, model_validator

from dhl.config.base import Frozen, nearest
from dhl.config.methods import ALLOWED, NOT_METHODS, PARTS
from dhl.config.plugins import FORM, OwnCodeError, is_reference, read
from dhl.errors import ConfigError

MethodNames = Annotated[tuple[str, ...], Field(min_length=1)]


class Methods(Frozen):
    """The rows of each table, in order.

    Attributes
    ----------
    own : dict of str to str
        The user's own denoisers that are not trained here, by the name of their row: that of the
        function, with hyphens. References in the lists are put here and replaced by that name.
    """

    denoising: MethodNames
    classification: MethodNames | None = None
    segmentation: MethodNames | None = None
    own: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _name_own_code(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        given = content.get("own", {})
        own = dict(given) if isinstance(given, dict) else {}
        lists = {part: content[part] for part in PARTS if isinstance(content.get(part), list)}
        named = {part: tuple(_row(name, own) for name in names) for part, names in lists.items()}
        return content | named | {"own": own if isinstance(given, dict) else given}

    @model_validator(mode="after")
    def _own_code_has_names_of_its_own(self) -> Methods:
        used = {name for part in PARTS for name in getattr(self, part) or ()}
        for name, reference in self.own.items():
            function = read(reference)
            function.check_call("noisy", keywords=("sigma",))
            if name != row_name(function.name):
                raise ConfigError(
                    "an own method is called as its function.",
                    came=f"`methods.own.{name}`, and the function `{function.name}`",
                    do=f"call it `{row_name(function.name)}`.",
                )
            if name not in used:
                raise ConfigError(
                    "an own method stands in a list of methods.",
                    came=f"`methods.own.{name}`, which is in none",
                    do="add it to one, or take it out.",
                )
            if name in NOT_METHODS or not re.fullmatch("[A-Za-z][A-Za-z0-9-]*", name):
                raise OwnCodeError(
                    "an own method is called as its function, and as nothing else is.",
                    came=f"`{reference}`, whose row would be called `{name}`",
                    do="give the function another name, of ASCII letters, digits and underscores.",
                )
        return self

    @model_validator(mode="after")
    def _known(self) -> Methods:
        for part in PARTS:
            methods = getattr(self, part) or ()
            for method in methods:
                if method not in (*ALLOWED[part], *self.own):
                    raise ConfigError(
                        f"a method of {part} is one of {', '.join(ALLOWED[part])}, or your own "
                        f"code ({FORM}).",
                        came=f"`{method}` in `methods.{part}`",
                        do=nearest(method, ALLOWED[part]),
                    )
                if methods.count(method) > 1:
                    raise ConfigError(
                        "a method is a row of its table, once.",
                        came=f"`{method}` twice in `methods.{part}`",
                        do="take one of them out.",
                    )
        return self


def row_name(function: str) -> str:
    """Return what the row of an own method is called: safe in paths and on pages."""
    return function.replace("_", "-")


def _row(name: Any, own: dict[str, str]) -> Any:
    """Replace a reference in a list of methods by the name of its row, and note what that means."""
    if not (isinstance(name, str) and is_reference(name)):
        return name
    row = row_name(read(name).name)
    if own.setdefault(row, name) != name:
        raise OwnCodeError(
            "each method has a name of its own: its function's.",
            came=f"`{own[row]}` and `{name}`, whose rows would both be called `{row}`",
            do="give one of the functions another name.",
        )
    return row
