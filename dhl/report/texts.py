"""The texts of the report in YAML files, which are Jinja templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import yaml

from dhl.errors import UserError


def read_yaml(path: Path) -> Any:
    """Read one of the YAML files beside the templates; `UserError` if it is missing or no YAML."""
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (FileNotFoundError, yaml.YAMLError) as error:
        raise UserError(
            f"The texts of the report in {path} cannot be read.",
            came=str(error).replace("\n", " "),
            do="restore the file from the repository, or name its folder with `templates`.",
        ) from None


def fill_in(text: str, values: dict[str, Any]) -> str:
    """Fill values into a text; `UserError` for an unknown key."""
    try:
        return " ".join(_JINJA.from_string(text).render(values).split())
    except jinja2.TemplateError as error:
        raise UserError(
            "A text of the report has an unknown key or is no Jinja template.",
            came=f"`{text}`: {error}",
            do="correct the text in report/*.yaml.",
        ) from None


def _plain(value: Any) -> Any:
    """Format a value for a sentence."""
    if isinstance(value, list):
        return ", ".join(str(_plain(one)) for one in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else value


_JINJA = jinja2.Environment(undefined=jinja2.StrictUndefined, finalize=_plain)
