"""Reading a configuration file; a mistake in it is one message with the correction."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
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

_TAG = "tag:yaml.org,2002:"
# YAML reads 030 as 24, 1:30 as 90 and 1_0 as 10.
_DECIMAL = re.compile(r"[-+]?(0|[1-9]\d*)?(\.\d*)?(e[-+]?\d+)?|[-+]?\.(inf|nan)", re.IGNORECASE)
_MOST_BYTES, _MOST_VALUES, _MOST_LEVELS, _MOST_DIGITS = 2**20, 100_000, 30, 30


def parse_config(content: dict[str, Any], *, source: str) -> Config:
    """Expand the preset of a configuration, check it, and return it frozen.

    `source` is the file's name. The first mistake is a `UserError` with the full path of the key,
    its value, and what is valid.
    """
    try:
        text = json.dumps(content, default=str, ensure_ascii=False)
        content = json.loads(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"A key or a value in {source} is neither text nor a number, list or mapping.",
            came=str(error),
            do="write keys as text, in quotes if needed, and numbers with few digits.",
        ) from None
    content = expand_preset(content, source=source)
    try:
        content = name_method_plugins(content)
        config = Config.model_validate_json(json.dumps(content))
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
    return parse_config(read_settings(path), source=str(path))


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read a file of YAML whose keys are text and occur once; any mistake is a `UserError`."""
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _no_yaml(path, "more than a megabyte")
        loader = yaml.SafeLoader(path.read_text("utf-8"))
        root = loader.get_single_node()
        if (mistake := _mistake_in(root)) is not None:
            raise _no_yaml(path, mistake)
        content = None if root is None else loader.construct_document(root)
    except OSError as error:
        raise UserError(
            f"The configuration {path} cannot be read.",
            came=f"{error.strerror}",
            do="name a file such as config/mini.yaml; for Snakemake, write a target before it: "
            "`snakemake report --configfile config/mini.yaml`.",
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _no_yaml(path, f"{where}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:  # characters or values that YAML does not have
        raise _no_yaml(path, " ".join(str(error).split())) from None
    except RecursionError:
        raise _no_yaml(path, f"more than {_MOST_LEVELS} levels") from None
    if not isinstance(content, dict):
        raise UserError(
            f"The configuration {path} is not a mapping of keys to values.",
            came="an empty file" if content is None else type(content).__name__,
            do="start from a copy of config/mini.yaml.",
        )
    return content


def _no_yaml(path: Path, came: str) -> UserError:
    """Return the error for a file that is no plain YAML."""
    return UserError(
        f"The configuration {path} is not valid YAML.",
        came=came,
        do="correct the syntax; config/mini.yaml is a complete example.",
    )


def _mistake_in(root: yaml.Node | None) -> str | None:
    """Name what YAML allows and a configuration does not: the first such value, with its line."""
    for count, (node, level) in enumerate(_nodes(root)):
        where = f"line {node.start_mark.line + 1}: "
        if level > _MOST_LEVELS:
            return f"{where}more than {_MOST_LEVELS} levels; an alias may contain itself"
        if count > _MOST_VALUES:
            return f"{where}more than {_MOST_VALUES} values, each alias counted"
        if node.tag == f"{_TAG}int" and len(node.value) > _MOST_DIGITS:
            return f"{where}a number of {len(node.value)} digits"
        if node.tag in (f"{_TAG}int", f"{_TAG}float") and not _DECIMAL.fullmatch(node.value):
            return f"{where}`{node.value}` is not a decimal number; for text, write it in quotes"
        keys: dict[str, yaml.Node] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            where = f"line {key.start_mark.line + 1}: "
            if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                return f"{where}the key `{shown[:40]}` is no text; write it in quotes"
            if key.value in keys:
                line = keys[key.value].start_mark.line + 1
                return f"{where}the key `{key.value}` is in line {line} already; remove one of them"
            keys[key.value] = key
    return None


def _nodes(node: yaml.Node | None, level: int = 0) -> Iterator[tuple[yaml.Node, int]]:
    """Yield all nodes below a node with their levels, those of an alias again."""
    if node is None:
        return
    yield node, level
    if isinstance(node, yaml.CollectionNode):
        for inner in node.value:
            for one in inner if isinstance(inner, tuple) else (inner,):
                yield from _nodes(one, level + 1)
