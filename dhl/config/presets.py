"""Shipped training recipes, which a configuration may start from: `training: {preset: paper}`."""

from __future__ import annotations

from typing import Any

import yaml

from dhl.errors import UserError
from dhl.files import PROJECT

PRESETS = PROJECT / "config" / "presets"


def expand_preset(content: dict[str, Any], *, source: str) -> dict[str, Any]:
    """Replace `training.preset` by the recipes that it names, the user's own keys merged over them.

    Parameters
    ----------
    content : dict
        A configuration as read from YAML.
    source : str
        The file's name, for messages.

    Raises
    ------
    UserError
        If there is no such preset.
    """
    training = content.get("training")
    if not isinstance(training, dict) or "preset" not in training:
        return content
    return content | {"training": _expanded(training, source)}


def _expanded(training: dict[str, Any], source: str) -> dict[str, Any]:
    """Expand one training section; a preset may itself start from another."""
    if "preset" not in training:
        return training
    name = training["preset"]
    legal = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if name not in legal:
        raise UserError(
            "`training.preset` names one of the shipped recipes.",
            came=f"`{name}` in {source}",
            do=f"write {' or '.join(legal)}, or give the recipes themselves.",
        )
    base = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    own = {key: value for key, value in training.items() if key != "preset"}
    return merge(_expanded(base, source), own)


def merge(base: Any, over: Any) -> Any:
    """Merge mappings key by key, `over` winning.

    A mapping with another `name` replaces the base's whole: momentum does not outlive SGD.
    """
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if "name" in over and over["name"] != base.get("name"):
        return over
    return base | {key: merge(base.get(key), value) for key, value in over.items()}
