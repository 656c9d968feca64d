"""The results of a complete run for comparison: manifest, averages, verdicts, images.

Each file must have its digest in the manifest, so that no edited file is compared. A reference has
the per-image files compressed; one of an older version lacks them, and columns too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dhl.analysis.measurements import Measurements, read_measurements
from dhl.analysis.verdicts import VERDICTS
from dhl.config.methods import METRICS, base_of, table_number
from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.files import stored
from dhl.run.contents import results_of
from dhl.run.evaluations import evaluated_draws
from dhl.run.folder import RunFolder
from dhl.run.manifest import read_manifest, recorded_digests
from dhl.run.outputs import complete_run, part_of_table
from dhl.run.results import AVERAGE, edited_by_hand, file_digest, read_some_columns

Cell = tuple[str, float, str, str]  # part, sigma, method, metric
VerdictKey = tuple[str, float | None]  # claim, sigma; None for the verdict over all sigmas

_NEEDED = ("method", "sigma", "image_id", "metric", "value", "ci_low", "ci_high", "n")
_SINCE_SEEDS = ("seeds", "seed_std")  # an older table lacks both and has one training


@dataclass(frozen=True)
class Average:
    """A metric over all images and trainings.

    Attributes
    ----------
    value, ci_low, ci_high : float
        PSNR in dB, else a fraction; without an interval, its ends are NaN.
    n : int
        Images.
    seeds : int
        Trainings; 1 for a table without this column.
    seed_std : float
        Standard deviation over the trainings; NaN with one.
    """

    value: float
    ci_low: float
    ci_high: float
    n: int
    seeds: int
    seed_std: float


@dataclass(frozen=True)
class RunResults:
    """The results of a run.

    Attributes
    ----------
    folder : RunFolder
    manifest : dict
    config : Config or str
        A str is the reason why it cannot be read: another version, or a missing plug-in.
    confidence : float
        Of the tables' intervals.
    averages : dict of (part, sigma, method, metric) to Average
        In the order of the tables, without missing values.
    verdicts : dict of (claim, sigma) to str
    """

    folder: RunFolder
    manifest: dict[str, Any]
    config: Config | str
    confidence: float
    averages: dict[Cell, Average]
    verdicts: dict[VerdictKey, str]

    def __str__(self) -> str:
        return str(self.folder.root)


@dataclass(frozen=True)
class Images:
    """The per-image measurements of one part at one sigma, and each noisy image's SHA-256."""

    path: Path
    measurements: Measurements
    digests: dict[str, str]


def read_run_results(root: Path) -> RunResults:
    """Read a run's folder.

    Parameters
    ----------
    root : Path
        Such as results/mini, or a reference (`dhl.run.reference`).

    Raises
    ------
    UserError
        If it is no run, has no table, or has a file that differs from the manifest.
    """
    folder = RunFolder(root)
    manifest = read_manifest(folder)
    try:
        config: Config | str = parse_config(manifest["configuration"], source=str(folder.manifest))
    except UserError as error:
        config = error.mistake.removesuffix(".")
    averages: dict[Cell, Average] = {}
    for path in _tables(folder, config):
        part = part_of_table(path.stem.removeprefix("table"))
        averages |= _read_averages(folder, manifest, part)
    if not averages:
        raise UserError(
            f"The run {root} has no tables.",
            came=f"no value in {root / 'tables'}",
            do=f"complete the run with {complete_run(root)}, or name another folder.",
        )
    confidence = _read_confidence(folder, manifest)  # raises if the configuration is absent
    verdicts = _read_verdicts(folder, manifest)
    return RunResults(folder, manifest, config, confidence, averages, verdicts)


def read_images(run: RunResults, part: str, sigma: float) -> Images | str:
    """Read the per-image measurements of one part at one sigma.

    Returns
    -------
    Images or str
        A str is the reason why they cannot be read.

    Raises
    ------
    UserError
        If a file differs from the manifest or does not fit the configuration.
    """
    if isinstance(run.config, str):
        return f"the configuration of {run} cannot be read here ({run.config})"
    draws = evaluated_draws(run.config, part, sigma)
    paths = [stored(run.folder.evaluation(part, sigma, draw)) for draw in draws]
    if part == "segmentation":
        paths += [run.folder.arrays(part, sigma, draw) for draw in draws]
    if not all(path.exists() for path in paths):
        return f"{run} does not have all per-image files"
    noise = stored(run.folder.noise(part, sigma))
    if not noise.exists():
        return f"{run} lacks {noise.relative_to(run.folder.root)}, the digests of its noisy images"
    for path in (*paths, noise):
        _check_digest(run.folder, run.manifest, path)
    measurements = read_measurements(run.config, run.folder, part, sigma)
    record = read_some_columns(noise, ("image_id", "sha256"))
    digests = dict(zip(record["image_id"], record["sha256"], strict=True))
    return Images(paths[0], measurements, digests)


