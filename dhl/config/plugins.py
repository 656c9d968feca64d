"""A user's own code: `path/to/file.py:function` wherever the configuration names a thing.

A configuration is checked by reading the file, and nothing of it is run before it is needed: the
configuration stays quick and imports no torch. Paths begin at the working directory.
"""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from dhl.errors import UserError

FORM = "path/to/file.py:function"
_REFERENCE = re.compile(r"(?P<path>.+\.py):(?P<function>\w+)")
_RULE = f"own code is `{FORM}`, in a file that has this function."


class OwnCodeError(UserError, ValueError):
    """A mistake in a user's own code; also a `ValueError`, which pydantic collects."""


@dataclass(frozen=True)
class OwnFunction:
    """A function of a user's file, as it is written there.

    Attributes
    ----------
    reference : str
        As it stands in the configuration.
    path : Path
    name : str
    signature : inspect.Signature
        Its defaults are not evaluated.
    written : str
        Its parameters in the words of the file.
    summary : str
        The first line of its docstring; empty if it has none.
    source : str
        The whole file.
    """

    reference: str
    path: Path
    name: str
    signature: inspect.Signature
    written: str
    summary: str
    source: str

    def takes(self, keyword: str) -> bool:
        """Tell whether the function can be called with this keyword."""
        known = self.signature.parameters.values()
        return any(
            one.kind is one.VAR_KEYWORD or (one.name == keyword and one.kind in _BY_NAME)
            for one in known
        )

    def check_call(
        self, *positional: str, keywords: Iterable[str] = (), options: Iterable[str] = ()
    ) -> None:
        """Check that the function can be called so.

        Parameters
        ----------
        *positional : str
            What the arguments by place are called in the documentation.
        keywords : iterable of str
            What this program passes by name.
        options : iterable of str
            What the configuration passes by name.

        Raises
        ------
        OwnCodeError
            If it has no such option, or cannot be called with all of that.
        """
        keywords, options = tuple(keywords), tuple(options)
        legal = self._options(len(positional), keywords)
        for option in options:
            if not self.takes(option) or option in keywords:
                close = difflib.get_close_matches(option, legal, n=1)
                raise OwnCodeError(
                    f"the options of `{self.reference}` are its function's.",
                    came=f"no option `{option}` in `{self.name}({self.written})`",
                    do=f"write `{close[0]}`." if close
                    else f"use one of {', '.join(legal)}." if legal
                    else "leave it out: the function takes none.",
                )  # fmt: skip
        try:
            self.signature.bind(*positional, **dict.fromkeys((*keywords, *options)))
        except TypeError as error:
            call = ", ".join([*positional, *(f"{name}=..." for name in (*keywords, *options))])
            raise OwnCodeError(
                f"`{self.reference}` can be called as `{self.name}({call})`.",
                came=f"`{self.name}({self.written})`: {error}",
                do="change the function's parameters; docs/extending.md has an example.",
            ) from None

    def _options(self, by_place: int, keywords: tuple[str, ...]) -> list[str]:
        """List the parameters that the configuration may set."""
        names = [one.name for one in self.signature.parameters.values() if one.kind in _BY_NAME]
        return [name for name in names[by_place:] if name not in keywords]


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def is_reference(name: str) -> bool:
    """Tell whether a name of the configuration means a user's own code, well formed or not."""
    return ".py" in name


def references(*names: str) -> tuple[str, ...]:
    """Return which of the names are references."""
    return tuple(name for name in names if is_reference(name))


def read(reference: str) -> OwnFunction:
    """Find a function in a user's file without running anything of it.

    Raises
    ------
    OwnCodeError
        If the reference has another form, the file is missing or is not Python, has no such
        function at its top level, or imports another file beside it.
    """
    path, _ = _parted(reference)
    return _parsed(reference, _source(path))


@functools.cache
def _parsed(reference: str, source: str) -> OwnFunction:
    """Find a function in a file's text."""
    path, name = _parted(reference)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise OwnCodeError(
            _RULE, came=f"{path}{line}: {getattr(error, 'msg', error)}", do="mend the syntax."
        ) from None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name not in functions:
        close = difflib.get_close_matches(name, functions, n=1)
        there = ", ".join(f"`{path}:{other}`" for other in functions)
        raise OwnCodeError(
            _RULE,
            came=f"no function `{name}` at the top level of {path}",
            do=f"write `{path}:{close[0]}`." if close
            else f"write one of {there}." if there
            else f"write `def {name}(...)` there.",
        )  # fmt: skip
    _refuse_neighbours(tree, path)
    node = functions[name]
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    return OwnFunction(
        reference, path, name, _signature(node.args), ast.unparse(node.args), summary, source
    )


