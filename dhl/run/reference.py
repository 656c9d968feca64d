"""A reference: the files of a complete run from which tables and verdicts can be computed again.

It has the layout of a run, so that the same functions read both:

- configuration, tables, verdicts and sensitivity studies are copies;
- the results of each image are compressed, sorted by image, which needs little more than half the
  space of the run's order;
- of the noise, the digest of each noisy image is kept;
- `evaluation/segmentation/*.npz` have the confusion matrices, without pictures;
- `data/*.npz` have the names and the origins of the test images, without pixels;
- the manifest is that of the run, and its section `reference` has the digest of each file here.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from dhl.config.parse import load_config
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.files import atomic_path
from dhl.run.contents import files_of, incomplete_run
from dhl.run.export import check_outside
from dhl.run.failures import failure_of
from dhl.run.folder import RunFolder
from dhl.run.manifest import check_untouched, files_in, read_manifest
from dhl.run.results import open_arrays

COPIED = ("config", "table", "claims", "sensitivity")
COMPRESSED: dict[str, tuple[str, ...]] = {"evaluation": (), "noise": ("image_id", "sha256")}
# Beginnings of the names of the arrays that are kept.
REDUCED = {"arrays": ("image_ids", "confusion/"), "images": ("test/ids", "test/origins/")}
NEEDED = {"arrays": "confusion/", "images": "test/origins/"}  # else the file is left out


def write_reference(root: Path, output: Path) -> None:
    """Write a reference of the complete run in `root` into the folder `output`.

    Equal runs give equal bytes. A reference of the same configuration in `output` is replaced.

    Raises
    ------
    UserError
        If a file of the run is missing or differs from its manifest, or if `output` is in the
        run's folder or has files that the reference lacks.
    """
    folder, target = RunFolder(root), RunFolder(output)
    check_outside(folder, output)
    check_untouched(root)
    contents = _contents(load_config(folder.config), folder)
    others = {path.relative_to(output).as_posix() for path in files_in(target)} - set(contents)
    if others:
        raise UserError(
            f"The folder {output} has files that do not belong to the reference.",
            came=f"{len(others)} files, such as {min(others)}",
            do="name an empty folder, or delete these files.",
        )
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = json.dumps(read_manifest(folder) | {"reference": digests}, indent=1) + "\n"
    for name, content in (contents | {target.manifest.name: manifest.encode()}).items():
        with atomic_path(output / name) as temporary:
            temporary.write_bytes(content)


def _contents(config: Config, folder: RunFolder) -> dict[str, bytes]:
    """Return the files of the reference by name, without the manifest."""
    names = (*COPIED, *COMPRESSED, *REDUCED)
    paths = {name: files_of(config, folder, name) for name in names}
    every = [path for group in paths.values() for path in group]
    if missing := [path for path in every if not path.is_file() or failure_of(path) is not None]:
        raise incomplete_run(folder, missing)
    contents = {path: path.read_bytes() for name in COPIED for path in paths[name]}
    for name, columns in COMPRESSED.items():
        for path in paths[name]:
            contents[path.with_name(f"{path.name}.gz")] = _compressed(path, columns)
    for name in REDUCED:
        for path in paths[name]:
            if reduced := _reduced(path, name):
                contents[path] = reduced
    return {path.relative_to(folder.root).as_posix(): contents[path] for path in sorted(contents)}


def _compressed(path: Path, columns: tuple[str, ...]) -> bytes:
    """Return columns (default: all) of a CSV file, sorted by image; no value is changed."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        text = io.StringIO(newline="")
        names = columns or rows.fieldnames or ()
        writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=itemgetter("image_id")))
    target = io.BytesIO()
    # Without name and time, equal rows give equal bytes.
    with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as file:
        file.write(text.getvalue().encode())
    return target.getvalue()


def _reduced(path: Path, name: str) -> bytes | None:
    """Return an `.npz` with the arrays that a reference keeps; None if it would say nothing."""
    with open_arrays(path) as arrays:
        kept: dict[str, Any] = {key: arrays[key] for key in arrays if key.startswith(REDUCED[name])}
    if not any(key.startswith(NEEDED[name]) for key in kept):
        return None
    target = io.BytesIO()
    np.savez_compressed(target, **kept)
    return target.getvalue()
