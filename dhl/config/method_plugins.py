"""Plug-in methods in the lists of methods: each row is named after its function."""

from __future__ import annotations

import re
from typing import Any

from dhl.config.methods import NOT_METHODS, PARTS
from dhl.config.parts import Parts
from dhl.config.plugins import PluginError, is_reference, load_plugin
from dhl.errors import ConfigError


def name_method_plugins(content: Any) -> Any:
    """Replace references to plug-ins in the lists of methods by the names of their rows.

    Parameters
    ----------
    content : dict
        A configuration as read from YAML; anything else is returned as it is.

    Returns
    -------
    dict
        With `plugin_methods`, from the name of a row to the reference.
    """
    if not isinstance(content, dict) or not isinstance(content.get("parts"), dict):
        return content
    given = content.get("plugin_methods", {})
    plugins = dict(given) if isinstance(given, dict) else {}
    parts = dict(content["parts"])
    for part in PARTS:
        if isinstance(parts.get(part), dict) and isinstance(parts[part].get("methods"), list):
            names = tuple(_row(name, plugins) for name in parts[part]["methods"])
            parts[part] = parts[part] | {"methods": names}
    return content | {
        "parts": parts,
        "plugin_methods": plugins if isinstance(given, dict) else given,
    }


def check_method_plugins(plugins: dict[str, str], parts: Parts) -> None:
    """Check the signatures and names of the plug-in methods.

    Raises
    ------
    ConfigError
        If a plug-in cannot be called as a method, or its row has an illegal or unused name.
    """
    used = {name for part in parts for name in parts[part].methods}
    for name, reference in plugins.items():
        function = load_plugin(reference)
        function.check_call("noisy", keywords=("sigma",))
        if name != row_name(function.name):
            raise ConfigError(
                f"The plug-in method `{name}` is not named after its function.",
                came=f"`plugin_methods.{name}`, and the function `{function.name}`",
                do=f"name it `{row_name(function.name)}`.",
            )
        if name not in used:
            raise ConfigError(
                f"The plug-in method `{name}` is in no list of methods.",
                came=f"`plugin_methods.{name}`",
                do="add it to a list, or remove it.",
            )
        if name in NOT_METHODS or not re.fullmatch("[A-Za-z][A-Za-z0-9-]*", name):
            raise PluginError(
                f"A plug-in method cannot be named `{name}`.",
                came=f"`{reference}`",
                do="give the function another name, of ASCII letters, digits and underscores.",
            )


def row_name(function: str) -> str:
    """Return the name of a plug-in's row: safe in paths and on pages."""
    return function.replace("_", "-")


def _row(name: Any, plugins: dict[str, str]) -> Any:
    """Replace a reference by the name of its row, and record the reference."""
    if not (isinstance(name, str) and is_reference(name)):
        return name
    row = row_name(load_plugin(name).name)
    if plugins.setdefault(row, name) != name:
        raise PluginError(
            f"Two plug-in methods are named `{row}`.",
            came=f"`{plugins[row]}` and `{name}`",
            do="give one of the functions another name.",
        )
    return row
