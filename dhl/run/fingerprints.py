"""Digests of code, settings and models, which decide what must be computed again."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dhl.config.plugins import is_reference, read, references
from dhl.config.schema import Config
from dhl.run.model_graph import model_spec


def fingerprint(config: Config, key: str) -> str:
    """Digest all that decides a model's weights: its spec, code, data, seed and parents."""
    spec = model_spec(config, key)
    data = config.parts[spec.part].data
    content = {
        "key": key,
        "network": spec.network.model_dump(),
        "objective": spec.objective,
        "recipe": spec.recipe and spec.recipe.model_dump(exclude={"checkpoint_every"}),
        "sigma": spec.sigma,
        "noise": spec.noise if spec.sigma is not None else None,
        "data": data.model_dump(),
        "classes": spec.classes,
        "seed": [config.base_seed, spec.seed_name],
        "arithmetic": [
            config.device,
            config.precision,
            config.threads,
            config.compile,
        ],
        "code": code_digest(*spec.code, *data.code),
        "parents": [fingerprint(config, parent) for parent in spec.parents],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# These read, check, name and store; they cannot change a number, so editing them reruns nothing.
PLUMBING = {
    "dhl.cli.commands",
    "dhl.cli.parser",
    "dhl.config",
    "dhl.config.base",
    "dhl.config.catalogue",
    "dhl.config.data",
    "dhl.config.data_sets",
    "dhl.config.image_data_sets",
    "dhl.config.messages",
    "dhl.config.method_lists",
    "dhl.config.networks",
    "dhl.config.parse",
    "dhl.config.plugins",
    "dhl.config.recipes",
    "dhl.config.rules",
    "dhl.config.schema",
    "dhl.config.sensitivity",
    "dhl.data.archives",
    "dhl.data.check",
    "dhl.data.download",
    "dhl.data.transfer",
    "dhl.errors",
    "dhl.files",
    "dhl.locks",
    "dhl.models.checkpoint",
    "dhl.progress",
    "dhl.run",
    "dhl.run.downloads",
    "dhl.run.evaluations",
    "dhl.run.failures",
    "dhl.run.fingerprints",
    "dhl.run.folder",
    "dhl.run.manifest",
    "dhl.run.model_graph",
    "dhl.run.outputs",
    "dhl.run.results",
    "dhl.training.gpu_slots",
    "dhl.training.shared_models",
    "dhl.training.signals",
}


def settings_digest(*settings: Any) -> str:
    """Digest configuration values; two equal ones have equal digests."""
    plain = [
        value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for value in settings
    ]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def code_digest(*names: str) -> str:
    """Digest modules of this package, and a user's own code, with all that they import from it.

    Comments, docstrings and layout do not count, and neither does plumbing: editing them must not
    repeat hours of training.

    Raises
    ------
    OwnCodeError
        If a user's file cannot be read.
    """
    own = tuple((name, read(name).source) for name in references(*names))
    return _code_digest(tuple(name for name in names if not is_reference(name)), own)


@functools.cache
def _code_digest(modules: tuple[str, ...], own: tuple[tuple[str, str], ...]) -> str:
    """Digest modules by name, and a user's own code by its reference and text."""
    digest, imported = hashlib.sha256(), set()
    for name, text in sorted(own):
        code, needed = _without_docstrings(text)
        digest.update(f"{name}\n{code}\n".encode())
        imported |= {module for module in needed if _source(module)}
    for name in sorted(_closure((*modules, *imported))):
        digest.update(f"{name}\n{_module(name)[0]}\n".encode())
    return digest.hexdigest()


def _closure(modules: tuple[str, ...]) -> set[str]:
    """Follow imports inside the package, plumbing excepted."""
    found: set[str] = set()
    waiting = [name for name in modules if name not in PLUMBING]
    while waiting:
        name = waiting.pop()
        found.add(name)
        imported = _module(name)[1]
        waiting += [other for other in imported if other not in found | PLUMBING]
    return found


@functools.cache
def _module(name: str) -> tuple[str, frozenset[str]]:
    """Return a module's code without its docstrings, and the package's modules it imports."""
    source = _source(name)
    if source is None:
        raise ModuleNotFoundError(name)
    return _without_docstrings(source.read_text())


def _without_docstrings(text: str) -> tuple[str, frozenset[str]]:
    """Return a file's code without its docstrings, and the package's modules it imports."""
    tree = ast.parse(text)
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dhl"):
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                imported.add(submodule if _source(submodule) else node.module)
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names if alias.name.startswith("dhl")}
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:]
    return ast.dump(tree), frozenset(imported)


def _is_docstring(node: ast.AST) -> bool:
    """Tell whether a statement is a bare string."""
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def _source(name: str) -> Path | None:
    """Return the file of a module of this package, None if it is something else.

    Python's own search would import the parents of a name, and torch with them.
    """
    path = Path(__file__).parents[2].joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)
