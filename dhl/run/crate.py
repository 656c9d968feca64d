"""The metadata of an archive: an RO-Crate with the profile Workflow Run Crate 0.5.

References
----------
.. [1] https://w3id.org/ro/crate/1.1
.. [2] https://w3id.org/ro/wfrun/workflow/0.5
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Set
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dhl import __version__
from dhl.files import project_file
from dhl.run.outputs import OUTPUTS
from dhl.run.results import file_digest

if TYPE_CHECKING:
    from rocrate.model import ContextEntity, File
    from rocrate.rocrate import ROCrate

METADATA = "ro-crate-metadata.json"
WORKFLOW = "Snakefile"
CONFIGURATION = "config.yaml"
README = "README.md"
CITATION = "CITATION.cff"

# The files of the archive that the run did not make, by the first part of their path.
SOFTWARE = {
    "plugins": "A plug-in as the run used it, under its path in the configuration",
    WORKFLOW: "The entry point of the workflow, from the checkout that wrote this archive",
    "workflow": "Rules of the workflow, from the checkout that wrote this archive",
    "environment.yml": "The conda environment of the workflow's jobs",
    "constraints.txt": "The versions that pip installs",
    "LICENSE": "The licence of the software and of the results",
    CITATION: "How to cite the software and the paper",
    "citation.bib": "BibTeX entries of the software and the paper",
    README: "The contents of the archive, and how to repeat the run",
}
ABOUT = {
    output.pattern.split("/")[0]: output.description
    for output in reversed(OUTPUTS)  # the first output of a folder describes it
    if output.archived or output.name == "model"
} | SOFTWARE
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
# Python's built-in table of media types; the system's table differs between machines.
_MEDIA_TYPES = mimetypes.MimeTypes()
_MEDIA_TYPES.add_type("application/octet-stream", ".pt")
_MEDIA_TYPES.add_type("application/yaml", ".yaml")
_MEDIA_TYPES.add_type("text/markdown", ".md")


def describe_crate(
    manifest: dict[str, Any],
    contents: dict[str, Path | bytes],
    *,
    results: Set[str],
    description: str,
) -> dict[str, Any]:
    """Return the content of `ro-crate-metadata.json`; equal arguments give equal content.

    Parameters
    ----------
    manifest : dict
        The manifest of the run.
    contents : dict of str to Path or bytes
        All files of the archive except the metadata, by their names in the archive, with the
        workflow and the configuration.
    results : set of str
        Names of the files that the run made.
    description : str
        A sentence about the run.
    """
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")
    # RO-Crate 1.1 has no term for digests; the vocabulary of the profile has one.
    crate.metadata.extra_terms["sha256"] = "https://w3id.org/ro/terms/workflow-run#sha256"
    crate.license = _add(crate, "https://spdx.org/licenses/MIT", "CreativeWork", name="MIT License")
    files = {name: _add_file(crate, name, contents[name]) for name in sorted(contents)}
    files[README]["about"] = crate.root_dataset
    _describe_workflow(crate, files, manifest)
    action = _add_action(crate, manifest, files)
    action["result"] = [files[name] for name in files if name in results - {CONFIGURATION}]
    paper = _add_paper(crate)
    crate.name = f"Run {manifest['run']} of dhl, a replication of: {paper['name']}"
    crate.description = description
    crate.datePublished = manifest["created"][:10]  # the library's default is the current time
    crate.root_dataset["citation"] = paper
    crate.root_dataset["mentions"] = action
    crate.root_dataset["conformsTo"] = [
        _add(crate, key, "CreativeWork", name=name, version=version)
        for key, (name, version) in _PROFILES.items()
    ]
    return crate.metadata.generate()


def describe_code(manifest: dict[str, Any]) -> str:
    """Return a phrase about the version of the software that made the run."""
    if manifest["commit"] is None:
        return "code of an unknown commit"
    changed = ", with uncommitted changes" if manifest["dirty"] else ""
    return f"code of commit {manifest['commit']}{changed}"


def _add(crate: ROCrate, key: str, kind: str, **properties: object) -> ContextEntity:
    """Add an entity that is not a file of the archive."""
    return crate.add_jsonld({"@id": key, "@type": kind, **properties})


def _add_paper(crate: ROCrate) -> ContextEntity:
    """Add the replicated paper, as the citation file describes it."""
    (paper,) = yaml.safe_load(project_file(CITATION).read_text("utf-8"))["references"]
    authors = []
    for one in paper["authors"]:
        name = f"{one['given-names']} {one['family-names']}"
        authors.append(_add(crate, f"#{name.replace(' ', '-').lower()}", "Person", name=name))
    return _add(
        crate,
        paper["url"],
        "ScholarlyArticle",
        name=paper["title"],
        author=authors,
        datePublished=str(paper["year"]),
        identifier=paper["identifiers"][0]["value"],
    )


def _add_file(crate: ROCrate, name: str, content: Path | bytes) -> File:
    """Add a file; the Snakefile becomes the main workflow."""
    if isinstance(content, bytes):
        size, sha256 = len(content), hashlib.sha256(content).hexdigest()
    else:
        size, sha256 = content.stat().st_size, file_digest(content)
    properties = {
        "name": name,
        "description": ABOUT[name.split("/")[0]],
        "encodingFormat": _MEDIA_TYPES.guess_type(name)[0] or "text/plain",
        "contentSize": str(size),
        "sha256": sha256,
    }
    if name == WORKFLOW:
        return crate.add_workflow(
            dest_path=name, properties=properties, main=True, lang="snakemake"
        )
    return crate.add_file(dest_path=name, properties=properties)


def _describe_workflow(crate: ROCrate, files: dict[str, File], manifest: dict[str, Any]) -> None:
    """Add the authors of the workflow, its rules, and the packages that the run used."""
    workflow = files[WORKFLOW]
    authors = _add(crate, "#dhl-authors", "Organization", name="The dhl authors")
    packages = []
    for name, version in manifest["versions"].items():
        if version != "not installed":
            kind = "generic" if name == "python" else "pypi"
            key = f"pkg:{kind}/{name}@{version.partition('+')[0]}"  # a package URL has no build
            properties = {"name": name, "softwareVersion": version}
            packages.append(_add(crate, key, "SoftwareApplication", **properties))
    workflow["name"] = "The workflow of dhl"
    workflow["version"] = __version__
    workflow["license"] = crate.license
    workflow["author"] = workflow["creator"] = authors
    workflow["hasPart"] = [file for name, file in files.items() if name.endswith(".smk")]
    workflow["softwareRequirements"] = packages


def _add_action(crate: ROCrate, manifest: dict[str, Any], files: dict[str, File]) -> ContextEntity:
    """Add the run itself: its workflow, configuration, times and machine."""
    hardware = manifest["hardware"].items()
    machine = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in hardware)
    action = crate.add_action(
        files[WORKFLOW],
        f"#run-{manifest['run']}-{manifest['created'].replace(':', '')}",
        object=files[CONFIGURATION],
        properties={
            "name": f"Run {manifest['run']}",
            "description": f"snakemake report --configfile {CONFIGURATION}; "
            f"{describe_code(manifest)}; base seed {manifest['base_seed']}; "
            f"the machine that wrote the manifest: {machine}",
            "endTime": datetime.fromisoformat(manifest["created"]).isoformat(),
        },
    )
    if started := manifest.get("started"):
        action["startTime"] = datetime.fromisoformat(started).isoformat()
    return action
