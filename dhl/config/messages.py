"""Messages about mistakes in a configuration: the mistake, what came, what to do."""

from __future__ import annotations

import difflib
import json
from decimal import Decimal, InvalidOperation
from typing import Any, cast, get_args, get_origin

from pydantic import ValidationError

from dhl.config.base import Frozen, nearest
from dhl.config.data import KINDS, SHIPPED
from dhl.config.plugins import FORM
from dhl.config.schema import Config
from dhl.errors import UserError, without_secrets

Item = dict[str, Any]  # one of pydantic's errors


def explain(error: ValidationError, source: str) -> UserError:
    """Turn pydantic's errors in the file `source` into one message for a person."""
    # A misspelt key first: it explains the missing one.
    items = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    found = _explained(cast(Item, items[0]), source)
    more = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
    return UserError(found.mistake, came=f"{found.came}{more}", do=found.do)


def _explained(item: Item, source: str) -> UserError:
    """Explain one error."""
    path = _path(item["loc"])
    if isinstance(mistake := item.get("ctx", {}).get("error"), UserError):
        named = f"`{path}" in f"{mistake.mistake} {mistake.came}"
        where = source if named or not path else f"`{path}` in {source}"
        return UserError(mistake.mistake, came=f"{mistake.came} ({where})", do=mistake.do)
    if item["type"] in ("missing", "union_tag_not_found"):
        key = path if item["type"] == "missing" else f"{path}.kind"
        return UserError(
            f"The key `{key}` is missing in {source}.",
            came="no such key",
            do="add it; config/mini.yaml shows an example.",
        )
    if item["type"] == "extra_forbidden":
        return _unknown_key(item, path, source)
    if item["type"] == "union_tag_invalid":
        return _unknown_kind(item, path, source)
    if item["type"] in _EXPECTED:
        return _wrong_type(item, path, source)
    mistake = f"`{path}` in {source}: {item['msg']}."
    return UserError(
        mistake.replace(": Input should", " must"),
        came=_shown(item["input"]),
        do=f"give `{path}` a valid value.",
    )


def _path(loc: tuple[str | int, ...]) -> str:
    """Join the keys of pydantic's path, without kinds of data and the `[key]` of mappings."""
    keys = zip(loc, (None, *loc), strict=False)
    return ".".join(str(key) for key, above in keys if key != "[key]" and not _is_kind(key, above))


def _is_kind(key: str | int, above: str | int | None) -> bool:
    """Tell whether an element of pydantic's path is a kind of data, and not a key."""
    return above in ("data", SHIPPED) and key in KINDS


def _unknown_key(item: Item, path: str, source: str) -> UserError:
    """Suggest the most similar key, or list all keys."""
    valid = _valid_keys(item["loc"][:-1])
    close = difflib.get_close_matches(str(item["loc"][-1]), valid, n=1)
    return UserError(
        f"Unknown key `{path}` in {source}." + (f" Did you mean `{close[0]}`?" if close else ""),
        came=f"`{item['loc'][-1]}: {_shown(item['input'])}`",
        do=f"write `{close[0]}`." if close else f"use one of {', '.join(valid)}.",
    )


_EXPECTED = {
    "tuple_type": ("a list", "write `[{}]`."),
    "too_short": ("a list of at least one value", "add a value."),
    "dict_type": ("a mapping of keys to values", "write one `key: value` per line{}."),
    "model_type": ("a mapping of keys to values", "write one `key: value` per line{}."),
    "string_type": ("text", "write it in quotes."),
    "bool_type": ("`true` or `false`", "write `true` or `false`."),
    "int_type": ("a whole number", "write a whole number."),
    "float_type": ("a number", "write a number."),
}


def _wrong_type(item: Item, path: str, source: str) -> UserError:
    """Name the expected type, and show how to write the value."""
    kind, shown = item["type"], _shown(item["input"])
    expected, do = _EXPECTED[kind]
    keys = ", ".join(_valid_keys(item["loc"]))
    do = do.format(shown if kind == "tuple_type" else keys and f"; keys are {keys}")
    if kind in ("int_type", "float_type"):
        do = _numeral(item["input"], whole=kind == "int_type") or do
    return UserError(f"`{path}` in {source} must be {expected}.", came=shown, do=do)


def _numeral(text: Any, *, whole: bool) -> str | None:
    """Say how to write a number: YAML 1.1 reads `1e-3`, which has no point, as text."""
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


def _unknown_kind(item: Item, path: str, source: str) -> UserError:
    """List the known kinds of data, and suggest the most similar one."""
    kind, valid = item["ctx"]["tag"], item["ctx"]["expected_tags"].replace("'", "").split(", ")
    otherwise = "name one of them; docs/data.md explains each."
    return UserError(
        f"Unknown kind of data `{kind}` in {source}.",
        came=f"`{path}.kind: {kind}`; known are {', '.join(valid)}, and a plug-in as {FORM}",
        do=nearest(kind, valid, otherwise=otherwise, cutoff=0.8),
    )


def _shown(value: Any) -> str:
    """Write a value in at most 80 characters."""
    text = without_secrets(json.dumps(value, default=str))
    return text if len(text) < 80 else f"{text[:77]}..."


def _valid_keys(location: tuple[int | str, ...]) -> list[str]:
    """List the valid keys at a key path."""
    kind: Any = Config
    for key, above in zip(location, (None, *location), strict=False):
        if _is_kind(key, above):
            kind = KINDS[str(key)]
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            model = _model_in(kind)
            kind = model.model_fields[str(key)].annotation if model else None
    model = None if get_origin(kind) is dict else _model_in(kind)
    presets = ["preset"] if location == () else []
    return presets + (list(model.model_fields) if model else [])


def _model_in(annotation: Any) -> type[Frozen] | None:
    """Find the first model inside an annotation such as `Recipe | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _model_in(inner):
            return found
    return None
