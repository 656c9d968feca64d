"""What is wrong with a configuration, in people's words: the rule, what came, what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from dhl.config.base import Frozen, nearest
from dhl.config.data import KINDS
from dhl.config.plugins import FORM
from dhl.config.schema import Config
from dhl.errors import UserError

Item = dict[str, Any]  # one of pydantic's findings
Words = tuple[str, str, str]  # rule, what came, what to do


def explain(error: ValidationError, source: str) -> UserError:
    """Turn pydantic's list of findings into one message for a person."""
    # A misspelt key first: it explains the missing one.
    items = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    rule, came, do = _words(items[0])
    more = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
    return UserError(rule, came=f"{came} in {source}{more}", do=do)


def _words(item: Item) -> Words:
    """Say what is wrong in one place."""
    # Pydantic names the kind of data, and that it is a key, in a path as if it were a key.
    path = ".".join(str(key) for key in item["loc"] if key not in (*KINDS, "[key]"))
    if isinstance(mistake := item.get("ctx", {}).get("error"), UserError):
        placed = not path or f"`{path}" in mistake.came
        return mistake.mistake, mistake.came if placed else f"{mistake.came}, `{path}`", mistake.do
    if item["type"] in _TRANSLATED:
        return _TRANSLATED[item["type"]](item, path)
    message = item["msg"]
    rule = f"`{path}`: {message[0].lower()}{message[1:]}."
    return rule, _shown(item["input"]), f"give `{path}` a legal value."


def _unknown_key(item: Item, path: str) -> Words:
    """Name the key that may be meant, or all."""
    legal = _legal_keys(item["loc"][:-1])
    do = nearest(str(item["loc"][-1]), legal, otherwise=f"use one of {', '.join(legal)}.")
    return "every key of the configuration is known.", f"unknown key `{path}`", do


def _missing(item: Item, path: str) -> Words:
    """Name the key that is not there."""
    return "a required key is given.", f"no `{path}`", "add it; config/mini.yaml shows how."


def _no_list(item: Item, path: str) -> Words:
    """Show the list that one value may have been meant for."""
    value = _shown(item["input"])
    return f"`{path}` is a list.", value, f"write `[{value}]`, with all that belongs to it."


def _no_mapping(item: Item, path: str) -> Words:
    """Show which keys are expected, where that is known."""
    legal = _legal_keys(item["loc"])
    do = f"write keys below it{': ' if legal else ''}{', '.join(legal)}."
    return f"`{path}` holds keys, each with a value.", _shown(item["input"]), do


def _no_text(item: Item, path: str) -> Words:
    """Show how text is written that YAML took for something else."""
    return f"`{path}` is text.", _shown(item["input"]), "write it in quotes."


def _no_switch(item: Item, path: str) -> Words:
    """Name the two values."""
    return f"`{path}` is on or off.", _shown(item["input"]), "write `true` or `false`."


def _no_number(item: Item, path: str) -> Words:
    """Show how a number is written that YAML took for text."""
    whole = item["type"] == "int_type"
    kind = "a whole number" if whole else "a number"
    do = _numeral(item["input"], whole=whole) or f"write {kind}."
    return f"`{path}` is {kind}.", _shown(item["input"]), do


def _numeral(text: Any, *, whole: bool) -> str | None:
    """Say how YAML 1.1 is given the number that a text means: `1e-3` has no point, so is text."""
    try:
        number = Decimal(text) if isinstance(text, str) else Decimal("nan")
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > 30 or (whole and number % 1):
        return None
    plain = f"{number:f}"
    if whole:
        return f"write {int(number)}: YAML reads {text} as text."
    if "e" not in text.lower():
        return f"write {plain}, without quotes."
    digits, _, exponent = f"{number:e}".partition("e")
    point = "" if "." in digits else ".0"
    return f"write {plain} or {digits}{point}e{exponent}: YAML reads {text} as text."


def _unknown_kind(item: Item, path: str) -> Words:
    """Name the kinds that there are."""
    kind, legal = item["ctx"]["tag"], item["ctx"]["expected_tags"].replace("'", "").split(", ")
    otherwise = "name one of them; docs/data.md says what each is."
    return (
        f"`{path}.kind` is {', '.join(legal)}, or your own code ({FORM}).",
        f"`{kind}`",
        nearest(kind, legal, otherwise=otherwise, cutoff=0.8),
    )


def _no_kind(item: Item, path: str) -> Words:
    """Ask for the kind."""
    return _missing(item, f"{path}.kind")


_TRANSLATED: dict[str, Callable[[Item, str], Words]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "tuple_type": _no_list,
    "dict_type": _no_mapping,
    "model_type": _no_mapping,
    "string_type": _no_text,
    "bool_type": _no_switch,
    "float_type": _no_number,
    "int_type": _no_number,
    "union_tag_invalid": _unknown_kind,
    "union_tag_not_found": _no_kind,
}


def _shown(value: Any) -> str:
    """Write what came, cut short."""
    text = json.dumps(value, default=str)
    return text if len(text) < 80 else f"{text[:77]}..."


def _legal_keys(place: tuple[int | str, ...]) -> list[str]:
    """List the keys that the model at a key path knows."""
    kind: Any = Config
    for key in place:
        if key in KINDS:
            kind = KINDS[key]
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            model = _model_in(kind)
            kind = model.model_fields[key].annotation if model else None
    model = None if get_origin(kind) is dict else _model_in(kind)
    presets = ["preset"] if place == ("training",) else []
    return presets + (list(model.model_fields) if model else [])


def _model_in(annotation: Any) -> type[Frozen] | None:
    """Find the first model inside an annotation such as `Recipe | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _model_in(inner):
            return found
    return None
