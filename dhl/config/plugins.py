"""Plug-ins: a user's function, `path/to/file.py:function`, in place of a name in the configuration.

Checking a configuration imports the file. Relative paths start at the working directory.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from dhl.config.base import nearest
from dhl.config.methods import NOT_METHODS, PARTS
from dhl.errors import ConfigError, UserError

FORM = "path/to/file.py:function"
_REFERENCE = re.compile(r"(?P<path>.+\.py):(?P<function>\w+)")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class PluginError(ConfigError):
    """A mistake in a plug-in."""


@dataclass(frozen=True)
class Plugin:
    """A user's function."""

    reference: str  # as the configuration names it, `path/to/file.py:function`
    path: Path  # as in the reference
    name: str
    function: Callable[..., Any]
    source: str  # the text of the file, as it was imported

    @property
    def signature(self) -> inspect.Signature:
        """The function's parameters."""
        with running(self.reference):
            return inspect.signature(self.function)

    @property
    def row(self) -> str:
        """The name of a plug-in method's row: safe in paths and in HTML."""
        return self.name.replace("_", "-")

    @property
    def summary(self) -> str:
        """The first line of the function's docstring; empty if it has none."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def has_parameter(self, name: str) -> bool:
        """Tell whether the function has a parameter of this name, which a keyword can give."""
        parameters = self.signature.parameters.values()
        return any(one.name == name and one.kind in _BY_NAME for one in parameters)

    def takes(self, keyword: str) -> bool:
        """Tell whether the function can be called with this keyword."""
        parameters = self.signature.parameters.values()
        return self.has_parameter(keyword) or any(one.kind is one.VAR_KEYWORD for one in parameters)

    def check_call(
        self, *positional: str, keywords: Iterable[str] = (), options: Iterable[str] = ()
    ) -> None:
        """Check that the function can be called with these arguments.

        Parameters
        ----------
        *positional : str
            The documented names of the positional arguments.
        keywords : iterable of str
            The keyword arguments that `dhl` passes.
        options : iterable of str
            The keyword arguments that the configuration passes.
        """
        keywords, options = tuple(keywords), tuple(options)
        names = [one.name for one in self.signature.parameters.values() if one.kind in _BY_NAME]
        legal = [name for name in names[len(positional) :] if name not in keywords]
        for option in options:
            if not self.takes(option) or option in keywords:
                known = f"use one of {', '.join(legal)}." if legal else "remove it."
                raise PluginError(
                    f"`{self.reference}` has no option `{option}`.",
                    came=f"`{self.name}{self.signature}`",
                    do=nearest(option, legal, otherwise=known),
                )
        try:
            self.signature.bind(*positional, **dict.fromkeys((*keywords, *options)))
        except TypeError as error:
            call = ", ".join([*positional, *(f"{name}=..." for name in (*keywords, *options))])
            raise PluginError(
                f"`{self.reference}` cannot be called as `{self.name}({call})`: {error}.",
                came=f"`{self.name}{self.signature}`",
                do="change the function's parameters; docs/extending.md has an example.",
            ) from None


def noise_name(noise: str) -> str:
    """Return the name of a noise model: of a plug-in, the name of its function in words."""
    if not is_reference(noise):
        return "white Gaussian noise"
    words = load_plugin(noise).name.replace("_", " ").strip()
    return words if words.endswith("noise") else f"{words} noise"


def is_reference(name: str) -> bool:
    """Tell whether a name in the configuration means a plug-in, well formed or not."""
    return ".py" in name


def references(*names: str) -> tuple[str, ...]:
    """Return the names that mean plug-ins."""
    return tuple(filter(is_reference, names))


def load_plugin(reference: str) -> Plugin:
    """Import a user's function; each file is imported once in a process."""
    if not (match := _REFERENCE.fullmatch(reference)):
        raise PluginError(
            f"`{reference}` does not name a function in a Python file.",
            came=f"`{reference}`",
            do=f"write the path of the file, a colon and the name of the function: `{FORM}`.",
        )
    path, name = Path(match["path"]), match["function"]
    with running(reference):
        source, module = _import_file(path.resolve())
    function = getattr(module, name, None)
    if not callable(function):
        functions = [
            known
            for known, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        ]
        raise PluginError(
            f"There is no function `{name}` in {path}.",
            came=f"functions in the file: {', '.join(functions) or 'none'}",
            do=nearest(name, functions, otherwise=f"name one of them, or write `def {name}(...)`."),
        )
    return Plugin(reference, path, name, function, source)


