"""Published values: the transcribed cells of the paper's tables, and those of other papers.

Accuracy and mIoU are stored as fractions, PSNR in dB. A row with an empty value is a cell of the
paper that is not transcribed yet; a cell without a row is not in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dhl.errors import UserError
from dhl.run.results import AVERAGE
from dhl.sigma import format_sigma

TRANSCRIBED = "transcribed"
NOT_TRANSCRIBED = "not transcribed"
NOT_IN_PAPER = "not in the paper"

_COLUMNS = ("table", "source", "method", "sigma", "metric", "image_id", "value", "status")
_KEY = ["table", "source", "method", "sigma", "metric", "image_id"]
_FRACTIONS = ("top1", "top5", "miou")


@dataclass(frozen=True)
class PublishedTable:
    """One of the paper's tables: values by method, sigma, metric and image_id.

    NaN: the paper has the value, but it was not transcribed.
    """

    cells: dict[tuple[str, float, str, str], float]

    def lookup(
        self, method: str, sigma: float, metric: str, image_id: str = AVERAGE
    ) -> tuple[float, str]:
        """Return the published value, NaN if there is none, and the cell's status."""
        key = (method, float(sigma), metric, image_id)
        if key not in self.cells:
            return float("nan"), NOT_IN_PAPER
        value = self.cells[key]
        return value, NOT_TRANSCRIBED if pd.isna(value) else TRANSCRIBED

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise levels of the paper's table."""
        return tuple(sorted({sigma for _, sigma, _, _ in self.cells}))

    @property
    def methods(self) -> tuple[str, ...]:
        """The rows of the paper's table, in the file's order."""
        return tuple(dict.fromkeys(method for method, _, _, _ in self.cells))

    def metrics(self, sigma: float) -> set[str]:
        """Return the metrics that the paper's table reports at a noise level."""
        return {metric for _, level, metric, _ in self.cells if level == sigma}


def read_published(number: int, path: str | Path) -> PublishedTable:
    """Read one of the paper's tables from a file like `config/published.csv`.

    Raises
    ------
    UserError
        If the file is missing or breaks a rule.
    """
    frame = _read(Path(path))
    frame = frame[frame["table"] == str(number)]
    keys = zip(frame["method"], frame["sigma"], frame["metric"], frame["image_id"], strict=True)
    return PublishedTable(dict(zip(keys, frame["value"], strict=True)))


def read_literature(path: str | Path) -> pd.DataFrame:
    """Read other papers' values on Kodak24 from a file like `config/published.csv`.

    Returns
    -------
    DataFrame with columns method, sigma, metric, image_id, value, source, status
        PSNR in dB: averages over the 500x500 crops, which differ by about 0.2 dB from those over
        the full-size images, and the values of single images.

    Raises
    ------
    UserError
        If the file is missing or breaks a rule.
    """
    frame = _read(Path(path))
    columns = ["method", "sigma", "metric", "image_id", "value", "source", "status"]
    return frame.loc[frame["table"] == "literature", columns].reset_index(drop=True)


def _read(path: Path) -> pd.DataFrame:
    text = dict.fromkeys(("table", "source", "method", "metric", "image_id", "status"), str)
    try:
        frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise _error(
            path, "no such file", "run from the repository's root, or give its path"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise _error(path, str(error), "correct the file") from None
    if tuple(frame.columns) != _COLUMNS:
        columns = ", ".join(map(str, frame.columns))
        raise _error(path, f"columns {columns}", f"give it the columns {', '.join(_COLUMNS)}")
    for column in ("sigma", "value"):
        try:
            frame[column] = pd.to_numeric(frame[column]).astype(float)
        except (ValueError, TypeError) as error:
            raise _error(path, f"column `{column}`: {error}", "write plain numbers") from None
    _check_cells(frame, path)
    return frame


def _check_cells(frame: pd.DataFrame, path: Path) -> None:
    """Raise if a cell occurs twice or a fraction was written in percent."""
    # Two sources of the literature may report the same cell, but the paper reports it once.
    source = frame["source"].where(frame["table"] == "literature", "")
    doubled = frame[frame.assign(source=source).duplicated(_KEY)]
    if len(doubled):
        raise _error(path, f"two rows for {_name(doubled.iloc[0])}", "delete one of them")
    fractions = frame["metric"].isin(_FRACTIONS)
    percent = frame[fractions & ((frame["value"] < 0) | (frame["value"] > 1))]
    if len(percent):
        first = percent.iloc[0]
        came = f"{first['value']:g} for {_name(first)}"
        raise _error(path, came, "write fractions: 0.563 for 56.3 %")


def _name(row: pd.Series) -> str:
    """Name a row for a message."""
    sigma = format_sigma(row["sigma"])
    return f"{row['metric']} of {row['method']} at sigma {sigma} (table {row['table']})"


def _error(path: Path, came: str, do: str) -> UserError:
    """Return the error for a file of published values that its author must correct."""
    mistake = f"The file of published values {path} is not a tidy CSV with one row per cell."
    return UserError(mistake, came=f"{path}: {came}", do=f"{do}.")
