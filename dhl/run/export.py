"""A finished run as one archive that describes itself: an RO-Crate in a zip file."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from dhl.config.methods import TABLES
from dhl.config.parse import load_config
from dhl.config.schema import Config
from dhl.config.sigma import format_sigma
from dhl.errors import UserError
from dhl.files import PROJECT, atomic_path, project_file
from dhl.run.crate import (
    CONFIGURATION,
    METADATA,
    README,
    WORKFLOW,
    CrateFile,
    describe_code,
    describe_crate,
)
from dhl.run.downloads import needed_sets
from dhl.run.evaluations import evaluations, studies
from dhl.run.folder import RunFolder
from dhl.run.manifest import check_untouched, read_manifest
from dhl.run.model_graph import all_models
from dhl.run.outputs import FIGURE_FORMATS, TABLE_FORMATS, figure_names
from dhl.run.results import file_digest

CITATION = ("CITATION.cff", "citation.bib")

# What the first part of a path says of a file.
_ABOUT = {
    "report": "The report: one page with tables, figures, verdicts and provenance; opens offline",
    "tables": "A table of the paper with the values of this run",
    "figures": "A figure of the report, or its numbers",
    "claims.csv": "The verdict on each claim, with difference, interval and tests",
    "evaluation": "The results of every method at one noise level, one row an image",
    "sensitivity.csv": "Other task weights, wrong noise levels and other task networks",
    "data": "The damaged images of a part, which were left out",
    "downloads": "What a downloaded data set consists of: its archives with digests, and its size",
    "training": "The loss of a training over its steps",
    "noise": "Seed, digest and moments of the noise of each test image at one noise level",
    "models": "The weights of a trained network",
    "own_code": "A user's own code, below the path that the configuration has, as it was then",
    "manifest.json": "Versions, hardware, configuration and the digest of each file of the run",
    CONFIGURATION: "The configuration of the run, with all defaults written out",
    WORKFLOW: "The entry point of the workflow, as in the checkout that wrote this archive",
    "workflow": "Rules of the workflow, as in the checkout that wrote this archive",
    "environment.yml": "The conda environment of the workflow's jobs",
    "constraints.txt": "The versions that pip installs",
    "LICENSE": "The licence of the software and of the results",
    "CITATION.cff": "How to cite the software and the paper",
    "citation.bib": "BibTeX entries of the software and the paper",
    README: "What is in the archive, and how to repeat the run",
}
_OLDEST = (1980, 1, 1, 0, 0, 0)  # the first time that a zip file can hold


def export_run(root: Path, output: Path | None = None, *, models: bool = False) -> Path:
    """Write the archive of a finished run; equal runs give equal bytes.

    Parameters
    ----------
    root : Path
        The run's folder.
    output : Path, optional
        The archive's file; by default beside the run's folder, under its name.
    models : bool
        Whether the weights of the trained networks are part of it.

    Returns
    -------
    Path
        The archive's file.

    Raises
    ------
    UserError
        If the run is not finished, a file differs from the manifest, or the archive would lie in
        the run's folder.
    """
    folder = RunFolder(root.resolve())
    output = output or folder.root.with_name(f"{folder.root.name}.zip")
    if output.resolve().is_relative_to(folder.root):
        raise UserError(
            "the folder of a run holds the files that its manifest lists, and no others.",
            came=f"the archive {output} in {root}",
            do="name a place outside with --output.",
        )
    check_untouched(folder.root)
    config = load_config(folder.config)
    manifest = read_manifest(folder)
    sources = _sources(config, folder, models=models)
    description = _description(config, manifest)
    files = [_describe(name, path, folder) for name, path in sources.items()]
    readme = _readme(manifest, description, sources).encode()
    files.append(_crate_file(README, len(readme), hashlib.sha256(readme).hexdigest(), of_run=False))
    files.sort(key=lambda file: file.name)
    metadata = describe_crate(manifest, files, description=description)
    text = json.dumps(metadata, indent=1, ensure_ascii=False) + "\n"
    _write_zip(output, sources | {README: readme, METADATA: text.encode()})
    return output


def _sources(config: Config, folder: RunFolder, *, models: bool) -> dict[str, Path]:
    """Return the archive's files, by their path in it: those of the run and of the software."""
    results = _finished(config, folder)
    if models:
        results += [folder.model(key) for key in all_models(config)]
    if missing := [path for path in results if not path.is_file()]:
        raise UserError(
            "an archive is made of a finished run.",
            came=f"{len(missing)} files are missing in {folder.root}, such as {missing[0]}",
            do=f"finish it: snakemake report --cores all --configfile {folder.config}",
        )
    rules = sorted(project_file("workflow/rules").glob("*.smk"))
    names = (WORKFLOW, "environment.yml", "constraints.txt", "LICENSE", *CITATION)
    software = [*map(project_file, names), *rules]
    results += [path for path in _if_there(config, folder) if path.is_file()]
    return (
        {path.relative_to(folder.root).as_posix(): path for path in results}
        | {path.relative_to(PROJECT).as_posix(): path for path in software}
        | _own_code(folder)
    )