@functools.cache
def _import_file(path: Path) -> tuple[str, ModuleType]:
    """Import a file under a unique name, by which `pickle` finds its classes again."""
    source = _read(path)
    name = f"dhl_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        _Fresh(name, str(path)).exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return source, module


def _read(path: Path) -> str:
    """Read a file's text, and check its syntax."""
    try:
        source = path.read_text("utf-8")
        compile(source, str(path), "exec")
    except OSError as error:
        raise PluginError(
            f"The plug-in file {path} cannot be read.",
            came=f"{error.strerror}",
            do="correct the path; a relative path starts at the working directory.",
        ) from None
    except UnicodeDecodeError as error:
        raise PluginError(
            f"The plug-in file {path} is not in UTF-8.", came=f"{error}", do="save it in UTF-8."
        ) from None
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise PluginError(
            f"There is a syntax error in {path}{line}.",
            came=f"{getattr(error, 'msg', error)}",
            do="correct the syntax.",
        ) from None
    return source


class _Fresh(SourceFileLoader):
    """Compiles the text of the file: after a change within one second, bytecode is stale."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


@contextmanager
def running(reference: str) -> Iterator[None]:
    """Run a plug-in; an exception becomes a `PluginError`, whose `__cause__` has the traceback."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise PluginError(
            f"`{reference}` raised an exception.",
            came=f"{type(error).__name__}: {said}".removesuffix(": "),
            do="correct the plug-in; the traceback before this message shows the line.",
        ) from error


def wrong_result(reference: str, *, expected: str, came: str) -> PluginError:
    """Return the error for a wrong result of a plug-in."""
    return PluginError(
        f"`{reference}` must return {expected}.", came=came, do="correct what the function returns."
    )


def described(value: Any) -> str:
    """Describe a value: number format and shape of an array or tensor, else its type."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        shape = ", ".join(map(str, value.shape))
        return f"{str(value.dtype).removeprefix('torch.')} of shape ({shape})"
    return f"`{value}`" if value is None else f"a `{type(value).__name__}`"


def name_method_plugins(content: Any) -> Any:
    """Replace references to plug-ins in the lists of methods by the names of their rows.

    The new key `plugin_methods` maps the name of each row to the reference.
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


def check_method_plugins(plugins: dict[str, str], used: Collection[str]) -> None:
    """Check the signatures and names of the plug-in methods; `used` are all methods of the run."""
    for name, reference in plugins.items():
        function = load_plugin(reference)
        function.check_call("noisy", keywords=("sigma",))
        if name != function.row:
            raise ConfigError(
                f"The plug-in method `{name}` is not named after its function.",
                came=f"`plugin_methods.{name}`, and the function `{function.name}`",
                do=f"name it `{function.row}`.",
            )
        if name not in used:
            raise ConfigError(
                f"The plug-in method `{name}` is in no list of methods.",
                came=f"`plugin_methods.{name}`",
                do="add it to a list, or remove it.",
            )
        if name in NOT_METHODS or not re.fullmatch("[A-Za-z][A-Za-z0-9-]{0,63}", name):
            raise PluginError(
                f"A plug-in method cannot be named `{name}`.",
                came=f"`{reference}`",
                do="name the function with up to 64 ASCII letters, digits and underscores.",
            )


def _row(name: Any, plugins: dict[str, str]) -> Any:
    """Replace a reference by the name of its row, and record the reference."""
    if not (isinstance(name, str) and is_reference(name)):
        return name
    row = load_plugin(name).row
    if plugins.setdefault(row, name) != name:
        raise PluginError(
            f"Two plug-in methods are named `{row}`.",
            came=f"`{plugins[row]}` and `{name}`",
            do="give one of the functions another name.",
        )
    return row
