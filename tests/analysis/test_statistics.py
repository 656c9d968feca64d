"""Scores and intervals against SciPy, scikit-learn, hand counts and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import jaccard_score

from dhl.analysis import scores, statistics, verdicts
from dhl.analysis.statistics import Estimate, Source

ONE = np.zeros(1)


def of_images(values, trainings=ONE, networks=ONE) -> Estimate:
    """Return the estimate of a mean of per-image values."""
    values = np.asarray(values, float)
    return Estimate(float(values.mean()), values - values.mean(), trainings, networks)


def each(images: int) -> dict[str, np.ndarray]:
    """Say that every image is a unit of its own."""
    return {"images": np.arange(images)}


def random_confusions(images: int, seed: int, classes: int = 5) -> np.ndarray:
    """Return confusion matrices of images with different numbers of pixels a class."""
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(1.0, 40.0, (images, classes, classes)) * (1 + 9 * np.eye(classes)))


def test_miou_agrees_with_scikit_learn():
    rng = np.random.default_rng(7)
    truth, predicted = rng.integers(0, 5, (2, 6, 400))
    confusions = np.zeros((6, 5, 5), np.int64)
    np.add.at(confusions, (np.arange(6)[:, None], truth, predicted), 1)
    expected = jaccard_score(truth.ravel(), predicted.ravel(), average="macro")
    assert scores.miou(confusions) == pytest.approx(expected, rel=1e-12)


def test_miou_by_hand_leaves_out_a_class_that_never_occurs():
    # Class 0: 3 hits of 4 in the truth, 1 wrong prediction: 3 / 5. Class 1: 2 / 4. Class 2: none.
    confusions = np.array([[[2, 1, 0], [0, 2, 0], [0, 0, 0]], [[1, 0, 0], [1, 0, 0], [0, 0, 0]]])
    assert scores.miou(confusions) == pytest.approx((3 / 5 + 2 / 4) / 2)


def test_miou_leaves_out_a_class_that_is_only_predicted():
    assert scores.miou(np.array([[[4, 1], [0, 0]]])) == pytest.approx(4 / 5)


def test_the_influence_on_miou_is_its_derivative_by_the_weight_of_an_image():
    margins = scores.confusion_margins(random_confusions(7, seed=1))
    found = scores.influence(margins, "miou")
    step = 1e-6
    for image in range(7):
        weights = np.full(7, 1 / 7)
        weights[image] += step
        moved = scores.miou_score(weights / weights.sum() @ margins)
        assert (moved - scores.miou_score(margins.mean(axis=0))) / step == pytest.approx(
            found[image], rel=1e-3, abs=1e-6
        )
    assert found.sum() == pytest.approx(0, abs=1e-12)


def test_the_error_of_miou_agrees_with_the_bootstrap():
    margins = scores.confusion_margins(random_confusions(60, seed=2))
    error = statistics.over_units(scores.influence(margins, "miou"), np.arange(60)).error
    drawn = np.random.default_rng(3).integers(0, 60, (4000, 60))
    assert error == pytest.approx(scores.miou_score(margins[drawn].mean(axis=1)).std(), rel=0.05)


@pytest.mark.parametrize("images", [4, 9, 200])
def test_over_images_of_their_own_it_is_the_paired_t_test(images):
    rng = np.random.default_rng(images)
    first, second = rng.normal(0.2, 1, (2, images))
    reference = stats.ttest_rel(first, second)
    gap = of_images(first) - of_images(second)
    found = statistics.infer(gap, each(images), confidence=0.9)
    assert found.p_value == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval(0.9)))


def test_crops_of_photographs_count_by_photograph():
    values = np.random.default_rng(4).normal(0.5, 1, (5, 6))
    reference = stats.ttest_1samp(values.mean(axis=1), 0)
    units = {"photographs": np.repeat(list("abcde"), 6)}
    found = statistics.infer(of_images(values.ravel()), units, confidence=0.95)
    assert found.p_value == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval()))


def test_two_kinds_of_units_are_two_sources_of_error():
    values = np.random.default_rng(5).normal(size=(4, 6))
    rows, columns = (axis.ravel() for axis in np.indices((4, 6)))
    units = {"photographs": rows, "digits": columns}
    found = statistics.infer(of_images(values.ravel()), units, confidence=0.95)
    alone = [values.mean(axis=axis).std(ddof=1) ** 2 / values.shape[1 - axis] for axis in (1, 0)]
    errors = {name: source.error**2 for name, source in found.sources.items()}
    assert errors == pytest.approx({"photographs": alone[0], "digits": alone[1]})


def test_the_test_over_trainings_is_students():
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, 6))
    gap = first - second
    reference = stats.ttest_rel(first, second)
    source = statistics.over_trainings(gap - gap.mean())
    ends = source.interval(gap.mean(), confidence=0.9)
    assert ends == pytest.approx(tuple(reference.confidence_interval(0.9)))


def test_two_sources_are_added_as_welch_does():
    rng = np.random.default_rng(6)
    first, second = rng.normal(0.5, 1, 40), rng.normal(0, 0.2, 5)
    reference = stats.ttest_ind(first, second, equal_var=False)
    sources = {
        name: Source(one.std(ddof=1) / np.sqrt(len(one)), len(one) - 1)
        for name, one in (("images", first), ("trainings", second))
    }
    found = statistics.combine(first.mean() - second.mean(), sources, confidence=0.95)
    assert found.p_value == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval()))


@pytest.mark.parametrize("images", [1, 6])
def test_without_spread_nothing_is_known(images):
    found = statistics.infer(of_images([0.5] * images), each(images), confidence=0.95)
    np.testing.assert_equal((found.low, found.high, found.p_value), (np.nan, np.nan, 1.0))


@pytest.mark.parametrize("broken", ["value", "images", "trainings", "networks"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_was_not_measured_has_neither_p_value_nor_verdict(broken, number):
    parts = {"value": 0.5, "images": np.array([0.1, -0.1, 0.0]), "trainings": np.array([0.1, -0.1]),
             "networks": np.array([0.2, -0.2])}  # fmt: skip
    parts[broken] = parts[broken] * np.nan + number
    found = statistics.infer(Estimate(**parts), each(3), confidence=0.95)
    assert np.isnan([found.low, found.high, found.p_value]).all()
    for p_value in (found.p_value, 0.0):
        word = verdicts.verdict(np.nan, p_value, confidence=0.95, these_weights=False)
        assert word == verdicts.INCONCLUSIVE


def test_an_estimate_averages_trainings_and_task_networks():
    features = np.random.default_rng(8).normal(size=(9, 3, 2, 1))
    found = statistics.estimate(features, "psnr")
    assert found.value == pytest.approx(features.mean())
    np.testing.assert_allclose(found.images + found.value, features.mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(found.trainings + found.value, features.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(found.networks + found.value, features.mean(axis=(0, 1, 3)))


def test_the_slope_is_that_of_least_squares():
    levels = np.array([15.0, 30.0, 45.0, 60.0])
    values = np.random.default_rng(9).normal(size=(20, 4))
    estimates = [of_images(column) for column in values.T]
    slope = statistics.mean_of(estimates, statistics.slope_weights(levels))
    assert slope.value == pytest.approx(np.polyfit(levels, values.mean(axis=0), 1)[0])
    of_each = [np.polyfit(levels, row, 1)[0] for row in values]
    np.testing.assert_allclose(slope.images + slope.value, of_each)


def test_the_ends_of_a_share_are_the_shares_that_can_hardly_be_told_from_it():
    rng = np.random.default_rng(10)
    whole, part = (
        of_images(rng.normal(mean, 0.5, 40), rng.normal(0, 0.05, 3)) for mean in (1.0, 0.7)
    )
    units = each(40)
    ratio, low, high = statistics.share_interval(part, whole, units, confidence=0.95)
    assert ratio == pytest.approx(part.value / whole.value)
    assert low < ratio < high
    for end in (low, high):
        assert statistics.infer(part - end * whole, units, confidence=0.95).p_value == (
            pytest.approx(0.05, abs=0.01)
        )


@pytest.mark.parametrize("gain", [-1.0, 0.01])
def test_no_share_is_kept_of_a_gain_that_is_not_clear(gain):
    rng = np.random.default_rng(11)
    whole, part = of_images(rng.normal(gain, 0.3, 30)), of_images(rng.normal(0.2, 0.3, 30))
    _, low, high = statistics.share_interval(part, whole, each(30), confidence=0.95)
    assert np.isnan([low, high]).all()


def test_the_unit_that_carries_a_difference_by_hand():
    # Sums 3, 1 and -1 of 3 in all: shares 1, 1/3 and -1/3.
    one = of_images([1, 2, 0, 1, -1, 0])
    assert statistics.largest_share(one, np.array(list("aabbcc"))) == ("a", pytest.approx(1.0))


def test_wins_and_losses_by_hand():
    first, second = np.array([[3.0], [2.0], [1.0], [1.0]]), np.array([[1.0], [1.0], [1.0], [2.0]])
    found = statistics.effect(first, second, metric="psnr")
    gaps = np.array([2, 1, 0, -1])
    assert (found.wins, found.losses) == (2, 1)
    assert found.size == pytest.approx(gaps.mean() / gaps.std(ddof=1))
    assert (found.swapped().wins, found.swapped().size) == (1, -found.size)


def test_holm_by_hand():
    np.testing.assert_allclose(
        statistics.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02]
    )


def test_holm_leaves_out_missing_p_values_and_stays_below_one():
    np.testing.assert_allclose(statistics.holm(np.array([0.7, np.nan, 0.02])), [0.7, np.nan, 0.04])
    np.testing.assert_allclose(statistics.holm(np.array([0.7, 0.9])), [1.0, 1.0])


def coverage(rng, *, units: int, images: int, alike: float, trainings=1, networks=1, spread=0.0):
    """Return how often the 95 % interval contains the truth, in 1,000 simulated runs.

    `alike` is the intraclass correlation of the images of a unit. The variance of trainings, and
    that of task networks, is `spread` times the variance of the mean over the images.
    """
    names = {"units": np.repeat(np.arange(units), images)}
    of_mean = alike / units + (1 - alike) / (units * images)
    hits = 0
    for _ in range(1000):
        values = np.sqrt(alike) * rng.normal(size=(units, 1))
        values = (values + np.sqrt(1 - alike) * rng.normal(size=(units, images))).ravel()
        draws = [
            np.sqrt(spread * of_mean) * rng.normal(size=count) * (count > 1)
            for count in (trainings, networks)
        ]
        one = Estimate(
            values.mean() + sum(draw.mean() for draw in draws),
            values - values.mean(),
            *(draw - draw.mean() for draw in draws),
        )
        found = statistics.infer(one, names, confidence=0.95)
        hits += found.low <= 0 <= found.high
    return hits / 1000


@pytest.mark.parametrize("alike", [0.0, 0.2, 0.5])
@pytest.mark.parametrize(("units", "images"), [(4, 6), (8, 6), (24, 4), (500, 1)])
def test_intervals_over_units_contain_the_truth(units, images, alike):
    rng = np.random.default_rng(100 * units + int(10 * alike))
    # 95 % plus and minus four standard errors of 1,000 runs.
    assert 0.93 <= coverage(rng, units=units, images=images, alike=alike) <= 0.97


@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
@pytest.mark.parametrize(("trainings", "networks"), [(3, 1), (3, 3), (5, 3)])
@pytest.mark.parametrize(("units", "images"), [(4, 6), (24, 1), (500, 1)])
def test_intervals_with_trainings_contain_the_truth(units, images, trainings, networks, spread):
    rng = np.random.default_rng(units + trainings)
    found = coverage(
        rng, units=units, images=images, alike=0.2,
        trainings=trainings, networks=networks, spread=spread,
    )  # fmt: skip
    # With one task network, trainings that spread make intervals too narrow: see the next test.
    assert (0.91 if networks == 1 else 0.93) <= found <= 0.97


def test_intervals_with_one_task_network_are_too_narrow_if_few_trainings_spread():
    found = {
        trainings: coverage(
            np.random.default_rng(trainings), units=500, images=1, alike=0.0,
            trainings=trainings, spread=30.0,
        )
        for trainings in (2, 3)
    }  # fmt: skip
    # `photos` has three trainings and one task network.
    assert 0.84 < found[2] < 0.9 < found[3] < 0.94


def test_one_training_hides_the_chance_in_the_training():
    found = coverage(np.random.default_rng(12), units=24, images=1, alike=0.0, networks=1)
    assert 0.93 <= found <= 0.97
    rng = np.random.default_rng(13)
    wrong = 0
    for _ in range(1000):
        gap = of_images(rng.normal(rng.normal(0, 0.1), 0.3, 30))  # equally good; trainings by 0.1
        wrong += statistics.infer(gap, each(30), confidence=0.95).p_value < 0.05
    assert wrong > 300


def discordant(rng, images: int, rate: float) -> Estimate:
    """Return the difference of two equally good classifiers that disagree on a few images."""
    kind = rng.choice([-1, 0, 1], size=images, p=[rate / 2, 1 - rate, rate / 2])
    return of_images(kind)


@pytest.mark.parametrize(("images", "rate"), [(500, 0.04), (2000, 0.1)])
def test_equal_classifiers_rarely_differ(images, rate):
    rng = np.random.default_rng(images)
    wrong = sum(
        statistics.infer(discordant(rng, images, rate), each(images), confidence=0.95).p_value
        < 0.05
        for _ in range(1000)
    )
    assert 0.03 <= wrong / 1000 <= 0.07


def test_corrected_verdicts_are_rarely_wrong():
    """Of 25 comparisons without a difference, none gets a verdict in 95 % of runs."""
    rng = np.random.default_rng(14)
    wrong = 0
    for _ in range(300):
        shared = rng.normal(0, 0.3, 40)
        p_values = [
            statistics.infer(
                of_images(shared + rng.normal(0, 0.5, 40)), each(40), confidence=0.95
            ).p_value
            for _ in range(25)
        ]
        wrong += (statistics.holm(np.array(p_values)) < 0.05).any()
    assert wrong <= stats.binom.ppf(0.999, 300, 0.05)
