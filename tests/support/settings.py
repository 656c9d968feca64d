"""Configurations that a test changes."""

from __future__ import annotations

import copy


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
