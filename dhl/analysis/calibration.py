"""The calibration: what published methods reach through this project's noise and metric.

`config/calibration.csv` has a row per method, noise level, region and protocol, beside the value
that a paper reports. PSNR is in dB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dhl.analysis.published import read_literature
from dhl.files import PROJECT, atomic_path
from dhl.run.results import AVERAGE, read_csv, write_csv

CALIBRATION_COLUMNS = (
    "method", "weights", "sha256", "sigma", "protocol", "region", "image_id", "images", "base_seed",
    "value", "published", "source", "difference",
)  # fmt: skip
CALIBRATION = PROJECT / "config" / "calibration.csv"
PROTOCOL = "plain"  # what papers do, apart from rounding to 8 bits: 0.02 dB at most
# Methods of Table 1 by their names in the literature.
_PUBLISHED_NAMES = {"cbm3d": "CBM3D", "dncnn": "DnCNN (one per sigma)"}


def write_calibration(rows: list[dict[str, Any]], path: Path, *, published: str | Path) -> None:
    """Write what was measured of published methods, beside what their papers report.

    Only `benchmarks/calibration.py` and tests call it.

    Parameters
    ----------
    rows : list of dict
        The columns of `CALIBRATION_COLUMNS` up to `value`. Rows of the file for other methods and
        noise levels are kept.
    path : Path
    published : str or Path
        A file like `config/published.csv`.
    """
    key = ["method", "sigma", "image_id", "region", "protocol"]
    frame = pd.DataFrame(rows)
    if path.exists():
        frame = pd.concat([read_calibration(path)[frame.columns], frame])
        frame = frame.drop_duplicates(key, keep="last")
    # Papers report averages over crops, and single images complete.
    same = (frame["image_id"] == AVERAGE).map({True: "crop", False: "full"}) == frame["region"]
    frame["comparable"] = same & (frame["protocol"] == PROTOCOL)
    papers = read_literature(published).rename(columns={"value": "published"})
    papers = papers[["method", "sigma", "image_id", "published", "source"]].assign(comparable=True)
    frame = frame.merge(papers, "left", on=["method", "sigma", "image_id", "comparable"])
    frame["difference"] = frame["value"] - frame["published"]
    write_csv(frame.sort_values(key), path, CALIBRATION_COLUMNS, writer=atomic_path)


def read_calibration(path: Path = CALIBRATION) -> pd.DataFrame:
    """Read what was measured of published methods: a row per method, sigma, region and protocol.

    Returns
    -------
    DataFrame with the columns `CALIBRATION_COLUMNS`
        `value`, `published` and `difference` in dB. `region` is `full` or `crop`. `published` is
        NaN where no paper has a value under the same protocol.

    Raises
    ------
    UserError
        If the file is missing or was edited.
    """
    return read_csv(path, CALIBRATION_COLUMNS)


def released_weights_psnr(
    method: str, sigma: float, data_name: str, protocol: str, *, path: Path = CALIBRATION
) -> float | None:
    """Return the mean PSNR of a method with its released weights on complete images, measured here.

    Parameters
    ----------
    method : str
        A method of Table 1. `dncnn` is DnCNN with its released weights.
    sigma : float
        Standard deviation on the 0-255 scale.
    data_name : str
        The download that is tested on: `kodak`.
    protocol : str
        `evaluation.protocol` of the configuration.
    path : Path, optional
        The file that `benchmarks/calibration.py` writes.

    Returns
    -------
    float or None
        In dB; None for a method, noise level or data that was not measured.
    """
    if data_name != "kodak":
        return None
    rows = read_calibration(path)
    rows = rows[
        (rows["method"] == _PUBLISHED_NAMES.get(method))
        & (rows["sigma"] == sigma)
        & (rows["protocol"] == protocol)
        & (rows["region"] == "full")
    ]
    return float(rows["value"].iloc[0]) if len(rows) else None
