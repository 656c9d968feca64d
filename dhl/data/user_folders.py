"""Which folders of a configuration are the user's own, and whether files in them have changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from dhl.config.data_sets import DataSet
from dhl.config.schema import Config
from dhl.data.layouts import SUFFIXES, VOC

# The fields of a kind of data that are a user's folders.
USER_FOLDERS = {
    "folder": ("train", "test"),
    "image_folder": ("train", "test"),
    "ilsvrc2012": ("path",),
    "voc": ("path",),
}
# What is read below such a folder, if not all; of a `folder` it is the files directly inside.
PLACES = {"ilsvrc2012": ("train", "val"), "voc": (VOC.lists, VOC.labels, VOC.images)}
READ = (*SUFFIXES, ".txt")
MOST_FILES = 20_000  # are looked at: planning a run shall not wait for a million


def user_folders(config: Config, *parts: str) -> Iterator[tuple[DataSet, str, str]]:
    """Yield data, field and key path of each folder of the user's own, of some parts or of all."""
    for part in parts or config.parts:
        spec = config.parts[part].data
        for field in USER_FOLDERS.get(spec.kind, ()):
            if getattr(spec, field) not in (None, *spec.downloads):
                yield spec, field, f"parts.{part}.data.{field}"


def files_digest(config: Config, part: str) -> str:
    """Digest names, sizes and times of the files in a part's folders; none is opened.

    Of folders with more than `MOST_FILES`, and of all that come after these in the order of depth
    and names, it is their own times: those change when a file is added, removed or replaced, not
    when it is written into.
    """
    digest = hashlib.sha256()
    for spec, field, key in user_folders(config, part):
        root = Path(getattr(spec, field))
        places = [root / place for place in PLACES.get(spec.kind, ("",))]
        for state in _states(places, deep=spec.kind != "folder"):
            digest.update(os.fsencode(f"{key} {state}\n"))
    return digest.hexdigest()


def _states(places: list[Path], *, deep: bool) -> Iterator[str]:
    """Describe the files in some folders and, if `deep`, below them."""
    room = MOST_FILES
    for place in places:  # grows
        entries = _entries(place) if room >= 0 else []
        if deep:
            places += [Path(entry.path) for entry in entries if entry.is_dir()]
        files = [entry for entry in entries if entry.name.lower().endswith(READ)]
        room -= len(files)
        for path in files if room >= 0 else [place]:
            with contextlib.suppress(OSError):  # of what cannot be read, the data step speaks
                info = path.stat()
                yield f"{os.fspath(path)} {info.st_size} {info.st_mtime_ns}"


def _entries(folder: Path) -> list[os.DirEntry]:
    """List what is in a folder, by name; nothing if it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
    return []
