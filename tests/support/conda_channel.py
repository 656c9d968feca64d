"""A conda channel on disk, made of the packages that are installed here.

Each package has its name and version on conda-forge, the dependencies of the installed package, and
links to the installed files. So an environment has exactly the packages of its file and their
dependencies, and the solver can only find the installed versions.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import tarfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

# The packages with another name on conda-forge.
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "seaborn": "seaborn-base"}
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def build_channel(folder: Path, roots: list[str]) -> None:
    """Write a channel with Python, pip, these distributions and all their dependencies."""
    linked = _closure([*roots, "pip"])
    for subdir in ("linux-64", "noarch"):
        (folder / subdir).mkdir(parents=True)
    version = "{}.{}.{}".format(*sys.version_info[:3])
    _write_package(folder, "python", version, links=_interpreter(), texts=_venv(version))
    for name, found in linked.items():
        needed = _requirements(found) & linked.keys()
        links = {f"{SITE}/{top}": found.locate_file(top) for top in _top_level(found)}
        depends = [f"python =={version}", *sorted(CONDA_NAMES.get(one, one) for one in needed)]
        package = CONDA_NAMES.get(name, name)
        _write_package(folder, package, found.version, links=links, depends=depends)
    for subdir in ("linux-64", "noarch"):
        _write_index(folder / subdir)


def _closure(roots: list[str]) -> dict[str, Distribution]:
    """Return the installed distributions and their dependencies, by normalised name."""
    linked, waiting = {}, list(roots)
    while waiting:
        name = _normalised(waiting.pop())
        if name in linked:
            continue
        try:
            linked[name] = distribution(name)
        except PackageNotFoundError:  # for another platform, or optional
            continue
        waiting += _requirements(linked[name])
    return linked


def _requirements(found: Distribution) -> set[str]:
    """Return the dependencies of an installed distribution on this machine."""
    parsed = map(Requirement, found.requires or ())
    return {
        _normalised(one.name)
        for one in parsed
        if one.marker is None or one.marker.evaluate({"extra": ""})
    }


def _normalised(name: str) -> str:
    """Write a distribution's name as the package index does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _top_level(found: Distribution) -> set[str]:
    """Return the files and folders of a distribution directly in `site-packages`."""
    tops = {path.parts[0] for path in found.files or ()}
    return {top for top in tops if top not in ("..", "__pycache__") and not top.endswith(".pth")}


def _interpreter() -> dict[str, Path]:
    """Link this Python under its names in an environment."""
    python = Path(sys.base_prefix) / "bin" / Path(SITE).parent.name
    return {f"bin/{name}": python for name in ("python", "python3", python.name)}


def _venv(version: str) -> dict[str, str]:
    """Return the files with which the linked Python finds only the packages of the environment."""
    home = f"home = {sys.base_prefix}/bin\nversion = {version}\n"
    return {
        "pyvenv.cfg": f"{home}include-system-site-packages = false\n",
        f"{SITE}/README": "Packages of this environment.\n",
    }


def _write_package(
    channel: Path,
    name: str,
    version: str,
    *,
    links: dict[str, Path],
    texts: dict[str, str] | None = None,
    depends: list[str] | None = None,
) -> None:
    """Write a package of links and texts in conda's first format."""
    index = {
        "name": name, "version": version, "build": "0", "build_number": 0, "subdir": "linux-64",
        "depends": depends or [], "timestamp": 1_700_000_000_000,
    }  # fmt: skip
    texts = dict(texts or {})
    paths = [_path_entry(path, "hardlink", text.encode()) for path, text in texts.items()]
    paths += [_path_entry(path, "softlink", b"") for path in links]
    texts["info/index.json"] = json.dumps(index)
    texts["info/paths.json"] = json.dumps({"paths": paths, "paths_version": 1})
    with tarfile.open(channel / "linux-64" / f"{name}-{version}-0.tar.bz2", "w:bz2") as archive:
        for path, text in texts.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
        for path, target in links.items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, str(target)
            archive.addfile(entry)


def _write_index(folder: Path) -> None:
    """Write the index of the channel for the solver."""
    packages = {}
    for path in folder.glob("*.tar.bz2"):
        with tarfile.open(path) as archive:
            index = json.load(archive.extractfile("info/index.json"))
        content = path.read_bytes()
        digests = {name: hashlib.new(name, content).hexdigest() for name in ("md5", "sha256")}
        packages[path.name] = index | digests | {"size": len(content)}
    repodata = {"info": {"subdir": folder.name}, "packages": packages, "packages.conda": {}}
    (folder / "repodata.json").write_text(json.dumps(repodata | {"repodata_version": 1}))


def _path_entry(path: str, kind: str, content: bytes) -> dict[str, str | int]:
    """Return the entry of a file in the list of a package."""
    digest = hashlib.sha256(content).hexdigest()
    return {"_path": path, "path_type": kind, "sha256": digest, "size_in_bytes": len(content)}
