"""Published values on the page, and what the same denoisers reach here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dhl.analysis.calibration import PROTOCOL, read_calibration
from dhl.analysis.published import read_literature, read_published
from dhl.config.methods import TABLES
from dhl.run.results import AVERAGE
from dhl.sigma import format_sigma

_KINDS = {"crop": "here, crops", "full": "here, complete images"}
_LINE = ["method", "image_id", "kind", "note"]


def read_comparison(published: Path) -> dict[str, Any]:
    """Arrange published PSNR and what was measured here: a line per method and kind of value.

    Returns
    -------
    dict
        `lines`, each with `method`, `kind`, `note` and `cells`, which are values in dB; `heads` of
        the table; and `largest`, the row of `CALIBRATION_COLUMNS` with the largest difference, of
        `compared` rows.
    """
    literature, measured = read_literature(published), read_calibration()
    compared = measured.dropna(subset="difference")
    largest = compared.loc[compared["difference"].abs().idxmax()].to_dict()
    measured = measured[measured["protocol"] == PROTOCOL].sort_values("region")
    values = pd.concat([
        literature.assign(kind="published", note=literature["source"]),
        measured.assign(kind=measured["region"].map(_KINDS), note=measured["weights"]),
    ])  # fmt: skip
    methods = list(dict.fromkeys(values["method"]))
    values["rank"] = [methods.index(method) for method in values["method"]]
    values = values.sort_values(["rank", "image_id"], kind="stable")
    table = values.pivot(index=_LINE, columns="sigma", values="value")
    lines = []
    for method, image_id, kind, note in values[_LINE].drop_duplicates().itertuples(index=False):
        label = method if image_id == AVERAGE else f"{method}, {image_id}"
        cells = table.loc[(method, image_id, kind, note)].tolist()
        lines.append({"method": label, "kind": kind, "note": note, "cells": cells})
    levels = [f"σ = {format_sigma(sigma)}" for sigma in table.columns]
    return {
        "heads": ["Method", "Value", *levels, "Source"], "lines": lines, "largest": largest,
        "compared": len(compared),
    }  # fmt: skip


def count_untranscribed(published: Path) -> dict[str, int]:
    """Count the cells of the paper's tables, and the cells that are not transcribed."""
    cells = [
        value
        for number in TABLES.values()
        for value in read_published(number, published).cells.values()
    ]
    return {"cells": len(cells), "missing": sum(pd.isna(value) for value in cells)}
