"""What is an image, and what is a class, in a folder of the user.

One rule serves the configuration, the data step, its check and its digest:

- An image is a file whose name ends with one of `SUFFIXES`, or a link to one.
- Names that begin with a dot, and the folders of `CLUTTER`, are hidden.
- A link to a folder is not followed. Only the folder in the configuration and the folder of a class
  may be links, the latter if it leads neither into nor above the folder of all classes.
- Everything else is left out, and named.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dhl.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
# Folders that programs make: archives of macOS, thumbnails of a file server, waste bins.
CLUTTER = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found")


class Found(NamedTuple):
    """Names that count, and names that are left out, relative to a folder and in a fixed order."""

    names: list[str]
    left_out: list[str]


def find_images(folder: Path, *, below: bool = False) -> Found:
    """List the images directly in a folder and, if `below`, in its folders at any depth."""
    found = _sorted(folder, _is_image)
    if not below:
        return found
    for name in list(found.left_out):
        path = folder / name
        if not is_hidden(path.name) and path.is_dir() and not path.is_symlink():
            found.left_out.remove(name)
            for names, inside in zip(found, find_images(path, below=True), strict=True):
                names += [f"{name}{one}" for one in inside]
    return Found(*map(sorted, found))


def find_classes(folder: Path) -> Found:
    """List the folders of classes in a folder; no class is a `UserError`."""
    if not folder.is_dir():
        raise UserError(
            f"The data folder {folder} is missing.",
            came="no such folder",
            do="correct the path in `data`.",
        )
    found = _sorted(folder, _is_class)
    if not found.names:
        raise UserError(
            f"The data folder {folder} has no folder per class.",
            came=f"no folder inside, and {len(found.left_out)} other names",
            do="sort the images into one folder per class, or correct the path in `data`.",
        )
    return found


def is_hidden(name: str) -> bool:
    """Tell whether a name is hidden."""
    return name.startswith(".") or name.lower() in CLUTTER


def _is_image(entry: os.DirEntry) -> bool:
    """Tell whether an entry is a file with the ending of an image.

    A broken link counts, so that the run reports it as unreadable.
    """
    named = entry.name.lower().endswith(SUFFIXES)
    return named and (_is_broken_link(entry) or entry.is_file())


def _is_class(entry: os.DirEntry) -> bool:
    """Tell whether an entry is the folder of a class. A broken link counts, as a missing class."""
    if not entry.is_symlink() or _is_broken_link(entry):
        return entry.is_dir(follow_symlinks=False) or entry.is_symlink()
    target, folder = Path(entry.path).resolve(), Path(entry.path).parent.resolve()
    apart = not target.is_relative_to(folder) and not folder.is_relative_to(target)
    return entry.is_dir() and apart


def _is_broken_link(entry: os.DirEntry) -> bool:
    """Tell whether an entry is a link to nothing, or to itself."""
    return entry.is_symlink() and not Path(entry.path).exists()


def _sorted(folder: Path, counts: Callable[[os.DirEntry], bool]) -> Found:
    """Sort the entries of a folder into those that count and those that are left out."""
    found = Found([], [])
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if not is_hidden(entry.name) and counts(entry):
                    found.names.append(entry.name)
                else:
                    folder_mark = "/" if not _is_broken_link(entry) and entry.is_dir() else ""
                    found.left_out.append(entry.name + folder_mark)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be read.",
            came=f"{folder}: {error.strerror}",
            do="correct the path in `data`, or the permissions of the folder.",
        ) from None
    return found
