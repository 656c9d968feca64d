"""Where downloaded sets lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dhl.errors import UserError

if TYPE_CHECKING:
    from dhl.config.schema import Config


def data_root(config: Config) -> Path:
    """Return the folder of downloaded sets."""
    return Path(config.downloads.root or os.environ.get("DHL_DATA") or "datasets").expanduser()


def set_folder(root: Path, name: str) -> Path:
    """Return where a set is unpacked."""
    return root / name


def downloaded(root: Path, name: str) -> Path:
    """Return the folder of one extracted set.

    Raises
    ------
    UserError
        If it is not there.
    """
    folder = set_folder(root, name)
    if not folder.is_dir():
        raise UserError(
            "the data sets of a run are downloaded before they are read.",
            came=f"no folder {folder}",
            do=f"`dhl data download {name}`, or set `downloads.root` to where the sets lie.",
        )
    return folder
