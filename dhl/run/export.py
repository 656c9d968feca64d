"""Export of a complete run as one self-describing archive: an RO-Crate in a zip file."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from dhl.config.methods import part_name
from dhl.config.parse import load_config
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.files import PROJECT, atomic_path, project_file
from dhl.run.contents import files_of, incomplete_run
from dhl.run.crate import (
    ABOUT,
    CITATION,
    METADATA,
    README,
    WORKFLOW,
    describe_code,
    describe_crate,
)
from dhl.run.folder import RunFolder
from dhl.run.free_text import to_markdown
from dhl.run.manifest import check_untouched, read_manifest
from dhl.run.outputs import OUTPUTS
from dhl.run.results import file_digest
from dhl.sigma import format_sigma
from dhl.words import listed

BIBTEX = "citation.bib"
_OLDEST = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip file


def export_run(root: Path, output: Path | None = None, *, models: bool = False) -> Path:
    """Write the archive of a complete run; equal runs give equal bytes.

    Parameters
    ----------
    root : Path
        The run's folder.
    output : Path, optional
        The zip file to write; by default beside the run's folder, under its name.
    models : bool
        Whether to include the weights of the trained networks.

    Raises
    ------
    UserError
        If a file is missing or differs from the manifest, a plug-in was changed since the run, or
        the zip file would lie in the run's folder.
    """
    folder = RunFolder(root.resolve())
    if output is not None:
        check_outside(folder, output)
    check_untouched(folder.root)
    output = output or folder.root.parent / f"{folder.root.name or 'run'}.zip"
    config = load_config(folder.config)
    manifest = read_manifest(folder)
    results = _result_files(config, folder, models=models)
    contents: dict[str, Path | bytes] = {**results, **_software(), **_plugin_files(manifest)}
    description = (
        f"Results of the run {manifest['run']} of dhl, which replicates Liu et al., IJCAI 2018: "
        f"{'; '.join(describe_scope(config))}."
    )
    contents[README] = _readme(manifest, description, [*contents, README]).encode()
    metadata = describe_crate(manifest, contents, results=results.keys(), description=description)
    text = json.dumps(metadata, indent=1, ensure_ascii=False) + "\n"
    _write_zip(output, contents | {METADATA: text.encode()})
    return output


def check_outside(folder: RunFolder, output: Path) -> None:
    """Raise a `UserError` if what is made from a run would lie in the run's folder."""
    if output.resolve().is_relative_to(folder.root.resolve()):
        raise UserError(
            "The output would be inside the folder of the run.",
            came=f"the output {output}, and the run in {folder.root}",
            do="name a path outside that folder; that of an archive with --output.",
        )


def _result_files(config: Config, folder: RunFolder, *, models: bool) -> dict[str, Path]:
    """Return the files of the run to archive, by their names in the archive."""
    paths = []
    for output in OUTPUTS:
        if output.archived or (models and output.name == "model"):
            paths += files_of(config, folder, output.name)
    missing = [path for path in paths if not path.is_file()]
    if required := [path for path in missing if not _may_be_absent(path, folder)]:
        raise incomplete_run(folder, required)
    return {path.relative_to(folder.root).as_posix(): path for path in paths if path not in missing}


def _may_be_absent(path: Path, folder: RunFolder) -> bool:
    """Tell whether a complete run may lack a file: a receipt, or one that old versions lack."""
    top, *_ = path.relative_to(folder.root).parts
    return top in ("downloads", "data") or (top == "figures" and path.suffix == ".csv")


def _software() -> dict[str, Path]:
    """Return the files of the software to archive, by their names in the archive."""
    names = (WORKFLOW, "environment.yml", "constraints.txt", "LICENSE", CITATION, BIBTEX)
    paths = [*map(project_file, names), *project_file("workflow/rules").glob("*.smk")]
    return {path.relative_to(PROJECT).as_posix(): path for path in paths}


def _plugin_files(manifest: dict[str, Any]) -> dict[str, Path]:
    """Return the files of plug-ins by their names in the archive, if they are unchanged."""
    files: dict[str, Path] = {}
    for name, digest in manifest.get("plugins", {}).items():
        path = Path(name)
        if not path.is_file() or file_digest(path) != digest:
            raise UserError(
                f"The plug-in {path} is missing, or was changed since the run.",
                came=f"not the run's version of the file, from {Path.cwd()}",
                do="go to the folder where the run was made, restore the file, or repeat the run.",
            )
        inside = [part for part in path.parts if part not in (path.anchor, "..")]
        place = "/".join(["plugins", *inside])
        if place in files:
            raise UserError(
                f"Two plug-ins would have the name {place} in the archive.",
                came=f"{files[place]} and {path}",
                do="rename one of the files in the configuration, and run again.",
            )
        files[place] = path
    return files


def describe_scope(config: Config) -> list[str]:
    """Describe the data set and sigmas of each part; parts that share both share a phrase."""
    shared: dict[tuple[str, str], list[str]] = {}
    for part in config.parts:
        sigmas = ", ".join(map(format_sigma, config.parts[part].sigmas))
        names = shared.setdefault((config.parts[part].data.name, sigmas), [])
        names.append(part_name(part))
    return [
        f"{listed(parts)} on the data set {name} at sigma {sigmas}"
        for (name, sigmas), parts in shared.items()
    ]


def _readme(manifest: dict[str, Any], description: str, names: list[str]) -> str:
    """Write the README of the archive."""
    tops = dict.fromkeys(name.split("/")[0] for name in sorted(names))
    return _README.format(
        run=manifest["run"],
        description=to_markdown(description),
        rows="\n".join(f"| `{top}` | {ABOUT[top]} |" for top in tops),
        created=manifest["created"],
        code=describe_code(manifest),
        bibtex=project_file(BIBTEX).read_text("utf-8").strip(),
    )


_README = """# Run {run} of dhl

{description}

| file or folder | what it is |
| --- | --- |
{rows}

`ro-crate-metadata.json` describes every file, with its SHA-256, for programs
(https://w3id.org/ro/crate/1.1). `manifest.json` also lists files that are not in this archive:
the images of the data sets, arrays and, if there is no folder `models`, weights. Logs, the time and
memory of each job, and checkpoints of interrupted trainings are neither in this archive nor in the
manifest. Links of the report to missing files do not work.

## Repeat it

Completed at {created}, with {code}. In a checkout of dhl at that commit:

```sh
snakemake report --cores all --configfile config.yaml
```

## Licence

MIT, see `LICENSE`. The pictures in the report and in `figures/example_*` come from data sets with
other licences; the report lists them under its sources.

## Cite

```bibtex
{bibtex}
```
"""


def _write_zip(output: Path, contents: dict[str, Path | bytes]) -> None:
    """Write a zip file whose order and times do not depend on the machine or the date."""
    with atomic_path(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, date_time=_OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = 0o644 << 16
            content = contents[name]
            with archive.open(entry, "w", force_zip64=True) as target:
                if isinstance(content, bytes):
                    target.write(content)
                else:
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, target)
