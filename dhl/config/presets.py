"""Shipped training recipes that a configuration may start from: `preset: authors`."""

from __future__ import annotations

from typing import Any

import yaml

from dhl.config.base import nearest
from dhl.errors import UserError
from dhl.files import project_file


def expand_preset(content: dict[str, Any], *, source: str) -> dict[str, Any]:
    """Replace `preset` by its recipes; the configuration's keys are merged over them.

    Recipes of parts that the configuration does not have are left out. `source` is the file's name,
    for messages.
    """
    if "preset" not in content:
        return content
    content = dict(content)
    base = _read(content.pop("preset"), source)
    parts = content.get("parts")
    if not isinstance(parts, dict):
        return content
    recipes = {part: base["parts"][part] for part in base["parts"] if parts.get(part) is not None}
    return merge({"parts": recipes}, content)


def _read(name: Any, source: str) -> dict[str, Any]:
    """Read a preset, which may itself start from another one."""
    presets = project_file("config/presets")
    legal = sorted(path.stem for path in presets.glob("*.yaml"))
    if name not in legal:
        raise UserError(
            f"Unknown preset `{name}` in {source}.",
            came=f"`{name}`; known are {', '.join(legal)}",
            do=nearest(str(name), legal),
        )
    content = yaml.safe_load((presets / f"{name}.yaml").read_text("utf-8"))
    if "preset" not in content:
        return content
    return merge(_read(content.pop("preset"), source), content)


def merge(base: Any, over: Any) -> Any:
    """Merge mappings key by key; `over` wins.

    A mapping with another `name` replaces the base's entirely: AdamW has no use for SGD's momentum.
    """
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if "name" in over and over["name"] != base.get("name"):
        return over
    return base | {key: merge(base.get(key), value) for key, value in over.items()}
