"""A `conda` for Snakemake that solves and installs with rattler.

conda itself cannot be installed from a package index. The channel `conda-forge` is the folder
`TEST_CHANNEL`, like a mirror in a `.condarc`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import yaml

ACTIVATE = 'export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n'


def install(folder: Path) -> Path:
    """Write a `conda` into a folder; return the folder of its command."""
    commands = folder / "bin"
    commands.mkdir(parents=True)
    (commands / "conda").write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} "$@"\n')
    (commands / "conda").chmod(0o755)
    (commands / "activate").write_text(ACTIVATE)
    return commands


def create(file: Path, prefix: Path, *, cache: Path) -> None:
    """Solve an environment file and install the packages."""
    import rattler

    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    channels = {"conda-forge": [Path(os.environ["TEST_CHANNEL"]).as_uri()], "nodefaults": []}

    async def solve_and_install() -> None:
        found = await rattler.solve(
            [one for name in content["channels"] for one in channels[name]],
            [wanted.replace(" ", "") for wanted in content["dependencies"]],
            platforms=["linux-64", "noarch"],
        )
        await rattler.install(found, target_prefix=prefix, cache_dir=cache, show_progress=False)

    asyncio.run(solve_and_install())
    os._exit(0)  # rattler's threads can crash while the interpreter shuts down


def main(root: str, *call: str) -> None:
    """Answer one call of the `conda` in `root`."""
    match call:
        case ["--version"]:
            print("conda 24.7.1")
        case ["info", "--json"]:
            print(json.dumps({"conda_prefix": root, "platform": "linux-64"}))
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *_, "--file", file, "--prefix", prefix]:
            create(Path(file), Path(prefix), cache=Path(root) / "cache")
        case ["clean", *_]:
            pass  # the packages are removed with the folder
        case _:
            sys.exit(f"this conda does not know the call {' '.join(call)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
