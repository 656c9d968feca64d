"""Where a run differs from the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.report.texts import fill_in, read_yaml


def read_deviations(config: Config, path: Path) -> list[dict[str, str]]:
    """List where this run differs from the paper.

    Parameters
    ----------
    config : Config
    path : Path
        `report/deviations.yaml`, which explains its format.

    Returns
    -------
    list of dict
        With `topic`, `paper`, `source` and `ours`.

    Raises
    ------
    UserError
        If the file is missing, or a condition or text has a key that the configuration lacks.
    """
    values = config.model_dump(mode="json")
    found = []
    for entry in read_yaml(path):
        section = _section(values, entry["at"]) if "at" in entry else {}
        if section is None:
            continue
        text = f"{{% if {entry.get('when', 'true')} %}}{entry['ours']}{{% endif %}}"
        if ours := fill_in(text, values | section):
            texts = {"source": "released code"} | entry | {"ours": ours}
            found.append({key: texts[key] for key in ("topic", "paper", "source", "ours")})
    return found


def _section(values: dict[str, Any], path: str) -> dict[str, Any] | None:
    """Return the section at a dotted path; None if the run does not have it."""
    section: dict[str, Any] | None = values
    for key in path.split("."):
        if section is not None and key not in section:
            raise UserError(
                "A text of the report names a section that no configuration has.",
                came=f"`at: {path}`",
                do="correct the entry in report/deviations.yaml.",
            )
        section = section and section[key]
    return section
