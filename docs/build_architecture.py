"""The list of packages and the diagram of imports in docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

from dhl.files import PROJECT

PACKAGE = PROJECT / "dhl"
# A package imports from itself, from those before it, and from the helpers at the top of `dhl`.
PACKAGES = (
    "config", "run", "data", "models", "training", "evaluation", "planning", "analysis", "report",
    "cli",
)  # fmt: skip
WITHOUT_TORCH = ("config", "run", "analysis", "report", "cli")


def module_name(path: Path) -> str:
    """Return the dotted name of a file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(name: str) -> set[str]:
    """Return the modules of the project that a module imports anywhere, for annotations too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            found |= {
                module if (module := f"{node.module}.{alias.name}") in MODULES else node.module
                for alias in node.names
            }
    return found & set(MODULES)


def package_of(name: str) -> str | None:
    """Return the package of a module; None for `dhl` itself and the helpers beside it."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in PACKAGES else None


def package_imports() -> dict[str, set[str]]:
    """Return the other packages that each package imports from."""
    found: dict[str, set[str]] = {package: set() for package in PACKAGES}
    for name in MODULES:
        if package := package_of(name):
            found[package] |= {package_of(other) for other in imports_of(name)} - {None, package}
    return found


def without_detours(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """Drop the imports that another imported package has too, so that few arrows remain."""
    reached: dict[str, set[str]] = {}
    for package in PACKAGES:  # a package comes after those that it imports from
        reached[package] = imports[package].union(*(reached[one] for one in imports[package]))
    return {
        package: {one for one in below if not any(one in reached[other] for other in below)}
        for package, below in imports.items()
    }


def diagram() -> str:
    """Return the diagram of imports, from a package down to those that it imports from."""
    arrows = without_detours(package_imports())
    lines = [
        f"    {package} --> {other}"
        for package in reversed(PACKAGES)
        for other in sorted(arrows[package], key=PACKAGES.index, reverse=True)
    ]
    return "\n".join(["```mermaid", "graph TD", *lines, "```"])


def package_table() -> str:
    """Return a Markdown table of the packages and the first lines of their docstrings."""
    lines = ["| package | content |", "| --- | --- |"]
    for package in PACKAGES:
        docstring = ast.get_docstring(ast.parse(MODULES[f"dhl.{package}"].read_text("utf-8"))) or ""
        lines.append(f"| `dhl/{package}/` | {docstring.splitlines()[0]} |")
    return "\n".join(lines)