def _tables(folder: RunFolder, config: Config | str) -> list[Path]:
    """List the tables of a configuration that a run has; if it is unknown, all tables."""
    if isinstance(config, str):
        return sorted((folder.root / "tables").glob("table[1-3]*.csv"))
    return [path for path in results_of(config, folder, "table") if path.suffix == ".csv"]


def _check_digest(folder: RunFolder, manifest: dict[str, Any], path: Path) -> None:
    """Raise if a file was changed or added since the manifest was written."""
    name = path.relative_to(folder.root).as_posix()
    if recorded_digests(manifest).get(name) != file_digest(path):
        raise UserError(
            f"The file {path} was changed after the run.",
            came=f"{path} differs from its digest in {folder.manifest.name}",
            do=f"delete the file and run {complete_run(folder.root)}, which writes it and the "
            "manifest.",
        )


def _read_averages(folder: RunFolder, manifest: dict[str, Any], part: str) -> dict[Cell, Average]:
    """Read the averages over all images from a part's table, without missing values."""
    path = folder.table(table_number(part))
    _check_digest(folder, manifest, path)
    frame = read_some_columns(path, _NEEDED, optional=_SINCE_SEEDS)
    frame = frame[(frame["image_id"] == AVERAGE) & frame["value"].notna()]
    strange = frame.loc[~frame["metric"].isin(METRICS[base_of(part)]), "metric"]
    if len(strange):
        raise edited_by_hand(path, f"metric `{strange.iloc[0]}` in the table of {part}")
    if frame.duplicated(["sigma", "method", "metric"]).any():
        raise edited_by_hand(path, "two averages of one method, sigma and metric")
    if frame[["method", "sigma", "n"]].isna().any(axis=None):
        raise edited_by_hand(path, "an average without method, sigma or count")
    frame = frame.fillna({"seeds": 1}).astype({"n": int, "seeds": int, "seed_std": float})
    return {
        (part, float(row.sigma), row.method, row.metric): Average(
            row.value, row.ci_low, row.ci_high, row.n, row.seeds, row.seed_std
        )
        for row in frame.itertuples()
    }


def _read_verdicts(folder: RunFolder, manifest: dict[str, Any]) -> dict[VerdictKey, str]:
    """Read the verdicts on the claims; a run may have none."""
    if not folder.claims.exists():
        return {}
    _check_digest(folder, manifest, folder.claims)
    frame = read_some_columns(folder.claims, ("claim", "sigma", "verdict"))
    if frame.duplicated(["claim", "sigma"]).any() or frame["verdict"].isna().any():
        raise edited_by_hand(folder.claims, "not one verdict for each claim and sigma")
    check_verdicts(frame, folder.claims)
    return {
        (row.claim, None if pd.isna(row.sigma) else float(row.sigma)): row.verdict
        for row in frame.itertuples()
    }


def check_verdicts(frame: pd.DataFrame, path: Path) -> None:
    """Raise if a file of claims has a verdict that is none."""
    for column in {"verdict", "verdict_adjusted"} & set(frame.columns):
        if len(strange := frame.loc[~frame[column].isin(VERDICTS), column]):
            raise edited_by_hand(path, f"the verdict `{strange.iloc[0]}`")


def _read_confidence(folder: RunFolder, manifest: dict[str, Any]) -> float:
    """Return the confidence of the tables' intervals."""
    try:
        confidence = float(manifest["configuration"]["statistics"]["confidence"])
    except (KeyError, TypeError, ValueError):
        confidence = float("nan")
    if not 0 < confidence < 1:
        raise UserError(
            f"The manifest {folder.manifest} does not state the confidence of the intervals.",
            came=f"no `configuration.statistics.confidence` between 0 and 1 in {folder.manifest}",
            do=f"delete the manifest and run {complete_run(folder.root)}, which writes it.",
        )
    return confidence
