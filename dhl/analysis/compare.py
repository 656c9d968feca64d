"""Which numbers differ between two runs, and whether chance explains the difference.

A cell is an average in the tables of both runs. Its difference, b - a, has these sources of error:

- the test images: paired, by their units, if both folders have the results of each image and the
  noisy images have the same digests; else unpaired, by the two tables' intervals, as if values were
  normal and the runs had different images;
- the trainings of each run that has several. If one run has one training, the spread of the other's
  is used for it too.

`dhl.analysis.statistics.combine` adds them up, and Holm's method corrects for the number of cells.
A cell is `same` if both values print the same, or if their difference prints as zero; `moved` if
its adjusted p-value is below 1 - confidence; else `within chance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from dhl.analysis import statistics
from dhl.analysis.run_results import (
    Average,
    Cell,
    Images,
    RunResults,
    VerdictKey,
    read_images,
)
from dhl.analysis.statistics import Source
from dhl.analysis.units import UNITS
from dhl.errors import UserError
from dhl.run.results import COMPARISON_COLUMNS, edited_by_hand

SAME = "same"
WITHIN_CHANCE = "within chance"
MOVED = "moved"
ONLY_A = "only in a"
ONLY_B = "only in b"

_NOTHING = 1e-10  # a difference this small is rounding
_NORMAL = 1e9  # degrees of freedom with which Student's t is the normal distribution
_SECTIONS = ("commit", "dirty", "base_seed", "deployment", "versions", "hardware")


@dataclass(frozen=True)
class RunComparison:
    """The differences between run a and run b.

    Attributes
    ----------
    name_a, name_b : str
        The folders.
    confidence : float
        Of the intervals of differences; the level of the tests is 1 - confidence.
    cells : DataFrame with `dhl.run.results.COMPARISON_COLUMNS`
        First the cells of a in its order, then those only in b. PSNR in dB, else fractions;
        differences are b - a, `ci_*` is their interval over images,
        and over trainings where a run has several.
    settings : tuple of (name, in a, in b)
        The differences between the manifests.
    verdicts : dict of (claim, sigma) to (in a, in b)
        All claims of either run; None where a run lacks the claim.
    unpaired : dict of (part, sigma) to str
        Why the images were not compared one by one.
    powerless : int
        Cells of a single test image, whose difference is not tested.
    """

    name_a: str
    name_b: str
    confidence: float
    cells: pd.DataFrame
    settings: tuple[tuple[str, str, str], ...]
    verdicts: dict[VerdictKey, tuple[str | None, str | None]]
    unpaired: dict[tuple[str, float], str]
    powerless: int

    @property
    def moved(self) -> bool:
        """Whether any cell moved."""
        return bool((self.cells["verdict"] == MOVED).any())

    @property
    def changed(self) -> bool:
        """Whether a cell moved or is in one run alone, or a verdict on a claim changed."""
        alone = self.cells["verdict"].isin([ONLY_A, ONLY_B]).any()
        return self.moved or bool(alone) or any(a != b for a, b in self.verdicts.values())


@dataclass(frozen=True)
class Paired:
    """Two runs' results on the same noisy images."""

    first: Images
    second: Images


def compare(first: RunResults, second: RunResults) -> RunComparison:
    """Compare run a (`first`) with run b (`second`).

    The confidence of `first` holds for the tests and the intervals of differences.

    Raises
    ------
    UserError
        If they have no cell in common, or a per-image file was edited by hand.
    """
    shared = [key for key in first.averages if key in second.averages]
    if not shared:
        raise UserError(
            f"The tables of {first} and {second} have no cell in common.",
            came="no part, sigma, method and metric that both have",
            do="name two runs of the same or of similar configurations.",
        )
    levels = dict.fromkeys(key[:2] for key in shared)
    pairs = {level: pair_images(first, second, *level) for level in levels}
    rows = [_compare_cell(first, second, key, pairs[key[:2]]) for key in shared]
    powerless = sum(row["powerless"] for row in rows)
    _judge(rows, 1 - first.confidence)
    for run, other, side, verdict in ((first, second, "a", ONLY_A), (second, first, "b", ONLY_B)):
        alone = {"test": f"none: not in {'b' if side == 'a' else 'a'}", "verdict": verdict}
        rows += [
            _numbers(key, one, side) | alone
            for key, one in run.averages.items()
            if key not in other.averages
        ]
    cells = pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))
    claims = dict.fromkeys([*first.verdicts, *second.verdicts])
    return RunComparison(
        str(first), str(second), first.confidence,
        cells.astype(dict.fromkeys(("n_a", "n_b", "seeds_a", "seeds_b"), "Int64")),
        differing_settings(first, second),
        {key: (first.verdicts.get(key), second.verdicts.get(key)) for key in claims},
        {level: pair for level, pair in pairs.items() if isinstance(pair, str)},
        powerless,
    )  # fmt: skip


def prints_the_same(value_a: float, value_b: float, metric: str) -> bool:
    """Tell whether the tables print two values alike, or their difference as zero."""
    number = UNITS[metric].number
    return number(value_a) == number(value_b) or float(number(value_b - value_a)) == 0


def pair_images(first: RunResults, second: RunResults, part: str, sigma: float) -> Paired | str:
    """Read both runs' images of one part at one sigma, or say why they cannot be paired."""
    one, other = read_images(first, part, sigma), read_images(second, part, sigma)
    if isinstance(first.config, str) or isinstance(one, str):
        return str(one)
    if isinstance(other, str):
        return other
    if one.measurements.image_ids != other.measurements.image_ids:
        return "the runs have different images"
    if one.digests != other.digests:
        return "the noisy images of the same names differ"
    return Paired(one, other)


