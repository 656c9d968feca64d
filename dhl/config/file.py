"""Reading a configuration file; a mistake in it is one message that says what to write."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dhl.config import Config
from dhl.config.base import Frozen
from dhl.config.data import KINDS
from dhl.config.presets import expand_preset
from dhl.errors import UserError
from dhl.own import FORM


def parse_config(content: dict[str, Any], *, source: str) -> Config:
    """Check a configuration and return it, frozen; a preset of its training is expanded.

    Parameters
    ----------
    content : dict
        As read from YAML.
    source : str
        The file's name, for messages.

    Raises
    ------
    UserError
        With the full path of the first wrong key, its value, and what is legal.
    """
    content = expand_preset(content, source=source)
    try:
        return Config.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        raise _explain(error, source) from None


def load_config(path: str | Path) -> Config:
    """Read and check a configuration file.

    Raises
    ------
    UserError
        If the file is missing, is not YAML, or breaks a rule.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(
            "a configuration is a YAML file.",
            came=f"no file {path} ({error.strerror})",
            do="name one of config/*.yaml with --configfile.",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            "a configuration is a YAML file.",
            came=f"{path}: {str(error).replace(chr(10), ' ')}",
            do="mend the syntax; config/mini.yaml is a complete example.",
        ) from None
    if not isinstance(content, dict):
        raise UserError(
            "a configuration is a mapping of keys to values.",
            came=f"{path} holds {type(content).__name__}",
            do="start from a copy of config/mini.yaml.",
        )
    return parse_config(content, source=str(path))


def _explain(error: ValidationError, source: str) -> UserError:
    """Turn pydantic's list of problems into one message for a person."""
    # A misspelt key first: it explains the missing one.
    items = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    problems = [_problem(item) for item in items]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    rule, came, do = problems[0]
    return UserError(rule, came=f"{came} in {source}{more}", do=do)


def _problem(item: dict[str, Any]) -> tuple[str, str, str]:
    """Say rule, finding and remedy of one of pydantic's problems."""
    # Pydantic names the kind of data in a key path as if it were a key.
    place = [str(key) for key in item["loc"] if key not in KINDS]
    path = ".".join(place) or "the whole configuration"
    if isinstance(mistake := item.get("ctx", {}).get("error"), UserError):
        return mistake.rule, f"{mistake.came}, `{path}`", mistake.do
    if item["type"] == "extra_forbidden":
        legal = _legal_keys(item["loc"][:-1])
        close = difflib.get_close_matches(place[-1], legal, n=1)
        hint = f"write `{close[0]}`" if close else f"use one of {', '.join(legal)}"
        return "every key of the configuration is known.", f"unknown key `{path}`", f"{hint}."
    if item["type"] == "missing":
        return "a required key is given.", f"no `{path}`", "add it; config/mini.yaml shows how."
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{message}.", f"`{path}`", "mend the value."
    value = json.dumps(item["input"], default=str)
    own = f", or your own code ({FORM})" if item["type"] == "union_tag_invalid" else ""
    return (
        f"`{path}`: {message[0].lower()}{message[1:]}{own}.",
        f"{value if len(value) < 80 else value[:77] + '...'}",
        f"give `{path}` a legal value.",
    )


def _legal_keys(place: tuple[int | str, ...]) -> list[str]:
    """List the keys that the model at a key path knows."""
    node: Any = Config
    for key in place:
        if key in KINDS:
            node = KINDS[key]
            continue
        field = node.model_fields.get(key) if node is not None else None
        node = _model_in(field.annotation) if field else None
    presets = ["preset"] if place == ("training",) else []
    return presets + (list(node.model_fields) if node is not None else [])


def _model_in(annotation: Any) -> type[Frozen] | None:
    """Find the first model inside an annotation such as `Recipe | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _model_in(inner):
            return found
    return None
