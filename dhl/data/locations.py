"""The folders of downloaded data sets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dhl.errors import UserError

if TYPE_CHECKING:
    from dhl.config.schema import Config


def data_root(config: Config) -> Path:
    """Return the folder of all downloaded sets."""
    return Path(config.downloads.root or os.environ.get("DHL_DATA") or "datasets").expanduser()


def downloaded(root: Path, name: str) -> Path:
    """Return the folder of one unpacked set, or raise a `UserError` if it is missing."""
    folder = root / name
    if not folder.is_dir():
        raise UserError(
            f"The data set `{name}` is not downloaded.",
            came=f"no folder {folder}",
            do=f"run `dhl data download {name}`, or set `downloads.root` to the right folder.",
        )
    return folder
