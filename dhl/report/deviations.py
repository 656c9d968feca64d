"""Where a run differs from the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dhl.config.methods import PEERS
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
    values = known_values(config)
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


def known_values(config: Config) -> dict[str, Any]:
    """Return what conditions and texts can use: the configuration, and `stand_ins`.

    `stand_ins` has the network in the row of each peer, if it is not the paper's; else "".
    """
    stand_ins = {peer: config.stand_in(peer) for peer in PEERS}
    return config.model_dump(mode="json") | {"stand_ins": stand_ins}


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
