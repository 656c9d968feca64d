"""A finished run as a comparison reads it: manifest, averages of the tables, verdicts, images.

Every file that is read must be the one whose digest the manifest lists, so that nothing is compared
that was edited by hand. A committed reference has no per-image files, and one of an older version
lacks columns: what is absent is told apart from what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dhl.analysis.measurements import Measured, read_measured
from dhl.analysis.published import AVERAGE
from dhl.config.methods import METRICS, TABLES
from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.run.evaluations import evaluated_seeds
from dhl.run.folder import RunFolder
from dhl.run.manifest import read_manifest
from dhl.run.results import edited_by_hand, file_digest, read_some_columns

Cell = tuple[str, float, str, str]  # part, sigma, method, metric

_NEEDED = ("method", "sigma", "image_id", "metric", "value", "ci_low", "ci_high", "n")
_SINCE_SEEDS = ("seeds", "seed_std")  # an older table has neither: it is of one training
_VERDICT = ("claim", "sigma", "verdict")


@dataclass(frozen=True)
class Average:
    """A metric over all images and trainings, as a table has it.

    Attributes
    ----------
    value, ci_low, ci_high : float
        PSNR in dB, else a fraction; the interval is over images.
    n : int
        Images.
    seeds : int
        Trainings; 1 for a table that does not say.
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
class FinishedRun:
    """What a run's folder says.

    Attributes
    ----------
    folder : RunFolder
    manifest : dict
    config : Config or str
        Why not, if it cannot be read here: of another version, or with a plug-in that is missing.
    confidence : float
        Of the tables' intervals.
    averages : dict of (part, sigma, method, metric) to Average
        What was measured, in the order of the tables.
    verdicts : dict of (claim, sigma) to str
        The sigma is None for the verdict over all of them.
    """

    folder: RunFolder
    manifest: dict[str, Any]
    config: Config | str
    confidence: float
    averages: dict[Cell, Average]
    verdicts: dict[tuple[str, float | None], str]

    def __str__(self) -> str:
        return str(self.folder.root)


@dataclass(frozen=True)
class Images:
    """The per-image measurements of one part at one sigma, and each noisy image's SHA-256."""

    path: Path
    measured: Measured
    digests: dict[str, str]


def read_finished(root: Path) -> FinishedRun:
    """Read a run's folder.

    Parameters
    ----------
    root : Path
        Such as results/mini, or a committed reference with tables, claims and manifest alone.

    Raises
    ------
    UserError
        If it is no run, has no table, or has a file that is not as the manifest lists it.
    """
    folder = RunFolder(root)
    manifest = read_manifest(folder)
    averages: dict[Cell, Average] = {}
    for part, number in TABLES.items():
        if folder.table(number).exists():
            averages |= _read_averages(folder, manifest, part)
    if not averages:
        raise UserError(
            "a run that is compared has tables.",
            came=f"no measured value in {folder.root / 'tables'}",
            do="finish the run with `make report`, or name another folder.",
        )
    confidence = _read_confidence(folder, manifest)  # says so if there is no configuration
    return FinishedRun(
        folder, manifest, _read_config(folder, manifest), confidence, averages,
        _read_verdicts(folder, manifest),
    )  # fmt: skip


def read_images(run: FinishedRun, part: str, sigma: float) -> Images | str:
    """Read the per-image measurements of one part at one sigma.

    Returns
    -------
    Images or str
        The reason, if the folder does not have them all.

    Raises
    ------
    UserError
        If a file is not as the manifest lists it, or cannot be what the program wrote.
    """
    if isinstance(run.config, str):
        return f"the configuration of {run} cannot be read here ({run.config})"
    seeds = evaluated_seeds(run.config, part, sigma)
    paths = [run.folder.evaluation(part, sigma, seed) for seed in seeds]
    if part == "segmentation":
        paths += [path.with_suffix(".npz") for path in paths]
    if not all(path.exists() for path in paths):
        return f"{run} does not have all per-image files"
    noise = run.folder.noise(part, sigma)
    if not noise.exists():
        return f"{run} lacks {noise.relative_to(run.folder.root)}, which tells its noisy images"
    for path in (*paths, noise):
        _check_digest(run.folder, run.manifest, path)
    measured = read_measured(run.config, run.folder, part, sigma)
    record = read_some_columns(noise, ("image_id", "sha256"))
    digests = dict(zip(record["image_id"], record["sha256"], strict=True))
    return Images(paths[0], measured, digests)


def _check_digest(folder: RunFolder, manifest: dict[str, Any], path: Path) -> None:
    """Refuse a file that was changed or added since the manifest was written."""
    name = path.relative_to(folder.root).as_posix()
    if manifest["files"].get(name) != file_digest(path):
        raise UserError(
            "the files of a run are those that its manifest lists.",
            came=f"{path} differs from its digest in {folder.manifest.name}",
            do="delete the file and run `make report` again, which makes it and the manifest anew.",
        )


def _read_averages(folder: RunFolder, manifest: dict[str, Any], part: str) -> dict[Cell, Average]:
    """Read what a part's table has over all images; what was not measured is left out."""
    path = folder.table(TABLES[part])
    _check_digest(folder, manifest, path)
    frame = read_some_columns(path, _NEEDED, optional=_SINCE_SEEDS)
    frame = frame[(frame["image_id"] == AVERAGE) & frame["value"].notna()]
    strange = frame.loc[~frame["metric"].isin(METRICS[part]), "metric"]
    if len(strange):
        raise edited_by_hand(path, f"metric `{strange.iloc[0]}` in the table of {part}")
    if frame.duplicated(["sigma", "method", "metric"]).any():
        raise edited_by_hand(path, "two averages of one method, sigma and metric")
    if frame[["method", "sigma", "ci_low", "ci_high", "n"]].isna().any(axis=None):
        raise edited_by_hand(path, "an average without method, sigma, interval or count")
    return {
        (part, float(row.sigma), row.method, row.metric): Average(
            float(row.value), float(row.ci_low), float(row.ci_high), int(row.n),
            1 if pd.isna(row.seeds) else int(row.seeds), float(row.seed_std),
        )
        for row in frame.itertuples()
    }  # fmt: skip


def _read_verdicts(
    folder: RunFolder, manifest: dict[str, Any]
) -> dict[tuple[str, float | None], str]:
    """Read the verdicts on the claims; a run may have none."""
    if not folder.claims.exists():
        return {}
    _check_digest(folder, manifest, folder.claims)
    frame = read_some_columns(folder.claims, _VERDICT)
    if frame.duplicated(["claim", "sigma"]).any() or frame["verdict"].isna().any():
        raise edited_by_hand(folder.claims, "not one verdict for each claim and sigma")
    return {
        (row.claim, None if pd.isna(row.sigma) else float(row.sigma)): row.verdict
        for row in frame.itertuples()
    }


def _read_config(folder: RunFolder, manifest: dict[str, Any]) -> Config | str:
    """Return the configuration, or why this version cannot read it in this place."""
    try:
        return parse_config(manifest["configuration"], source=str(folder.manifest))
    except UserError as error:
        return error.came


def _read_confidence(folder: RunFolder, manifest: dict[str, Any]) -> float:
    """Return the confidence of the tables' intervals."""
    try:
        confidence = float(manifest["configuration"]["statistics"]["confidence"])
    except (KeyError, TypeError, ValueError):
        confidence = float("nan")
    if not 0 < confidence < 1:
        raise UserError(
            "a manifest states the confidence of the run's intervals.",
            came=f"no `configuration.statistics.confidence` between 0 and 1 in {folder.manifest}",
            do="run `make report` again, which writes the manifest.",
        )
    return confidence
