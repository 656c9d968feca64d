"""Intervals and tests of scores and their differences; pure functions of arrays.

The difference between two methods would be another with other test images, with other trainings of
the denoisers, and with another training of the frozen task network. Each of these is a source of
error, with a standard error and degrees of freedom:

- the units of the test images: the images, or what they are cut from, such as a photograph. Images
  of one unit are alike, so the unit is what counts. An image can belong to a unit of several kinds,
  such as a photograph and a handwritten digit: each kind is a source.
- the trainings of the denoisers, and those of the task network.

The sources are crossed: every training is evaluated on every image. `infer` adds them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit  # `scipy.stats` takes a second to import

from dhl.analysis.scores import SCORES, influence

_NOTHING = 1e-10  # a spread or difference this small is rounding


@dataclass(frozen=True)
class Estimate:
    """A score, or a linear combination of scores, with the contributions to its error.

    Attributes
    ----------
    value : float
        Mean over all images and trainings.
    images : ndarray of shape (n,)
        Influence of each image: how far it moves the value, to first order, times n; the sum is 0.
    trainings : ndarray of shape (s,)
        Value of each training of the denoisers, minus `value`; s = 1 for an untrained method.
    networks : ndarray of shape (t,)
        The same for each training of the task network.
    """

    value: float
    images: np.ndarray
    trainings: np.ndarray
    networks: np.ndarray

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.value + other.value,
            self.images + other.images,
            self.trainings + other.trainings,
            self.networks + other.networks,
        )

    def __rmul__(self, factor: float) -> Estimate:
        return Estimate(
            factor * self.value,
            factor * self.images,
            factor * self.trainings,
            factor * self.networks,
        )

    def __sub__(self, other: Estimate) -> Estimate:
        return self + -1.0 * other


def estimate(features: np.ndarray, metric: str) -> Estimate:
    """Estimate a score from the features of the images.

    Parameters
    ----------
    features : ndarray of shape (n, s, t, k)
        Per image, training of the denoiser and training of the task network, as
        `dhl.analysis.scores` defines them.
    metric : str
        A key of `dhl.analysis.scores.SCORES`.
    """
    scores = SCORES[metric](features.mean(axis=0))  # (s, t)
    value = scores.mean()
    return Estimate(
        float(value),
        influence(features, metric).mean(axis=(1, 2)),
        scores.mean(axis=1) - value,
        scores.mean(axis=0) - value,
    )


def mean_of(estimates: list[Estimate], weights: np.ndarray | None = None) -> Estimate:
    """Combine estimates on the same images linearly; by default, average them."""
    factors = np.full(len(estimates), 1 / len(estimates)) if weights is None else weights
    total = float(factors[0]) * estimates[0]
    for factor, one in zip(factors[1:], estimates[1:], strict=True):
        total = total + float(factor) * one
    return total


def slope_weights(levels: np.ndarray) -> np.ndarray:
    """Return the weights of the values at `levels` in the slope of their least-squares line."""
    distances = np.asarray(levels, float) - np.mean(levels)
    return distances / np.sum(distances**2)


@dataclass(frozen=True)
class Source:
    """A source of error: its standard error and its degrees of freedom."""

    error: float
    freedom: float

    def interval(self, value: float, *, confidence: float) -> tuple[float, float]:
        """Return the interval of Student's t of this source alone."""
        reach = self.error * float(stdtrit(self.freedom, (1 + confidence) / 2))
        return value - reach, value + reach


def over_units(influences: np.ndarray, units: np.ndarray) -> Source | None:
    """Return the error from the choice of the units.

    Parameters
    ----------
    influences : ndarray of shape (n,)
        `Estimate.images`.
    units : ndarray of shape (n,)
        Name or number of each image's unit.

    Returns
    -------
    Source or None
        None with a single unit. With as many images in each unit, this is the t-test over the means
        of the units; else it is the linearised variance of survey statistics [1]_.

    References
    ----------
    .. [1] Cochran, Sampling Techniques, 3rd ed., 1977, chapter 9A (clusters of unequal sizes).
    """
    _, codes = np.unique(units, return_inverse=True)
    totals = np.bincount(codes, weights=influences)
    count = len(totals)
    if count < 2:
        return None
    error = np.sqrt(count / (count - 1) * np.sum(totals**2)) / len(influences)
    return Source(float(error), count - 1)


def over_trainings(deviations: np.ndarray) -> Source | None:
    """Return the error from chance in the training; None with a single training."""
    count = len(deviations)
    if count < 2:
        return None
    return Source(float(deviations.std(ddof=1) / np.sqrt(count)), count - 1)


@dataclass(frozen=True)
class Inference:
    """A value with its interval and the p-value of the two-sided test against zero.

    Attributes
    ----------
    value, low, high, p_value : float
        NaN as ends, and p = 1, if no source of error is known. Of a value that was not measured,
        which is NaN, ends and p are NaN too.
    sources : dict of str to Source
        By kind of unit, and `trainings` and `networks` if there are several.
    """

    value: float
    low: float
    high: float
    p_value: float
    sources: dict[str, Source]


def infer(one: Estimate, units: Mapping[str, np.ndarray], *, confidence: float) -> Inference:
    """Return the interval and the test of an estimate with all its sources of error.

    Parameters
    ----------
    one : Estimate
    units : mapping of str to ndarray of shape (n,)
        Per kind of unit, the unit of each image.
    confidence : float
    """
    sources = _sources(one, units)
    return combine(one.value, sources, confidence=confidence)


