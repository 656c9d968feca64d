"""Intervals and paired tests; pure functions of arrays.

- Would other images give the same? Percentile bootstrap intervals and paired tests over the images;
  all methods of a part share the resampling indices at every sigma.
- Would other trainings give the same? Student's t over the trainings, if a run has several.
- Would other trainings on other images give the same? Student's t with both errors, because each of
  the first two questions takes the other sample as fixed.

"Other images" are images of the same kind. If the images are crops of a few photographs, these are
other crops of the same photographs; `alike` counts the photographs that agree with the overall
result. Measurements are features and a score, as in `scores`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, stdtr, stdtrit  # `scipy.stats` takes a second to import

from dhl.analysis.scores import SCORES

# Up to this many images all 2**n swaps are enumerated.
EXACT_LIMIT = 16
PERMUTATIONS = 9999

_CHUNK = 4_000_000  # elements of one block of resamples: bounds memory, changes no result
_TIE = 1e-10  # permuted differences this close to the observed one count as equal to it


def bootstrap_means(
    features: np.ndarray, *, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """Resample the images with replacement and average the features of each resample.

    Parameters
    ----------
    features : ndarray of shape (n, k)
        One row per image; methods that share the indices are columns side by side.
    draws : int
        Number of resamples.
    generator : numpy.random.Generator
        Draws the indices.

    Returns
    -------
    ndarray of shape (draws, k)
    """
    images = len(features)
    means = np.empty((draws, features.shape[1]))
    for rows in _blocks(draws, images):
        picks = generator.integers(0, images, (len(rows), images))
        picks += images * np.arange(len(rows))[:, None]
        counts = np.bincount(picks.ravel(), minlength=picks.size).reshape(picks.shape)
        means[rows.start : rows.stop] = counts @ features / images
    return means


def _blocks(draws: int, images: int) -> Iterator[range]:
    """Split the draws into ranges that bound the size of a block."""
    step = max(1, _CHUNK // images)
    for start in range(0, draws, step):
        yield range(start, min(start + step, draws))


def percentile_interval(draws: np.ndarray, *, confidence: float) -> tuple[float, float]:
    """Return the central interval that contains a fraction `confidence` of the draws."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def mcnemar_test(first: np.ndarray, second: np.ndarray) -> float:
    """Compare two classifiers on the same images: McNemar's exact test, two-sided.

    Both arrays are 1 where the prediction is right, else 0; the p-value is 1 if they are equal.

    References
    ----------
    .. [1] McNemar, Psychometrika 12, 1947.
    """
    only_first = int(np.sum(first > second))
    discordant = int(np.sum(first != second))
    return min(1.0, 2 * float(bdtr(min(only_first, discordant - only_first), discordant, 0.5)))


def swap_test(
    first: np.ndarray, second: np.ndarray, *, metric: str, generator: np.random.Generator
) -> float:
    """Compare two methods by exchanging their results image by image, two-sided.

    For a mean this is the sign-flip test of the paired differences; for mIoU complete confusion
    matrices are exchanged.

    Parameters
    ----------
    first, second : ndarray of shape (n, k) or (n, s, k)
        Features of the same images; with several trainings, or sigmas, the score is averaged over
        them, and an image is exchanged at all of them at once.
    metric : str
        A key of `dhl.analysis.scores.SCORES`.
    generator : numpy.random.Generator
        Used above `EXACT_LIMIT` images, for `PERMUTATIONS` random exchanges.

    Returns
    -------
    float
        The p-value; if drawn at random, the observed exchange counts as one more draw [1]_.

    References
    ----------
    .. [1] Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9, 2010.
    """
    first, second = (one.reshape(len(one), -1, one.shape[-1]) for one in (first, second))
    mean_first, mean_second = first.mean(axis=0), second.mean(axis=0)
    gap = (first - second) / len(first)

    def score(features: np.ndarray) -> np.ndarray:
        return SCORES[metric](features).mean(axis=-1)

    observed = abs(score(mean_first) - score(mean_second))
    extreme = 0
    for swaps in _swaps(len(first), generator):
        moved = np.tensordot(swaps, gap, axes=1)
        difference = score(mean_first - moved) - score(mean_second + moved)
        extreme += int(np.sum(np.abs(difference) >= observed - _TIE))
    if len(first) <= EXACT_LIMIT:
        return extreme / 2 ** len(first)
    return (extreme + 1) / (PERMUTATIONS + 1)


