"""Configurations that a test changes."""

from __future__ import annotations

import copy

from dhl.config.schema import Config


def changed(content: dict, path: str, value) -> dict:
    """Return settings with one value changed; `del` takes the key out."""
    content = copy.deepcopy(content)
    *keys, last = path.split(".")
    node = content
    for key in keys:
        node = node[key]
    if value == "del":
        del node[last]
    else:
        node[last] = value
    return content


def with_parts(config: Config, **changes: dict | None) -> Config:
    """Return a configuration with changed parts, not checked; None removes a part."""
    parts = {
        part: None if change is None else config.parts[part].model_copy(update=change)
        for part, change in changes.items()
    }
    return config.model_copy(update={"parts": config.parts.model_copy(update=parts)})