def _sources(one: Estimate, units: Mapping[str, np.ndarray]) -> dict[str, Source]:
    """Return the known sources of error of an estimate."""
    found = {kind: over_units(one.images, of) for kind, of in units.items()}
    found |= {"trainings": over_trainings(one.trainings)}
    found |= {"networks": over_trainings(one.networks)}
    return {name: source for name, source in found.items() if source is not None}


def combine(value: float, sources: Mapping[str, Source], *, confidence: float) -> Inference:
    """Return the interval and the test of a value with independent sources of error.

    The squares of the standard errors add up, with the degrees of freedom of Satterthwaite [1]_.
    Where images, trainings and task networks interact, the sum counts the interaction several
    times, so that the interval is rather too wide.

    References
    ----------
    .. [1] Satterthwaite, Biometrics Bulletin 2, 1946.
    """
    error, freedom = _total(sources)
    if not np.isfinite((value, *(source.error for source in sources.values()))).all():
        return Inference(value, np.nan, np.nan, np.nan, dict(sources))
    if not error > _NOTHING:
        # A few images or trainings may agree by chance: their spread is unknown.
        return Inference(value, np.nan, np.nan, 1.0, dict(sources))
    low, high = Source(error, freedom).interval(value, confidence=confidence)
    p_value = 2 * float(stdtr(freedom, -abs(value) / error))
    return Inference(value, low, high, p_value, dict(sources))


def _total(sources: Mapping[str, Source]) -> tuple[float, float]:
    """Return the standard error of all sources together, and its degrees of freedom."""
    squares = np.array([source.error**2 for source in sources.values()])
    freedoms = np.array([source.freedom for source in sources.values()])
    if not np.sum(squares) > _NOTHING**2:
        return 0.0, float("nan")
    return float(np.sqrt(squares.sum())), float(squares.sum() ** 2 / np.sum(squares**2 / freedoms))


def share_interval(
    part: Estimate, whole: Estimate, units: Mapping[str, np.ndarray], *, confidence: float
) -> tuple[float, float, float]:
    """Return the ratio part / whole with its interval, by Fieller's method [1]_.

    Returns
    -------
    tuple of float
        Ratio, low and high. The interval is NaN if `whole` is not clearly above zero: then every
        ratio is possible, or the ratio has no meaning.

    Notes
    -----
    A ratio R is in the interval if `part - R * whole` cannot be told from zero. The squared error
    of this difference is quadratic in R, so the ends are the roots of a quadratic. The degrees of
    freedom are those at the ratio itself.

    References
    ----------
    .. [1] Fieller, Some Problems in Interval Estimation, JRSS B 16, 1954.
    """
    ratio = part.value / whole.value if whole.value else float("nan")
    clear = infer(whole, units, confidence=confidence).p_value < 1 - confidence
    _, freedom = _total(_sources(part - ratio * whole, units)) if clear else (0.0, float("nan"))
    if whole.value <= 0 or np.isnan(freedom):
        return ratio, float("nan"), float("nan")
    quantile = float(stdtrit(freedom, (1 + confidence) / 2))

    def excess(value: float) -> float:
        rest = part - value * whole
        return rest.value**2 - (quantile * _total(_sources(rest, units))[0]) ** 2

    at_zero, at_one, at_minus_one = excess(0.0), excess(1.0), excess(-1.0)
    second, first = (at_one + at_minus_one) / 2 - at_zero, (at_one - at_minus_one) / 2
    square = first**2 - 4 * second * at_zero
    if second <= 0 or square < 0:
        return ratio, float("nan"), float("nan")
    root = float(np.sqrt(square))
    return ratio, (-first - root) / (2 * second), (-first + root) / (2 * second)


@dataclass(frozen=True)
class Effect:
    """The differences of the single images.

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

    def swapped(self) -> Effect:
        """Return the effect for a metric whose lower values are better."""
        return Effect(self.losses, self.wins, -self.size)


def effect(first: np.ndarray, second: np.ndarray, *, metric: str) -> Effect:
    """Describe the differences of the images, each averaged over its trainings.

    `first` and `second` are features of the same images, of shape (n, ..., k).
    """
    gaps = _of_images(first, metric) - _of_images(second, metric)
    gaps = gaps[~np.isnan(gaps)]  # an image can have no value
    spread = gaps.std(ddof=1) if len(gaps) > 1 else 0.0
    size = float(gaps.mean() / spread) if spread > _NOTHING else float("nan")
    return Effect(int(np.sum(gaps > _NOTHING)), int(np.sum(gaps < -_NOTHING)), size)


def _of_images(features: np.ndarray, metric: str) -> np.ndarray:
    """Return the score of each image, averaged over its trainings."""
    scores = SCORES[metric](features)
    return scores.reshape(len(scores), -1).mean(axis=1)


def largest_share(one: Estimate, units: np.ndarray) -> tuple[str, float]:
    """Return the unit that contributes most to a difference, and its share of the difference.

    The shares of all units sum to 1; a share above 1 is offset by other units.
    """
    names, codes = np.unique(units, return_inverse=True)
    totals = np.bincount(codes, weights=one.value + one.images) / len(one.images)
    if abs(one.value) <= _NOTHING:
        return "", float("nan")
    shares = totals / one.value
    return str(names[shares.argmax()]), float(shares.max())


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