def _swaps(images: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield choices of images to exchange, as rows of 0 and 1: all, or `PERMUTATIONS` random."""
    if images <= EXACT_LIMIT:
        yield (np.arange(2**images)[:, None] >> np.arange(images) & 1).astype(float)
        return
    for rows in _blocks(PERMUTATIONS, images):
        yield generator.integers(0, 2, (len(rows), images), dtype=np.int8).astype(float)


def paired_test(
    first: np.ndarray, second: np.ndarray, *, metric: str, generator: np.random.Generator
) -> tuple[str, float]:
    """Run the paired two-sided test that fits a metric.

    Parameters
    ----------
    first, second : ndarray of shape (n, s, k)
        Features of the same images.
    metric : str
    generator : numpy.random.Generator
        For the tests that draw.

    Returns
    -------
    tuple of str and float
        The test's name and the p-value.
    """
    if metric in ("top1", "top5") and first.shape[1] == 1:
        return "exact McNemar", mcnemar_test(first, second)
    name = "image-swap permutation" if metric == "miou" else "sign-flip permutation"
    return name, swap_test(first, second, metric=metric, generator=generator)


@dataclass(frozen=True)
class Effect:
    """The size of a difference compared with the spread of the images.

    Attributes
    ----------
    wins, losses : int
        Images on which a is better than b, and on which it is worse.
    size : float
        Cohen's d_z [1]_: mean of the images' differences over their standard deviation; NaN if all
        are equal. For mIoU an image's value is the mean over the classes that occur in it.

    References
    ----------
    .. [1] Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, section 2.3.5.
    """

    wins: int
    losses: int
    size: float


def effect(first: np.ndarray, second: np.ndarray, *, metric: str) -> Effect:
    """Describe the differences of the images, each averaged over its trainings.

    `first` and `second` are features of the same images, of shape (n, s, k).
    """
    gaps = SCORES[metric](first).mean(axis=1) - SCORES[metric](second).mean(axis=1)
    spread = gaps.std(ddof=1) if len(gaps) > 1 else 0.0
    size = float(gaps.mean() / spread) if spread > _TIE else float("nan")
    return Effect(int(np.sum(gaps > _TIE)), int(np.sum(gaps < -_TIE)), size)


def alike(
    first: np.ndarray,
    second: np.ndarray,
    *,
    groups: Sequence[str],
    metric: str,
    line: float = 0.0,
) -> float:
    """Count the groups whose difference is on the same side of a line as the overall difference.

    Parameters
    ----------
    first, second : ndarray of shape (n, s, k)
        Features of the same images.
    groups : sequence of n str
        The group of each image, such as the photograph that it is cut from.
    metric : str
    line : float
        A difference: zero, or minus a margin.

    Returns
    -------
    float
        NaN if the overall difference is on the line.
    """

    def side(chosen: np.ndarray) -> float:
        scores = (SCORES[metric](one[chosen].mean(axis=0)).mean() for one in (first, second))
        distance = np.subtract(*scores) - line
        return float(np.sign(distance)) if abs(distance) > _TIE else 0.0

    names = np.asarray(groups)
    overall = side(np.full(len(names), fill_value=True))
    sides = [side(names == name) for name in np.unique(names)]
    return float(sides.count(overall)) if overall else float("nan")


@dataclass(frozen=True)
class Student:
    """The interval and test of a mean difference by Student's t; NaN with one training.

    Attributes
    ----------
    error : float
        Standard error of the mean.
    low, high : float
        Interval; infinite if all trainings agree exactly.
    p_value : float
        Of the two-sided test against zero.
    """

    error: float
    low: float
    high: float
    p_value: float


def over_trainings(differences: np.ndarray, *, confidence: float) -> Student:
    """Infer the mean difference of other trainings on the same images from `differences` (s,)."""
    count = len(differences)
    if count < 2:
        return Student(*[float("nan")] * 4)
    error = float(differences.std(ddof=1) / np.sqrt(count))
    return _student(differences.mean(), error, freedom=count - 1, confidence=confidence)


def over_both(
    differences: np.ndarray, draws: np.ndarray, *, images: int, confidence: float
) -> Student:
    """Infer the mean difference of other trainings on other images.

    Images and trainings are crossed: every training is evaluated on every image, so that neither
    error includes the other. Their squares add, with the degrees of freedom of Satterthwaite [1]_.

    Parameters
    ----------
    differences : ndarray of shape (s,)
        One per training.
    draws : ndarray
        Bootstrap draws of the mean difference over the images.
    images : int
        Number of images.
    confidence : float

    References
    ----------
    .. [1] Satterthwaite, Biometrics Bulletin 2, 1946.
    """
    trainings = over_trainings(differences, confidence=confidence)
    if not trainings.error > _TIE or images < 2:
        return trainings  # one of the spreads is unknown
    squares = np.array([draws.var() * images / (images - 1), trainings.error**2])
    freedom = squares.sum() ** 2 / np.sum(squares**2 / (images - 1, len(differences) - 1))
    return _student(
        differences.mean(), np.sqrt(squares.sum()), freedom=freedom, confidence=confidence
    )


def _student(mean: float, error: float, *, freedom: float, confidence: float) -> Student:
    """Return the interval and the test of a mean with its standard error."""
    if error <= _TIE:
        # A few trainings may have the same accuracy by chance: their spread is unknown.
        return Student(error, -np.inf, np.inf, 1.0)
    reach = error * stdtrit(freedom, (1 + confidence) / 2)
    p_value = 2 * stdtr(freedom, -abs(mean) / error)
    return Student(float(error), float(mean - reach), float(mean + reach), float(p_value))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjust p-values for their number, by Holm's step-down method.

    Parameters
    ----------
    p_values : ndarray of shape (m,)
        NaN for a test without a result: it stays NaN and does not count.

    References
    ----------
    .. [1] Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    p_values = np.asarray(p_values, float)
    adjusted = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values)[: int(np.sum(~np.isnan(p_values)))]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p_values[order]))
    return adjusted
