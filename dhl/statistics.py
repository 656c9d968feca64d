"""Intervals, paired tests and verdicts; pure functions of arrays.

Two questions are kept apart, and a third joins them. "Would other images give the same?":
percentile bootstrap intervals and paired tests over the images, for which every method of a part,
at every sigma, is resampled with the same indices. "Would another training give the same?":
Student's t over the trainings, where a run has several. "Would other trainings on other images?":
Student's t with the errors of both, for each of the first two takes the draw of the other as given.
"Other images" are others of the same kind: where many are cut from a few photographs, others cut
from these, and `alike` tells in how many of them the same holds.

Verdicts, and nowhere else:

- "a is better than b" (`directional_verdict`): two-sided paired test over the images, and, with
  several trainings, two-sided t-tests over these and over both. The largest p-value counts. It is
  corrected by Holm over the sigmas of the claim. Significant in the claimed direction is
  `reproduced`, significant in the opposite direction `not reproduced`, else `inconclusive`.
- "a is nearly as good as b" (`margin_verdict`), with a margin: by the intervals of a - b over
  images and, with several trainings, over these and over both. All of each above -margin is
  `reproduced`, all below `not reproduced`, else `inconclusive`; uncorrected.
- a claim over all sigmas (`overall_verdict`): the same rule on the average over the sigmas, whose
  test exchanges an image's results at all sigmas at once; `inconclusive` if the verdict at a single
  sigma is the opposite.

A measurement is an array of features of shape (n, s, k), per image and training, and a score, a
function from mean features of shape (..., k) to (...): the mean itself, or mIoU from pooled counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from scipy.stats import t as student_t

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"

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
        One row per image; methods that are to share the indices stand side by side.
    draws : int
        Number of resamples.
    generator : numpy.random.Generator
        Source of the indices; an equal one gives equal indices for an equal `n`.

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
    """Split the draws into ranges of a bounded number of elements."""
    step = max(1, _CHUNK // images)
    for start in range(0, draws, step):
        yield range(start, min(start + step, draws))


def percentile_interval(draws: np.ndarray, *, confidence: float) -> tuple[float, float]:
    """Return the central interval that holds a share `confidence` of the draws."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def confusion_margins(confusions: np.ndarray) -> np.ndarray:
    """Reduce confusion matrices to what mIoU needs.

    Parameters
    ----------
    confusions : ndarray of shape (..., C, C)
        Pixel counts, rows are the truth.

    Returns
    -------
    ndarray of float, shape (..., 3 * C)
        Per class: hits, pixels in the truth, pixels in the prediction.
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    margins = [hits, confusions.sum(axis=-1), confusions.sum(axis=-2)]
    return np.concatenate(margins, axis=-1).astype(float)


def mean_score(features: np.ndarray) -> np.ndarray:
    """Return the score of metrics that are a mean over images: shape (..., 1) to (...)."""
    return features[..., 0]


def miou_score(margins: np.ndarray) -> np.ndarray:
    """Compute mIoU from pooled margins.

    Parameters
    ----------
    margins : ndarray of shape (..., 3 * C)
        Sums or means over images of `confusion_margins`.

    Returns
    -------
    ndarray of shape (...)
        Mean of intersection over union, a fraction, over the classes that occur in truth or
        prediction; NaN if none does.
    """
    hits, truth, predicted = np.split(margins, 3, axis=-1)
    union = truth + predicted - hits
    # Permuted sums leave rounding noise of about 1e-13 pixels where a class is absent.
    occurs = union > 1e-9
    iou = np.divide(hits, union, out=np.zeros_like(union), where=occurs)
    classes = occurs.sum(axis=-1)
    return np.divide(
        iou.sum(axis=-1), classes, out=np.full(classes.shape, np.nan), where=classes > 0
    )


def miou(confusions: np.ndarray) -> float:
    """Compute mIoU of per-image confusion matrices, shape (n, C, C), pooled over the images."""
    return float(miou_score(confusion_margins(confusions).sum(axis=0)))


SCORES = {
    "psnr": mean_score,
    "ssim": mean_score,
    "top1": mean_score,
    "top5": mean_score,
    "miou": miou_score,
}


def mcnemar_test(first: np.ndarray, second: np.ndarray) -> float:
    """Compare two classifiers on the same images: McNemar's exact test, two-sided.

    Parameters
    ----------
    first, second : ndarray of n elements, any shape
        1 where the image is right, else 0.

    Returns
    -------
    float
        The p-value; 1 if the two never differ.

    References
    ----------
    .. [1] McNemar, Psychometrika 12, 1947.
    """
    only_first = int(np.sum(first > second))
    discordant = int(np.sum(first != second))
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def swap_test(
    first: np.ndarray, second: np.ndarray, *, metric: str, generator: np.random.Generator
) -> float:
    """Compare two methods by exchanging their results image by image, two-sided.

    For a mean this is the sign-flip test of the paired differences; for mIoU whole confusion
    matrices change sides.

    Parameters
    ----------
    first, second : ndarray of shape (n, k) or (n, s, k)
        Features of the same images; with several trainings, or sigmas, the score is averaged over
        them, and an image changes sides at all of them at once.
    metric : str
        A key of `SCORES`.
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
    exact = len(first) <= EXACT_LIMIT
    for swaps in _all_swaps(len(first)) if exact else _random_swaps(len(first), generator):
        moved = np.tensordot(swaps, gap, axes=1)
        difference = score(mean_first - moved) - score(mean_second + moved)
        extreme += int(np.sum(np.abs(difference) >= observed - _TIE))
    if exact:
        return extreme / 2 ** len(first)
    return (extreme + 1) / (PERMUTATIONS + 1)