def unpaired_error(
    a: Average, b: Average, *, confidences: tuple[float, float]
) -> dict[str, Source]:
    """Return the error of a difference by two tables' intervals, as if the images were different.

    `confidences` are those of the intervals of `a` and of `b`. The error is unknown if there is a
    single image, or no interval.
    """
    ends = (a.ci_low, a.ci_high, b.ci_low, b.ci_high)
    if min(a.n, b.n) < 2 or not np.isfinite(ends).all():
        return {}
    errors = [  # by the longer half: the other one may be cut at a bound of the metric
        max(one.ci_high - one.value, one.value - one.ci_low) / ndtri((1 + confidence) / 2)
        for one, confidence in zip((a, b), confidences, strict=True)
    ]
    return {"images": Source(float(np.hypot(*errors)), _NORMAL)}


def paired_error(paired: Paired, key: Cell) -> dict[str, Source]:
    """Return the error of a difference by the units of the images; trainings count the same."""
    sides = []
    for one in (paired.first, paired.second):
        if key[2:] not in one.measurements.features:
            came = f"no {key[3]} of `{key[2]}`, which the table has"
            raise edited_by_hand(one.path, came)
        sides.append(one.measurements.estimate(*key[2:]).images)
    units = paired.first.measurements.units
    found = {kind: statistics.over_units(sides[1] - sides[0], of) for kind, of in units.items()}
    return {kind: source for kind, source in found.items() if source is not None}


def training_error(a: Average, b: Average, *, in_intervals: bool = False) -> dict[str, Source]:
    """Return the error of a difference by chance in the trainings, for each run.

    With `in_intervals`, the error of several trainings is known from the tables' intervals.
    """
    if max(a.seeds, b.seeds) < 2:
        return {}
    if min(a.seeds, b.seeds) < 2:
        several = max((a, b), key=lambda one: one.seeds)
        error = several.seed_std * np.sqrt(1 if in_intervals else 1 + 1 / several.seeds)
        return {"trainings": Source(float(error), several.seeds - 1)}
    if in_intervals:
        return {}
    return {
        f"trainings of {side}": Source(float(one.seed_std / np.sqrt(one.seeds)), one.seeds - 1)
        for side, one in (("a", a), ("b", b))
    }


def _compare_cell(
    first: RunResults, second: RunResults, key: Cell, paired: Paired | str
) -> dict[str, Any]:
    """Return a cell's row without its verdict; `powerless` tells whether images are untested."""
    a, b = first.averages[key], second.averages[key]
    if isinstance(paired, str):
        images = unpaired_error(a, b, confidences=(first.confidence, second.confidence))
        test = "unpaired, by intervals"
    else:
        images, test = paired_error(paired, key), "paired, by images"
    trainings = training_error(a, b, in_intervals=isinstance(paired, str))
    if trainings:
        test += f"; by {a.seeds} and {b.seeds} trainings"
    difference = b.value - a.value
    found = statistics.combine(difference, images | trainings, confidence=first.confidence)
    low, high, p_value = found.low, found.high, found.p_value
    if images and p_value == 1 and np.isnan(high):  # each image moved by the same amount
        low, high, p_value = difference, difference, float(abs(difference) <= _NOTHING)
    return _numbers(key, a, "a") | _numbers(key, b, "b") | {
        "difference": difference, "ci_low": low, "ci_high": high,
        "test": test, "p_value": p_value, "powerless": not images,
    }  # fmt: skip


def _numbers(key: Cell, one: Average, side: str) -> dict[str, Any]:
    """Return the columns of one side of a cell."""
    names = dict(zip(("part", "sigma", "method", "metric"), key, strict=True))
    return names | {f"value_{side}": one.value, f"n_{side}": one.n, f"seeds_{side}": one.seeds}


def _judge(rows: list[dict], level: float) -> None:
    """Adjust the p-values for the number of cells, and add the verdicts."""
    adjusted = statistics.holm(np.array([row["p_value"] for row in rows]))
    for row, p_value in zip(rows, adjusted, strict=True):
        row["p_adjusted"] = p_value
        if prints_the_same(row["value_a"], row["value_b"], row["metric"]):
            row["verdict"] = SAME
        else:
            row["verdict"] = MOVED if p_value < level else WITHIN_CHANCE


def differing_settings(first: RunResults, second: RunResults) -> tuple[tuple[str, str, str], ...]:
    """List the differences between the manifests: code, versions, hardware, configuration.

    Returns
    -------
    tuple of (name, in a, in b)
        If both configurations can be read, a missing key has its default.
    """
    readable = not any(isinstance(run.config, str) for run in (first, second))
    sides = []
    for run in (first, second):
        content = {name: run.manifest.get(name) for name in _SECTIONS}
        content["plugins"] = run.manifest.get("plugins", {})
        content["configuration"] = run.manifest["configuration"]
        if readable and not isinstance(run.config, str):
            content["configuration"] = run.config.model_dump(mode="json")
        sides.append(_flat(content))
    one, other = sides
    return tuple(
        (name, one.get(name, "absent"), other.get(name, "absent"))
        for name in dict.fromkeys([*one, *other])
        if one.get(name) != other.get(name) and name != "configuration.base_seed"
    )


def _flat(content: Any, prefix: str = "") -> dict[str, str]:
    """Flatten nested settings to texts by dotted name."""
    if not isinstance(content, dict):
        return {prefix: str(content)}
    flat: dict[str, str] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