def _own_code(folder: RunFolder) -> dict[str, Path]:
    """Return the user's own files by their path in the archive, if they are those of the run."""
    files = {}
    for name, digest in read_manifest(folder).get("own_code", {}).items():
        path = Path(name)
        if not path.is_file() or file_digest(path) != digest:
            raise UserError(
                "own code is archived as it was for the run.",
                came=f"{path} is missing in {Path.cwd()}, or was changed since",
                do="go to the folder where the run was made, put the file back, or run it again.",
            )
        inside = [part for part in path.parts if part not in (path.anchor, "..")]
        files["/".join(["own_code", *inside])] = path
    return files


def _finished(config: Config, folder: RunFolder) -> list[Path]:
    """List what every finished run has, but images, arrays and weights."""
    tables = [
        folder.table(TABLES[part], suffix) for part in config.parts for suffix in TABLE_FORMATS
    ]
    figures = [
        folder.figures / f"{name}.{suffix}"
        for name in figure_names(config.parts, studies(config))
        for suffix in FIGURE_FORMATS
    ]
    noise = [
        folder.noise(part, sigma) for part in config.parts for sigma in config.parts[part].sigmas
    ]
    measured = [*noise, *(folder.evaluation(*place) for place in evaluations(config))]
    curves = [folder.training(key) for key in all_models(config)]
    single = [folder.config, folder.manifest, folder.claims, folder.report]
    if studies(config):
        single.append(folder.sensitivity)
    return [*single, *tables, *figures, *measured, *curves]


def _if_there(config: Config, folder: RunFolder) -> list[Path]:
    """List what a run may lack: one of an older version, or that downloaded nothing."""
    figures = figure_names(config.parts, studies(config))
    return [
        *(folder.figures / f"{name}.csv" for name in figures),
        *(folder.skipped(part) for part in config.parts),
        *(folder.download(name) for name in needed_sets(config)),
    ]


def _describe(name: str, path: Path, folder: RunFolder) -> CrateFile:
    """Measure a file."""
    of_run = path.is_relative_to(folder.root)
    return _crate_file(name, path.stat().st_size, file_digest(path), of_run=of_run)


def _crate_file(name: str, size: int, sha256: str, *, of_run: bool) -> CrateFile:
    """Say what a file holds."""
    return CrateFile(name, _ABOUT[name.split("/")[0]], size, sha256, of_run)


def _description(config: Config, manifest: dict[str, Any]) -> str:
    """Say in a sentence what was run."""
    scope = "; ".join(describe_scope(config))
    return (
        f"Results of the run {manifest['run']} of dhl, which replicates Liu et al., IJCAI 2018: "
        f"{scope}."
    )


def describe_scope(config: Config) -> list[str]:
    """Say which parts run on which data at which noise; parts that share both share a phrase."""
    shared: dict[tuple[str, str], list[str]] = {}
    for part in config.parts:
        sigmas = ", ".join(map(format_sigma, config.parts[part].sigmas))
        shared.setdefault((config.parts[part].data.name, sigmas), []).append(part)
    return [
        f"{' and '.join([', '.join(parts[:-1]), parts[-1]] if parts[1:] else parts)} "
        f"on the data set {name} at sigma {sigmas}"
        for (name, sigmas), parts in shared.items()
    ]


def _readme(manifest: dict[str, Any], description: str, sources: dict[str, Path]) -> str:
    """Write the archive's own page."""
    tops = dict.fromkeys(name.split("/")[0] for name in sorted([*sources, README]))
    rows = "\n".join(f"| `{top}` | {_ABOUT[top]} |" for top in tops)
    return _README.format(
        run=manifest["run"],
        description=description,
        rows=rows,
        created=manifest["created"],
        code=describe_code(manifest),
        bibtex=project_file(CITATION[1]).read_text("utf-8").strip(),
    )


_README = """# Run {run} of dhl

{description}

| file or folder | what it is |
| --- | --- |
{rows}

`ro-crate-metadata.json` describes every file, with its SHA-256, for programs
(https://w3id.org/ro/crate/1.1). `manifest.json` also lists what the run made and is left out here:
the images of the data sets, arrays and, unless there is a folder `models`, weights. Logs, the time
and memory of each job and the checkpoints of unfinished trainings are left out too, and are not in
the manifest. Links of the report to what is left out lead nowhere.

## Repeat it

Finished at {created}, by {code}. In a checkout of dhl at that commit:

```sh
snakemake report --cores all --configfile config.yaml
```

## Licence

MIT, see `LICENSE`. The pictures in the report and in `figures/example_*` come from data sets with
licences of their own; the report lists them under its sources.

## Cite

```bibtex
{bibtex}
```
"""


def _write_zip(output: Path, contents: dict[str, Path | bytes]) -> None:
    """Write a zip file in which neither order nor times depend on where and when."""
    with atomic_path(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, date_time=_OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is written
            entry.external_attr = 0o644 << 16
            content = contents[name]
            with archive.open(entry, "w", force_zip64=True) as target:
                if isinstance(content, bytes):
                    target.write(content)
                else:
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, target)
