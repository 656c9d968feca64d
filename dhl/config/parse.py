"""Reading a configuration file; a mistake in it is one message with the correction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dhl.config.messages import explain
from dhl.config.plugins import name_method_plugins
from dhl.config.presets import expand_preset
from dhl.config.rules import check_rules
from dhl.config.schema import Config
from dhl.errors import UserError


def parse_config(content: dict[str, Any], *, source: str) -> Config:
    """Expand the preset of a configuration, check it, and return it frozen.

    `source` is the file's name. The first mistake is a `UserError` with the full path of the key,
    its value, and what is legal.
    """
    content = expand_preset(content, source=source)
    try:
        content = name_method_plugins(content)
        config = Config.model_validate_json(json.dumps(content, default=str))
        check_rules(config)
    except ValidationError as error:
        raise explain(error, source) from None
    except ValueError as error:
        if not isinstance(error, UserError):
            raise
        raise UserError(error.mistake, came=f"{error.came} ({source})", do=error.do) from None
    return config


def load_config(path: str | Path) -> Config:
    """Read and check a configuration file; any mistake is a `UserError`."""
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(
            f"The configuration {path} cannot be read.",
            came=f"{error.strerror}",
            do="name one of config/*.yaml with --configfile.",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"The configuration {path} is not valid YAML.",
            came=str(error).replace("\n", " "),
            do="correct the syntax; config/mini.yaml is a complete example.",
        ) from None
    if not isinstance(content, dict):
        raise UserError(
            f"The configuration {path} is not a mapping of keys to values.",
            came=f"{type(content).__name__}",
            do="start from a copy of config/mini.yaml.",
        )
    return parse_config(content, source=str(path))
