"""Digests of code that do not depend on layout, file names or the Python version."""

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
# Modules of these packages that cannot: they save, share, wait and stop.
NOT_DECISIVE = frozenset(
    {
        "dhl.models.checkpoint",
        "dhl.models.published_dncnn",  # of a model that is given weights, `ModelSpec.code` names it
        "dhl.training.shared_models",
    }
)


def code_digest(*names: str, root: Path = ROOT) -> str:
    """Digest modules and plug-ins, with all decisive modules that they import.

    Parameters
    ----------
    *names : str
        Dotted names of modules of `dhl`, and references to plug-ins. Both are digested without
        comments, docstrings, formatting and imports for type checkers. An import from `dhl` is
        digested as the imported names and the code of the module, so a module can be moved or
        renamed.
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
        _source_digest(load_plugin(name).source, root)
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
    return _source_digest(file.read_text("utf-8"), root)


def _source_digest(source: str, root: Path) -> str:
    """Digest the text of a module or of a plug-in."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not _is_for_type_checkers(node)]
    return _sha256([_plain(tree), sorted(set(_imports(tree, root)))])


def _sha256(content: list) -> str:
    """Digest nested lists of text."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _plain(node: Any) -> Any:
    """Turn a syntax tree into nested lists without empty fields: new Python versions add some."""
    if isinstance(node, list):
        return [_plain(one) for one in node if not (_is_docstring(one) or _is_import(one))]
    if not isinstance(node, ast.AST):
        return ascii(node)
    if isinstance(node, ast.JoinedStr):  # by characters: Python 3.12 splits texts differently
        return ["JoinedStr", *itertools.chain.from_iterable(map(_fstring_part, node.values))]
    plain: list = [type(node).__name__]
    for name in node._fields:
        value = getattr(node, name, None)
        if value is not None and (content := _plain(value)) != []:
            plain.append((name, content))
    return plain


def _fstring_part(node: ast.expr) -> list:
    """Return the characters of a text in an f-string, or an expression."""
    return [*str(node.value)] if isinstance(node, ast.Constant) else [_plain(node)]


def _is_for_type_checkers(node: ast.stmt) -> bool:
    """Tell whether a statement is `if TYPE_CHECKING:`; its imports may be circular."""
    return isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING"


def _is_docstring(node: Any) -> bool:
    """Tell whether a statement is only a string."""
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def _is_import(node: Any) -> bool:
    """Tell whether a statement imports from `dhl`."""
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] == "dhl" and node.level == 0
    return isinstance(node, ast.Import) and node.names[0].name.split(".")[0] == "dhl"


def _imports(tree: ast.Module, root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the local name, the imported name and the module's digest of each `dhl` import."""
    for node in filter(_is_import, _statements(tree)):
        parent = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            here, module, name = alias.asname or alias.name, parent + alias.name, ""
            if _file(module, root) is None:
                module, name = parent.removesuffix("."), alias.name
            decisive = DECISIVE & set(module.split(".")[1:2]) and module not in NOT_DECISIVE
            yield here, name, _module_digest(module, root) if decisive else ""


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements in a node, at every depth."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        children = getattr(node, name, [])
        if isinstance(children, list):  # a lambda's body is an expression
            for child in children:
                yield child
                yield from _statements(child)


def _file(name: str, root: Path) -> Path | None:
    """Return the file of a module of `dhl`, None for anything else.

    `importlib.util.find_spec` would import the packages above a module, and torch with them.
    """
    path = root.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)
