"""Which numbers differ between two runs, and whether chance explains the difference.

A cell is an average in the tables of both runs. Its difference, b - a, is tested in two ways:

- over images: paired, by `statistics.paired_test`, if both folders have the results of each image
  and the noisy images have the same digests. Else unpaired, by the two tables' intervals: the
  standard error of a value is its interval's width over 2 z, and the difference is taken as normal.
- over trainings, if a run has several: Welch's t-test. If one run has one training, the spread of
  the other's is used for both (Student's t-test with a group of one).

As for claims, the larger p-value counts, and Holm's method corrects for the number of cells. A cell
is `same` if both values print the same, or if their difference prints as zero; `moved` if its
adjusted p-value is below 1 - confidence; else `within chance`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, ttest_ind_from_stats

from dhl.analysis import statistics
from dhl.analysis.measurements import Key, bootstrap_scores
from dhl.analysis.run_results import (
    Average,
    Cell,
    Images,
    RunResults,
    VerdictKey,
    read_images,
)
from dhl.analysis.tables import UNITS
from dhl.errors import UserError
from dhl.run.results import COMPARISON_COLUMNS, edited_by_hand
from dhl.seeding import numpy_generator

SAME = "same"
WITHIN_CHANCE = "within chance"
MOVED = "moved"
ONLY_A = "only in a"
ONLY_B = "only in b"

_NOTHING = 1e-10  # a spread or difference this small is rounding
_SECTIONS = ("commit", "dirty", "base_seed", "deployment", "versions", "hardware")


@dataclass(frozen=True)
class Comparison:
    """The differences between run a and run b.

    Attributes
    ----------
    name_a, name_b : str
        The folders.
    confidence : float
        Of the intervals of differences; the level of the tests is 1 - confidence.
    cells : DataFrame with `dhl.run.results.COMPARISON_COLUMNS`
        First the cells of a in its order, then those only in b. PSNR in dB, else fractions;
        differences are b - a, `ci_*` is their interval over images.
    settings : tuple of (name, in a, in b)
        The differences between the manifests.
    verdicts : dict of (claim, sigma) to (in a, in b)
        All claims of either run; None where a run lacks the claim.
    unpaired : dict of (part, sigma) to str
        Why the images were not compared one by one.
    powerless : int
        Cells with too few images to find any difference, however large.
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
    """Two runs' results on the same noisy images, and the resampled differences b - a."""

    first: Images
    second: Images
    gaps: dict[Key, np.ndarray]


@dataclass(frozen=True)
class ImageTest:
    """A test over images: its name, p-value, interval, and the smallest possible p-value."""

    test: str
    p_value: float
    low: float
    high: float
    least: float


def compare(first: RunResults, second: RunResults) -> Comparison:
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
    least = statistics.holm(np.array([row["least"] for row in rows]))
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
    return Comparison(
        str(first), str(second), first.confidence,
        cells.astype(dict.fromkeys(("n_a", "n_b", "seeds_a", "seeds_b"), "Int64")),
        differing_settings(first, second),
        {key: (first.verdicts.get(key), second.verdicts.get(key)) for key in claims},
        {level: pair for level, pair in pairs.items() if isinstance(pair, str)},
        int(np.sum(least >= 1 - first.confidence)),
    )  # fmt: skip


def prints_the_same(value_a: float, value_b: float, metric: str) -> bool:
    """Tell whether the tables print two values alike, or their difference as zero."""
    _, factor, decimals, _, _ = UNITS[metric]
    texts = [f"{factor * value:.{decimals}f}" for value in (value_a, value_b)]
    return texts[0] == texts[1] or float(f"{factor * (value_b - value_a):.{decimals}f}") == 0


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
    # The same configuration for both: the resampling depends on its base seed.
    before, after = (bootstrap_scores(first.config, side.measurements) for side in (one, other))
    return Paired(one, other, {key: after[key] - before[key] for key in before if key in after})


