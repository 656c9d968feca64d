"""The user folders of a configuration, and a digest that changes with their files."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from dhl.config.data_sets import DOWNLOADABLE_FOLDERS, PartData
from dhl.config.folders import SUFFIXES, find_classes, is_hidden
from dhl.config.schema import Config
from dhl.data.layouts import VOC
from dhl.errors import UserError

# The fields with a user's folders, by kind of data.
USER_FOLDERS = {
    "folder": ("train", "test"),
    "image_folder": ("train", "test"),
    "ilsvrc2012": ("path",),
    "voc": ("path",),
}
# Kinds of data that read only some subfolders.
SUBFOLDERS = {"ilsvrc2012": ("train", "val"), "voc": (VOC.lists, VOC.labels, VOC.images)}
READ = (*SUFFIXES, ".txt")
MAX_FILES = 20_000  # the digest covers at most this many files, so that planning stays fast


def user_folders(config: Config, *parts: str) -> Iterator[tuple[PartData, str, str]]:
    """Yield specification, field and key path of each user folder of the parts, by default all."""
    for part in parts or config.parts:
        spec = config.parts[part].data
        for field in USER_FOLDERS.get(spec.kind, ()):
            if getattr(spec, field) not in (None, *spec.downloads, *DOWNLOADABLE_FOLDERS):
                yield spec, field, f"parts.{part}.data.{field}"


def files_digest(config: Config, part: str) -> str:
    """Digest names, sizes and times of the files in the user folders of a part.

    Beyond `MAX_FILES` files, counted breadth first and by name, only the times of folders are
    digested. These change when a file is added, removed or replaced, not when it is edited.
    """
    digest = hashlib.sha256()
    for spec, field, key in user_folders(config, part):
        root = Path(getattr(spec, field))
        folders = [root / name for name in SUBFOLDERS.get(spec.kind, ("",))]
        for state in _states(folders, classes=spec.kind in ("image_folder", "ilsvrc2012")):
            digest.update(os.fsencode(f"{key} {state}\n"))
    return digest.hexdigest()


def _states(folders: list[Path], *, classes: bool) -> Iterator[str]:
    """Describe the files in some folders and, with `classes`, in the folders of their classes."""
    remaining = MAX_FILES
    below = [False] * len(folders)
    for folder, inside in zip(folders, below):  # the lists grow
        entries = _entries(folder) if remaining >= 0 else []
        if classes:
            more = _subfolders(folder, entries, inside=inside)
            folders += more
            below += [True] * len(more)
        files = [entry for entry in entries if entry.name.lower().endswith(READ)]
        remaining -= len(files)
        for path in files if remaining >= 0 else [folder]:
            with contextlib.suppress(OSError):  # the data step reports unreadable files
                info = path.stat()
                yield f"{os.fspath(path)} {info.st_size} {info.st_mtime_ns}"


def _subfolders(folder: Path, entries: list[os.DirEntry], *, inside: bool) -> list[Path]:
    """Return the folders in the folder of all classes, or in the folder of one, that are read."""
    if inside:
        real = (entry for entry in entries if entry.is_dir(follow_symlinks=False))
        return [Path(entry.path) for entry in real if not is_hidden(entry.name)]
    with contextlib.suppress(UserError):
        return [folder / name for name in find_classes(folder).names]
    return []


def _entries(folder: Path) -> list[os.DirEntry]:
    """List the entries of a folder by name; none if it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
    return []
