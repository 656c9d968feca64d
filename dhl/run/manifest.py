"""The manifest of a run: code, versions, hardware, and the digest of each result file."""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import sys
import time
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from dhl.config.parse import load_config
from dhl.config.plugins import load_plugin
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.run.contents import results_of
from dhl.run.failures import failure_of
from dhl.run.folder import RunFolder
from dhl.run.outputs import BY_NAME, complete_run
from dhl.run.results import (
    check_as_written,
    edited_by_hand,
    file_digest,
    is_as_written,
    read_benchmarks,
    record_of,
    result_path,
)

PACKAGES = (
    "torch", "torchvision", "numpy", "scipy", "pandas", "scikit-image", "scikit-learn", "bm3d",
    "snakemake", "matplotlib", "seaborn", "jinja2", "pydantic", "pillow",
)  # fmt: skip
CODE = (
    "dhl", "workflow", "report", "Snakefile", "environment.yml", "environment.post-deploy.sh",
    "constraints.txt", "pyproject.toml",
)  # fmt: skip
SCRATCH = ("checkpoints", "benchmarks", "logs")
# The outputs that a manifest vouches for. The pages link to it, and have records of their own.
RESULTS = tuple(BY_NAME.keys() - {"manifest", "preview", "report"})
_CPUINFO = Path("/proc/cpuinfo")
_WIDEST = (("amx_tile", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2"))  # flags and names


def write_manifest(config: Config, folder: RunFolder) -> None:
    """Write the manifest of a run whose results are complete.

    Raises
    ------
    UserError
        If a result is not what its job wrote, or the run's configuration is another one.
    """
    if folder.config.exists() and load_config(folder.config) != config:
        raise edited_by_hand(folder.config, "not the configuration of this command")
    files = results_of(config, folder, *RESULTS)
    for path in files:
        check_as_written(path)
    manifest = {
        "run": config.run,
        "created": _utc(time.time()),
        **_commit(PROJECT),
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": _hardware(config, folder),
        # A conda environment can be active while this Python is of another one.
        "deployment": "conda" if Path(sys.prefix, "conda-meta").is_dir() else "environment",
        "base_seed": config.base_seed,
        "started": _started(files),
        "wall_seconds": _wall_seconds(),
        "compute_seconds": round(float(read_benchmarks(config, folder)["s"].sum()), 1),
        "configuration": config.model_dump(mode="json"),
        "plugins": {
            str(path): file_digest(path)
            for path in dict.fromkeys(load_plugin(name).path for name in config.plugins)
        },
        "files": {str(path.relative_to(folder.root)): file_digest(path) for path in files},
        # Of an earlier configuration of the run, or the user's own.
        "other_files": [
            str(path.relative_to(folder.root)) for path in sorted({*files_in(folder)} - {*files})
        ],
    }
    with result_path(folder.manifest) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    _remove_former_models(folder, set(manifest["files"].values()))


def _remove_former_models(folder: RunFolder, digests: set[str]) -> None:
    """Remove kept models that are none of the run's files, whose digests are given."""
    for weights in folder.finished.rglob("*.pt"):
        if weights.stat().st_nlink == 1 and file_digest(weights) not in digests:
            for path in (weights, weights.with_suffix(".csv")):
                path.unlink(missing_ok=True)
                record_of(path).unlink(missing_ok=True)


def files_in(folder: RunFolder) -> list[Path]:
    """List the files in a run's folder, sorted, without manifest, report and scratch files."""
    return [
        path
        for path in sorted(folder.root.rglob("*"))
        if path.is_file()
        and failure_of(path) is None
        and path != folder.manifest
        and not path.name.startswith(".")
        and path.relative_to(folder.root).parts[0] not in (*SCRATCH, "report")
    ]


def _versions() -> dict[str, str]:
    """Return the installed versions of the packages that can change numbers or pictures."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _commit(checkout: Path) -> dict[str, Any]:
    """Return the commit of the code, and whether tracked code differs from it; None without git."""
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # set in a hook of the user's
    surroundings = {name: value for name, value in os.environ.items() if name not in elsewhere}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(checkout), *arguments]
        return subprocess.check_output(
            command, encoding="utf-8", errors="replace", stderr=subprocess.DEVNULL, env=surroundings
        ).strip()

    try:
        commit = git("rev-parse", "HEAD")
        changes = git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(changes)}


def _hardware(config: Config, folder: RunFolder) -> dict[str, Any]:
    """Describe the machine that writes the manifest, and the devices of the trainings."""
    import psutil

    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "trained_on": "; ".join(_trained_on(config, folder)) or "none",
    }


def _trained_on(config: Config, folder: RunFolder) -> list[str]:
    """List the devices and number formats in a run's training curves."""
    found = set()
    for path in results_of(config, folder, "training"):
        with open(path, newline="", encoding="utf-8") as file:
            found |= {f"{row['device']} in {row['precision']}" for row in csv.DictReader(file)}
    return sorted(found)


def usable_cores() -> int:
    """Count the cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)  # Linux
    return len(usable(0)) if usable else os.cpu_count() or 1


def processor() -> str:
    """Return the name of this machine's processor, as the system reports it.

    On x86, with its widest instructions: with others, rounding leads a training elsewhere.
    """
    try:
        lines = _CPUINFO.read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    found = {key.strip(): value.split() for key, _, value in (one.partition(":") for one in lines)}
    flags = found.get("flags", ())
    widest = next((f" with {name}" for flag, name in _WIDEST if flag in flags), "")
    return (" ".join(found.get("model name", ())) or platform.processor()) + widest


def _utc(seconds: float) -> str:
    """Return a time as text."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _started(results: list[Path]) -> str | None:
    """Return when the run began; None without Snakemake, or if it only resumed an earlier one."""
    started = os.environ.get("DHL_STARTED")
    if started is None or any(path.stat().st_mtime < float(started) for path in results):
        return None
    return _utc(float(started))


def _wall_seconds() -> float | None:
    """Return the seconds since Snakemake was last started; None without Snakemake."""
    started = os.environ.get("DHL_STARTED")
    return round(time.time() - float(started), 1) if started else None


def read_manifest(folder: RunFolder) -> dict[str, Any]:
    """Read the manifest of a complete run; a missing or unreadable one is a `UserError`."""
    try:
        if is_as_written(folder.manifest) is False:
            raise ValueError(f"not the digest in {record_of(folder.manifest).name}")
        manifest = json.loads(folder.manifest.read_text("utf-8"))
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"]))
        raise _unreadable(folder, f"`{path}`: {first['msg']}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(folder, str(error)) from None
    return manifest


_Time = Annotated[str, AfterValidator(lambda text: datetime.fromisoformat(text) and text)]


class _Manifest(BaseModel):
    """The keys that readers of a manifest need; those of other versions may be there too."""

    model_config = ConfigDict(strict=True)

    run: str
    created: _Time
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    hardware: dict[str, Any]
    base_seed: int
    started: _Time | None = None  # unknown in an older version
    wall_seconds: float | None
    configuration: dict[str, Any]
    plugins: dict[str, str] = {}
    files: dict[str, str]
    other_files: list[str] = []
    reference: dict[str, str] = {}


def _unreadable(folder: RunFolder, came: str) -> UserError:
    """Return the error for a manifest that is not there or not one."""
    return UserError(
        f"The manifest {folder.manifest} is missing or unreadable.",
        came=came,
        do="name the folder of a run, such as results/mini, or complete it: "
        f"{complete_run(folder.root)}.",
    )


def recorded_digests(manifest: dict[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of each file beside a manifest: of the whole run, or of a reference."""
    return manifest.get("reference", manifest["files"])


def verify(root: Path) -> list[str]:
    """Return a line per file of a run that was changed, removed or added since its manifest.

    `other_files` are not compared. The report is made after the manifest; it is compared with its
    own record.
    """
    folder = RunFolder(root)
    recorded, others = recorded_digests(read_manifest(folder)), other_files(root)
    present = {str(path.relative_to(folder.root)): path for path in files_in(folder)}
    present = {name: path for name, path in present.items() if name not in others}
    lines = [f"removed  {name}" for name in recorded if name not in present]
    lines += [f"added    {name}" for name in present if name not in recorded]
    lines += [
        f"changed  {name}"
        for name, digest in recorded.items()
        if name in present and file_digest(present[name]) != digest
    ]
    for page in filter(lambda one: record_of(one).exists(), (folder.preview, folder.report)):
        name = page.relative_to(root).as_posix()
        lines += [f"removed  {name}"] if not page.exists() else []
        lines += [f"changed  {name}"] if page.exists() and not is_as_written(page) else []
    return sorted(lines)


def not_compared(root: Path) -> list[str]:
    """Return the names in a run's folder that `verify` does not look at.

    These are folders of logs and other scratch files, a page without a record, hidden files, and
    links to folders or to nothing; `other_files` are listed there.
    """
    folder = RunFolder(root)
    looked_at = {*files_in(folder), folder.manifest}
    looked_at |= {page for page in (folder.preview, folder.report) if record_of(page).exists()}
    looked_at |= set(map(record_of, looked_at))
    found = set()
    for path in folder.root.rglob("*"):
        top = path.relative_to(root).parts[0]
        if (path.is_file() or path.is_symlink()) and path not in looked_at:
            found.add(f"{top}/" if top in SCRATCH else str(path.relative_to(root)))
    return sorted(found)


def other_files(root: Path) -> list[str]:
    """Return the names of the files that were there, but are not of the run's configuration.

    A manifest of an older version lists none: it has their digests.
    """
    names = read_manifest(RunFolder(root)).get("other_files", [])
    return [name for name in names if (root / name).exists()]


def check_untouched(root: Path) -> None:
    """Raise a `UserError` if `verify` finds a difference."""
    if touched := verify(root):
        raise UserError(
            f"The files in {root} differ from its manifest.",
            came="\n    ".join([f"{len(touched)} differences", *touched]),
            do=f"delete the changed files and run {complete_run(root)}.",
        )