def _parted(reference: str) -> tuple[Path, str]:
    """Split a reference into file and function."""
    if not (match := _REFERENCE.fullmatch(reference)):
        raise OwnCodeError(
            _RULE,
            came=f"`{reference}`",
            do="write the path of a Python file, a colon and the name of a function in it.",
        )
    return Path(match["path"]), match["function"]


def _source(path: Path) -> str:
    """Read a user's file."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise OwnCodeError(
            _RULE,
            came=f"no file {path} ({error.strerror})",
            do=f"mend the path, which begins at the working directory, {Path.cwd()}.",
        ) from None
    except UnicodeDecodeError as error:
        raise OwnCodeError(_RULE, came=f"{path}: {error}", do="write it in UTF-8.") from None


def _signature(written: ast.arguments) -> inspect.Signature:
    """Build a signature whose defaults are not evaluated."""
    by_place = [*written.posonlyargs, *written.args]
    required = len(by_place) - len(written.defaults)
    of = inspect.Parameter
    found = [
        of(
            one.arg,
            of.POSITIONAL_ONLY if place < len(written.posonlyargs) else of.POSITIONAL_OR_KEYWORD,
            default=of.empty if place < required else ...,
        )
        for place, one in enumerate(by_place)
    ]
    if written.vararg:
        found.append(of(written.vararg.arg, of.VAR_POSITIONAL))
    for one, default in zip(written.kwonlyargs, written.kw_defaults, strict=True):
        found.append(of(one.arg, of.KEYWORD_ONLY, default=of.empty if default is None else ...))
    if written.kwarg:
        found.append(of(written.kwarg.arg, of.VAR_KEYWORD))
    return inspect.Signature(found)


def _refuse_neighbours(tree: ast.Module, path: Path) -> None:
    """Refuse imports of other files of the user's: their changes would go unnoticed."""
    for node in ast.walk(tree):
        relative = isinstance(node, ast.ImportFrom) and node.level > 0
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else names
        for name in names:
            top = name.partition(".")[0]
            # Python looks beside the file's own folder in that in which the program is started.
            places = [place / top for place in (path.parent, Path())]
            beside = any(one.is_dir() or one.with_suffix(".py").is_file() for one in places)
            if relative or (top != "dhl" and beside):
                raise OwnCodeError(
                    "own code is one file: an edit of another one would go unnoticed.",
                    came=f"{path}, line {node.lineno}: {ast.unparse(node)}",
                    do="move what it needs into the file, or into an installed package.",
                )


def load(reference: str) -> Callable[..., Any]:
    """Import a user's function; a file is run once in a process.

    Raises
    ------
    OwnCodeError
        As of `read`, or if the file cannot be run.
    """
    path, name = _parted(reference)
    return _loaded(path.resolve(), name, reference)


@functools.cache
def _loaded(path: Path, name: str, reference: str) -> Callable[..., Any]:
    """Return a function of a file."""
    read(reference)
    with running(reference):
        return getattr(_module(path), name)


@functools.cache
def _module(path: Path) -> ModuleType:
    """Run a file as a module with a name of its own, by which its classes can be found again."""
    name = f"dhl_own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Fresh(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class _Fresh(SourceFileLoader):
    """Compiles the file as it is now: cached bytecode is told apart by size and second alone."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source."""
        return self.source_to_code(self.get_data(self.path), self.path)


@contextmanager
def running(reference: str) -> Iterator[None]:
    """Run a user's code; what it raises becomes one message, whose cause has the traceback.

    Raises
    ------
    OwnCodeError
        From any exception inside.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise OwnCodeError(
            f"`{reference}` runs without an error.",
            came=f"{type(error).__name__}: {said}".removesuffix(": "),
            do="mend it; the traceback before this message shows the line.",
        ) from error


def wrong_result(reference: str, *, expected: str, came: str) -> OwnCodeError:
    """Say that a user's function returned something else than it should."""
    name = reference.rpartition(":")[2]
    return OwnCodeError(
        f"`{reference}` returns {expected}.", came=came, do=f"mend what `{name}` returns."
    )


def described(value: Any) -> str:
    """Write what a value is: number format and shape of an array or tensor, else its type."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        shape = ", ".join(map(str, value.shape))
        return f"{str(value.dtype).removeprefix('torch.')} of shape ({shape})"
    return f"`{value}`" if value is None else f"a `{type(value).__name__}`"
