"""What an archive says of itself: RO-Crate metadata, by the profile Workflow Run Crate 0.5.

References
----------
.. [1] https://w3id.org/ro/crate/1.1
.. [2] https://w3id.org/ro/wfrun/workflow/0.5
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from dhl import __version__

METADATA = "ro-crate-metadata.json"
WORKFLOW = "Snakefile"
CONFIGURATION = "config.yaml"
README = "README.md"

_CONTEXT = [
    "https://w3id.org/ro/crate/1.1/context",
    # RO-Crate 1.1 has no digests; the profile's own vocabulary has.
    {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"},
]
_SPECIFICATION = "https://w3id.org/ro/crate/1.1"
_WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    _WORKFLOW_CRATE: ("Workflow RO-Crate", "1.0"),
}
_LICENCE = "https://spdx.org/licenses/MIT"
_AUTHORS = "#dhl-authors"
_SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
_PAPER = "https://arxiv.org/abs/1706.04284"
PAPER_TITLE = "When Image Denoising Meets High-Level Vision Tasks: A Deep Learning Approach"
PAPER_AUTHORS = ("Ding Liu", "Bihan Wen", "Xianming Liu", "Zhangyang Wang", "Thomas S. Huang")

_FORMATS = {
    ".bib": "application/x-bibtex",
    ".cff": "application/yaml",
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".pt": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".tex": "application/x-tex",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_PLAIN = "text/plain"

Entity = dict[str, Any]


@dataclass(frozen=True)
class CrateFile:
    """A file of the archive.

    Attributes
    ----------
    name : str
        Its path in the archive, with `/`.
    about : str
        What it holds, in a sentence.
    size : int
        In bytes.
    sha256 : str
    of_run : bool
        Whether the run made it; otherwise it comes with the software.
    """

    name: str
    about: str
    size: int
    sha256: str
    of_run: bool


def describe_crate(
    manifest: dict[str, Any], files: list[CrateFile], *, description: str
) -> dict[str, Any]:
    """Return the content of `ro-crate-metadata.json`.

    Parameters
    ----------
    manifest : dict
        That of the run.
    files : list of CrateFile
        All of the archive but the metadata; with the workflow and the configuration.
    description : str
        What the run was about.

    Returns
    -------
    dict
        JSON-LD, flat: an entity for each file, and for what they came from.
    """
    graph = [
        _descriptor(),
        _root(manifest, files, description),
        *(_creative(key, name, version=version) for key, (name, version) in _PROFILES.items()),
        _creative(_LICENCE, "MIT License"),
        {"@id": _AUTHORS, "@type": "Organization", "name": "The dhl authors"},
        *_paper(),
        _language(),
        *_software(manifest),
        _action(manifest, files),
        *(_file(file) for file in files if file.name != WORKFLOW),
        *(_workflow(file, manifest, files) for file in files if file.name == WORKFLOW),
    ]
    return {"@context": _CONTEXT, "@graph": graph}


def encoding_format(name: str) -> str:
    """Return the media type of a file by its ending."""
    return _FORMATS.get(PurePosixPath(name).suffix, _PLAIN)


def _reference(key: str) -> dict[str, str]:
    """Point to an entity."""
    return {"@id": key}


def _file_id(name: str) -> str:
    """Return the identifier of a file: its path, with what no address holds escaped."""
    return quote(name)


def _creative(key: str, name: str, **more: str) -> Entity:
    """Describe a profile or a licence."""
    return {"@id": key, "@type": "CreativeWork", "name": name, **more}


def _descriptor() -> Entity:
    """Describe the metadata file itself."""
    return {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": _reference("./"),
        "conformsTo": [_reference(_SPECIFICATION), _reference(_WORKFLOW_CRATE)],
    }


def _root(manifest: dict[str, Any], files: list[CrateFile], description: str) -> Entity:
    """Describe the archive."""
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Run {manifest['run']} of dhl: {PAPER_TITLE}, replicated",
        "description": description,
        "datePublished": manifest["created"][:10],
        "license": _reference(_LICENCE),
        "conformsTo": [_reference(key) for key in _PROFILES],
        "mainEntity": _reference(WORKFLOW),
        "mentions": _reference(_action_id(manifest)),
        "citation": _reference(_PAPER),
        "hasPart": [_reference(_file_id(file.name)) for file in files],
    }


def _paper() -> list[Entity]:
    """Describe the paper that is replicated, and who wrote it."""
    people = {f"#{name.lower().replace('.', '').replace(' ', '-')}": name for name in PAPER_AUTHORS}
    article = {
        "@id": _PAPER,
        "@type": "ScholarlyArticle",
        "name": PAPER_TITLE,
        "author": [_reference(key) for key in people],
        "datePublished": "2018",
        "identifier": "arXiv:1706.04284",
        "isPartOf": _reference("#ijcai-2018"),
    }
    series = "Proceedings of the 27th International Joint Conference on Artificial Intelligence"
    return [
        article,
        {"@id": "#ijcai-2018", "@type": "CreativeWork", "name": series},
        *({"@id": key, "@type": "Person", "name": name} for key, name in people.items()),
    ]


def _software(manifest: dict[str, Any]) -> list[Entity]:
    """Describe the packages that the run was computed with."""
    return [
        {
            "@id": _software_id(name, version),
            "@type": "SoftwareApplication",
            "name": name,
            "softwareVersion": version,
            "identifier": _software_id(name, version),
        }
        for name, version in manifest["versions"].items()
        if version != "not installed"
    ]


def _software_id(name: str, version: str) -> str:
    """Return the package URL of a version, without the part that names a build."""
    kind = "generic" if name == "python" else "pypi"
    return f"pkg:{kind}/{name}@{version.partition('+')[0]}"


def _language() -> Entity:
    """Describe the language of the workflow."""
    site = _reference("https://snakemake.github.io")
    return {
        "@id": _SNAKEMAKE,
        "@type": "ComputerLanguage",
        "name": "Snakemake",
        "identifier": site,
        "url": site,
    }


def _action_id(manifest: dict[str, Any]) -> str:
    """Return an identifier of the run that another run does not have."""
    return f"#run-{manifest['run']}-{manifest['created'].replace(':', '')}"


def _action(manifest: dict[str, Any], files: list[CrateFile]) -> Entity:
    """Describe the run: what it read, what it made, when and on what."""
    end = datetime.fromisoformat(manifest["created"])
    started = {}
    if (seconds := manifest["wall_seconds"]) is not None:
        started = {"startTime": (end - timedelta(seconds=round(seconds))).isoformat()}
    hardware = manifest["hardware"]
    machine = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in hardware.items())
    results = [file for file in files if file.of_run and file.name != CONFIGURATION]
    return {
        "@id": _action_id(manifest),
        "@type": "CreateAction",
        "name": f"Run {manifest['run']}",
        "description": (
            f"snakemake report --configfile {CONFIGURATION}; {describe_code(manifest)}; base seed "
            f"{manifest['base_seed']}; the machine that wrote the manifest: {machine}"
        ),
        **started,
        "endTime": end.isoformat(),
        "instrument": _reference(WORKFLOW),
        "object": _reference(CONFIGURATION),
        "result": [_reference(_file_id(file.name)) for file in results],
    }


def describe_code(manifest: dict[str, Any]) -> str:
    """Say which version of the software made the run."""
    if manifest["commit"] is None:
        return "code of an unknown commit"
    changed = ", with uncommitted changes" if manifest["dirty"] else ""
    return f"code of commit {manifest['commit']}{changed}"


def _file(file: CrateFile) -> Entity:
    """Describe a file; the page of the archive is about the archive."""
    subject = {"about": _reference("./")} if file.name == README else {}
    return {
        "@id": _file_id(file.name),
        "@type": "File",
        "name": file.name,
        "description": file.about,
        "encodingFormat": encoding_format(file.name),
        "contentSize": str(file.size),
        "sha256": file.sha256,
        **subject,
    }


def _workflow(file: CrateFile, manifest: dict[str, Any], files: list[CrateFile]) -> Entity:
    """Describe the Snakefile, with what it includes and what it needs."""
    rules = [other.name for other in files if other.name.endswith(".smk")]
    return _file(file) | {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": "The workflow of dhl",
        "version": __version__,
        "author": _reference(_AUTHORS),
        "creator": _reference(_AUTHORS),
        "license": _reference(_LICENCE),
        "programmingLanguage": _reference(_SNAKEMAKE),
        "hasPart": [_reference(_file_id(name)) for name in rules],
        "softwareRequirements": [_reference(entity["@id"]) for entity in _software(manifest)],
    }