def _all_swaps(images: int) -> Iterator[np.ndarray]:
    """Yield every choice of images to exchange, as rows of 0 and 1."""
    yield (np.arange(2**images)[:, None] >> np.arange(images) & 1).astype(float)


def _random_swaps(images: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield random choices of images to exchange, in blocks of rows of 0 and 1."""
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
        A key of `SCORES`.
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
    """How large a difference is beside the spread of the images.

    Attributes
    ----------
    wins, losses : int
        Images on which a is better than b, and worse; on the others they are equal.
    size : float
        Cohen's d_z [1]_: mean of the images' differences over their standard deviation; NaN if all
        differ alike. For mIoU an image's value is the mean over the classes that occur in it.

    References
    ----------
    .. [1] Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, section 2.3.5.
    """

    wins: int
    losses: int
    size: float


def effect(first: np.ndarray, second: np.ndarray, *, metric: str) -> Effect:
    """Describe the differences of the images, each averaged over its trainings.

    Parameters
    ----------
    first, second : ndarray of shape (n, s, k)
        Features of the same images.
    metric : str
        A key of `SCORES`.
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
    """Count the groups of images whose own difference is on the same side of a line as that of all.

    Parameters
    ----------
    first, second : ndarray of shape (n, s, k)
        Features of the same images.
    groups : sequence of n str
        Such as the photograph that each image is cut from.
    metric : str
        A key of `SCORES`.
    line : float
        A difference: zero, or minus a margin.

    Returns
    -------
    float
        NaN if the difference of all is on the line.
    """

    def side(chosen: np.ndarray) -> float:
        scores = (SCORES[metric](one[chosen].mean(axis=0)).mean() for one in (first, second))
        distance = np.subtract(*scores) - line
        return float(np.sign(distance)) if abs(distance) > _TIE else 0.0

    names = np.asarray(groups)
    whole = side(np.full(len(names), fill_value=True))
    own = [side(names == name) for name in np.unique(names)]
    return float(own.count(whole)) if whole else float("nan")


@dataclass(frozen=True)
class Student:
    """What Student's t says of a mean difference; NaN where one training cannot tell.

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
    """Infer from the trainings what others would give, on the same images.

    Parameters
    ----------
    differences : ndarray of shape (s,)
        One per training.
    confidence : float
        Of the interval.
    """
    count = len(differences)
    if count < 2:
        return Student(*[float("nan")] * 4)
    error = float(differences.std(ddof=1) / np.sqrt(count))
    return _student(differences.mean(), error, freedom=count - 1, confidence=confidence)


def over_both(
    differences: np.ndarray, draws: np.ndarray, *, images: int, confidence: float
) -> Student:
    """Infer what other trainings would give on other images.

    Images and trainings are crossed: every training is measured on every image, so that neither's
    error is in the other's. Their squares add, with the degrees of freedom of Satterthwaite [1]_.

    Parameters
    ----------
    differences : ndarray of shape (s,)
        One per training.
    draws : ndarray
        Bootstrap draws over the images of the mean difference.
    images : int
        Their number.
    confidence : float
        Of the interval.

    References
    ----------
    .. [1] Satterthwaite, Biometrics Bulletin 2, 1946.
    """
    trainings = over_trainings(differences, confidence=confidence)
    if not trainings.error > _TIE or images < 2:
        return trainings  # either spread is unknown
    squares = np.array([draws.var() * images / (images - 1), trainings.error**2])
    freedom = squares.sum() ** 2 / np.sum(squares**2 / (images - 1, len(differences) - 1))
    return _student(
        differences.mean(), np.sqrt(squares.sum()), freedom=freedom, confidence=confidence
    )


def _student(mean: float, error: float, *, freedom: float, confidence: float) -> Student:
    """Return the interval and the test of a mean with its standard error."""
    if error <= _TIE:
        # Of right and wrong answers a few trainings may tie by chance: their spread is unknown.
        return Student(error, -np.inf, np.inf, 1.0)
    reach = error * student_t.ppf((1 + confidence) / 2, freedom)
    p_value = 2 * student_t.sf(abs(mean) / error, freedom)
    return Student(float(error), float(mean - reach), float(mean + reach), float(p_value))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjust p-values for their number, by Holm's step-down method.

    Parameters
    ----------
    p_values : ndarray of shape (m,)
        NaN for a test that could not be made: it stays NaN and does not count.

    Returns
    -------
    ndarray of shape (m,)

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


def directional_verdict(*, difference: float, p_adjusted: float, confidence: float) -> str:
    """Judge "a is better than b" by an adjusted two-sided p-value and the sign of a - b."""
    if not p_adjusted < 1 - confidence or difference == 0:
        return INCONCLUSIVE
    return REPRODUCED if difference > 0 else NOT_REPRODUCED


def margin_verdict(*, low: float, high: float, margin: float) -> str:
    """Judge "a is nearly as good as b" by the interval of a - b and a margin above zero."""
    if low > -margin:
        return REPRODUCED
    return NOT_REPRODUCED if high < -margin else INCONCLUSIVE


def overall_verdict(average: str, verdicts: Iterable[str]) -> str:
    """Judge a claim over all sigmas: by their average, unless a single one says the opposite."""
    opposite = {REPRODUCED: NOT_REPRODUCED, NOT_REPRODUCED: REPRODUCED}.get(average)
    return INCONCLUSIVE if opposite in set(verdicts) else average