def interval_test(a: Average, b: Average, *, confidences: tuple[float, float]) -> ImageTest:
    """Test a difference by two separate intervals, as if the runs had different images.

    Parameters
    ----------
    a, b : Average
    confidences : tuple of float
        Of the intervals of `a` and of `b`; the first is also that of the returned interval.
    """
    quantiles = [norm.ppf((1 + confidence) / 2) for confidence in confidences]
    errors = [
        (one.ci_high - one.ci_low) / (2 * quantile)
        for one, quantile in zip((a, b), quantiles, strict=True)
    ]
    error, difference = math.hypot(*errors), b.value - a.value
    reach = quantiles[0] * error
    single = min(a.n, b.n) < 2  # resamples of a single image have no spread
    if single or error <= _NOTHING:
        p_value = 1.0 if single else float(abs(difference) <= _NOTHING)
    else:
        p_value = float(2 * norm.sf(abs(difference) / error))
    return ImageTest(
        "unpaired, by intervals", p_value, difference - reach, difference + reach, float(single)
    )


def paired_image_test(paired: Paired, key: Cell, *, confidence: float) -> ImageTest:
    """Test a difference image by image; each training of a run has the same weight."""
    measurements = key[2:]
    sides = []
    for one in (paired.first, paired.second):
        if measurements not in one.measurements.features:
            came = f"no {key[3]} of `{key[2]}`, which the table has"
            raise edited_by_hand(one.path, came)
        sides.append(one.measurements.features[measurements])
    count = math.lcm(*(side.shape[1] for side in sides))
    sides = [np.repeat(side, count // side.shape[1], axis=1) for side in sides]
    test, p_value = statistics.paired_test(
        *sides, metric=key[3], generator=numpy_generator("compare", *key)
    )
    low, high = statistics.percentile_interval(paired.gaps[measurements], confidence=confidence)
    images = len(sides[0])
    exact = images <= statistics.EXACT_LIMIT or test == "exact McNemar"
    least = 2.0 ** (1 - images) if exact else 1 / (statistics.PERMUTATIONS + 1)
    return ImageTest(f"paired, {test}", p_value, low, high, least)


def training_test(a: Average, b: Average) -> tuple[str, float]:
    """Test a difference over trainings.

    Returns
    -------
    tuple of str and float
        The test's name and p-value; empty and NaN if neither has several trainings.
    """
    if max(a.seeds, b.seeds) < 2:
        return "", float("nan")
    welch = min(a.seeds, b.seeds) > 1
    name = "Welch's t-test" if welch else "Student's t-test"
    name += f" over {a.seeds} and {b.seeds} trainings"
    spreads = [one.seed_std if one.seeds > 1 else 0.0 for one in (a, b)]
    if max(spreads) <= _NOTHING:
        return name, 1.0  # a few trainings may tie by chance: their spread is unknown
    result = ttest_ind_from_stats(
        a.value, spreads[0], a.seeds, b.value, spreads[1], b.seeds, equal_var=not welch
    )
    return name, float(result.pvalue)


def _compare_cell(
    first: RunResults, second: RunResults, key: Cell, paired: Paired | str
) -> dict[str, Any]:
    """Return a cell's row without its verdict; `least` is the smallest possible p-value."""
    a, b = first.averages[key], second.averages[key]
    if isinstance(paired, str):
        images = interval_test(a, b, confidences=(first.confidence, second.confidence))
    else:
        images = paired_image_test(paired, key, confidence=first.confidence)
    test, p_seeds = training_test(a, b)
    return _numbers(key, a, "a") | _numbers(key, b, "b") | {
        "difference": b.value - a.value, "ci_low": images.low, "ci_high": images.high,
        "test": f"{images.test}; {test}" if test else images.test,
        "p_images": images.p_value, "p_seeds": p_seeds, "least": images.least,
    }  # fmt: skip


def _numbers(key: Cell, one: Average, side: str) -> dict[str, Any]:
    """Return the columns of one side of a cell."""
    names = dict(zip(("part", "sigma", "method", "metric"), key, strict=True))
    return names | {f"value_{side}": one.value, f"n_{side}": one.n, f"seeds_{side}": one.seeds}


def _judge(rows: list[dict], level: float) -> None:
    """Adjust the p-values for the number of cells, and add the verdicts."""
    adjusted = statistics.holm(np.array([np.fmax(row["p_images"], row["p_seeds"]) for row in rows]))
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
