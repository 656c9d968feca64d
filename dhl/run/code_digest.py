"""Digests of code, which depend on neither layout, nor file names, nor the version of Python."""

from __future__ import annotations

import ast
import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dhl.config.plugins import is_reference, load_plugin

ROOT = Path(__file__).parents[2]
# Packages and modules of `dhl` that can change a number or a picture. The others check settings,
# find files, report errors and start jobs.
DECISIVE = frozenset(
    {"data", "models", "training", "evaluation", "analysis", "report", "seeding", "sigma"}
)


def code_digest(*names: str, root: Path = ROOT) -> str:
    """Digest modules and plug-ins, with all decisive modules that they import.

    Parameters
    ----------
    *names : str
        Dotted names of modules of `dhl`, and references to plug-ins.
    root : Path
        The folder that contains the package `dhl`.

    Raises
    ------
    ModuleNotFoundError
        If there is no such module.
    PluginError
        If a plug-in cannot be imported.
    """
    digests = {
        text_digest(load_plugin(name).source, root)
        if is_reference(name)
        else _module_digest(name, root)
        for name in names
    }
    return _sha256(sorted(digests))


@functools.cache
def _module_digest(name: str, root: Path) -> str:
    """Digest a module of `dhl`, whether it is decisive or not."""
    file = _file(name, root)
    if file is None:
        raise ModuleNotFoundError(name)
    return text_digest(file.read_text("utf-8"), root)


def text_digest(text: str, root: Path = ROOT) -> str:
    """Digest the text of a Python file, with all decisive modules that it imports.

    Comments, docstrings, formatting and imports for type checkers do not count. An import from
    `dhl` counts by the imported names and by the code of the module, so a module can be moved or
    renamed.

    Parameters
    ----------
    text : str
    root : Path
        The folder that contains the package `dhl`.
    """
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if not _is_for_type_checkers(node)]
    return _sha256([_plain(tree), sorted(set(_imports(tree, root)))])


def _sha256(content: list) -> str:
    """Digest nested lists of text."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _plain(node: Any) -> Any:
    """Turn a syntax tree into nested lists without empty fields: new Python versions add some."""
    if isinstance(node, ast.JoinedStr):
        return ["JoinedStr", *map(_plain, _fstring_parts(node))]
    if isinstance(node, ast.AST):
        fields = [(name, _plain(value)) for name, value in ast.iter_fields(node)
                  if value is not None]  # fmt: skip
        return [type(node).__name__, *(field for field in fields if field[1] != [])]
    if isinstance(node, list):
        return [_plain(one) for one in node if not _is_skipped(one)]
    return ascii(node)


def _fstring_parts(node: ast.JoinedStr) -> Iterator[ast.expr]:
    """Yield an f-string's parts; adjacent texts are joined, as Python 3.12 splits some."""
    for is_text, parts in itertools.groupby(node.values, lambda one: isinstance(one, ast.Constant)):
        if not is_text:
            yield from parts
        elif text := "".join(str(part.value) for part in parts if isinstance(part, ast.Constant)):
            yield ast.Constant(text)


def _is_skipped(node: Any) -> bool:
    """Tell whether a statement is a docstring or an import from `dhl`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return _is_import_from_dhl(node)


def _is_for_type_checkers(node: ast.stmt) -> bool:
    """Tell whether a statement is `if TYPE_CHECKING:`; its imports may be circular."""
    return isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING"


def _is_import_from_dhl(node: Any) -> bool:
    """Tell whether a statement imports from `dhl`."""
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] == "dhl" and node.level == 0
    return isinstance(node, ast.Import) and node.names[0].name.split(".")[0] == "dhl"


def _imports(tree: ast.Module, root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name here, the name there and the module's digest for each import from `dhl`."""
    for node in filter(_is_import_from_dhl, ast.walk(tree)):
        parent = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            here, module = alias.asname or alias.name, parent + alias.name
            if _file(module, root):
                yield here, "", _imported_digest(module, root)
            else:
                yield here, alias.name, _imported_digest(parent.removesuffix("."), root)


def _imported_digest(name: str, root: Path) -> str:
    """Digest an imported module if it is decisive."""
    return _module_digest(name, root) if DECISIVE & set(name.split(".")[1:2]) else ""


def _file(name: str, root: Path) -> Path | None:
    """Return the file of a module of `dhl`, None for anything else.

    `importlib.util.find_spec` would import the packages above a module, and torch with them.
    """
    path = root.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)
