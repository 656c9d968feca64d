"""Tests of a difference between two tables, against SciPy, and their false alarms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dhl.analysis import statistics
from dhl.analysis.compare import compare, prints_the_same, training_error, unpaired_error
from dhl.analysis.run_results import Average, RunResults
from dhl.run.folder import RunFolder

NAN = float("nan")


def average(values: np.ndarray) -> Average:
    """Return the row of a table for per-image values of one training."""
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    return Average(values.mean(), low, high, len(values), 1, NAN)


def difference_of(a: Average, b: Average, *, confidences=(0.95, 0.95)) -> statistics.Inference:
    """Test the difference of two rows without pairing."""
    sources = unpaired_error(a, b, confidences=confidences) | training_error(a, b)
    return statistics.combine(b.value - a.value, sources, confidence=confidences[0])


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.15])
def test_the_unpaired_test_is_welchs_test_of_two_samples(shift):
    rng = np.random.default_rng(8)
    first, second = rng.normal(0, 1, 2000), rng.normal(shift, 1.5, 2000)
    result = difference_of(average(first), average(second))
    reference = stats.ttest_ind(second, first, equal_var=False)
    assert result.p_value == pytest.approx(reference.pvalue, abs=0.002)
    expected = tuple(reference.confidence_interval(0.95))
    assert (result.low, result.high) == pytest.approx(expected, abs=0.001)


def test_intervals_of_other_confidence_give_the_same_p_value():
    def at(value, confidence):
        reach = stats.norm.ppf((1 + confidence) / 2) * 0.01
        return Average(value, value - reach, value + reach, 100, 1, NAN)

    expected = 2 * stats.norm(0, 0.01 * np.sqrt(2)).sf(0.02)
    for confidences in ((0.95, 0.95), (0.9, 0.99)):
        sides = (at(0.8, confidences[0]), at(0.82, confidences[1]))
        result = difference_of(*sides, confidences=confidences)
        assert result.p_value == pytest.approx(expected)


def test_an_interval_that_is_cut_at_the_bound_of_its_metric_has_its_longer_half():
    cut, complete = (Average(0.99, 0.95, high, 100, 1, NAN) for high in (1.0, 1.03))
    errors = [unpaired_error(one, one, confidences=(0.95, 0.95)) for one in (cut, complete)]
    assert errors[0]["images"].error == pytest.approx(errors[1]["images"].error)


@pytest.mark.parametrize(
    "side", [Average(1.0, 1.0, 1.0, 1, 1, NAN), Average(1.0, NAN, NAN, 9, 1, NAN)]
)
def test_without_an_interval_the_images_are_not_tested(side):
    assert unpaired_error(side, side, confidences=(0.95, 0.95)) == {}


def by_chance(rng, *, methods=4, images=60) -> RunResults:
    """Draw the tables of a run whose methods are equally good in every run."""
    averages = {}
    for number in range(methods):
        draws = {
            ("denoising", "psnr"): rng.normal(25 + number, 2, images),
            ("classification", "top1"): (rng.random(images) < 0.5 + 0.04 * number).astype(float),
        }
        for (part, metric), values in draws.items():
            averages[part, 30.0, f"m{number}", metric] = average(values)
    config = "it is absent"
    return RunResults(RunFolder("drawn"), {"configuration": {}}, config, 0.95, averages, {})


def test_differences_by_chance_are_rarely_called_moved():
    rng = np.random.default_rng(11)
    comparisons = [compare(by_chance(rng), by_chance(rng)) for _ in range(100)]
    # Quantiles of the number of false alarms, and of p-values below 5 %, at the nominal level.
    alarms = sum(comparison.moved for comparison in comparisons)
    assert alarms <= stats.binom.ppf(0.999, 100, 0.06)
    p_values = np.concatenate([comparison.cells["p_value"] for comparison in comparisons])
    below = int((p_values < 0.05).sum())
    assert stats.binom.ppf(0.001, len(p_values), 0.045) <= below
    assert below <= stats.binom.ppf(0.999, len(p_values), 0.06)


@pytest.mark.parametrize("seeds", [(3, 3), (5, 3), (4, 1)])
def test_several_trainings_prevent_false_alarms_by_chance_in_training(seeds):
    """Trainings spread by 0.3 dB; the spread of images is so small that it hides no difference."""
    rng = np.random.default_rng(12)

    def draw(count):
        scores = 27 + rng.normal(0, 0.3, count)
        spread, mean = scores.std(ddof=1) if count > 1 else NAN, scores.mean()
        return Average(mean, mean - 0.01, mean + 0.01, 500, count, spread)

    pairs = [[draw(count) for count in seeds] for _ in range(200)]
    images = [
        statistics.combine(
            b.value - a.value, unpaired_error(a, b, confidences=(0.95, 0.95)), confidence=0.95
        ).p_value
        for a, b in pairs
    ]
    assert np.mean(np.array(images) < 0.05) > 0.7
    found = [difference_of(*pair).p_value for pair in pairs]
    assert np.sum(np.array(found) < 0.05) <= stats.binom.ppf(0.999, 200, 0.05)


@pytest.mark.parametrize(("first", "second"), [(3, 3), (2, 5), (4, 1), (1, 3)])
def test_trainings_are_compared_as_scipy_does(first, second):
    rng = np.random.default_rng(13)
    scores = [rng.normal(27, 0.2, first), rng.normal(27.2, 0.1, second)]
    sides = [
        Average(one.mean(), 0, 0, 9, len(one), one.std(ddof=1) if len(one) > 1 else NAN)
        for one in scores
    ]
    gap = sides[1].value - sides[0].value
    found = statistics.combine(gap, training_error(*sides), confidence=0.95)
    welch = min(first, second) > 1
    expected = stats.ttest_ind(*scores, equal_var=not welch).pvalue
    assert found.p_value == pytest.approx(expected)


def test_one_training_each_has_no_error_by_chance_in_training():
    side = Average(27.0, 26.9, 27.1, 9, 1, NAN)
    assert training_error(side, side) == {}


@pytest.mark.parametrize(
    ("values", "metric", "expected"),
    [
        ((27.4255, 27.4345), "psnr", True),  # both print 27.43, though 0.01 apart
        ((27.4349, 27.4351), "psnr", True),  # prints 27.43 and 27.44, but 0.00 between them
        ((27.431, 27.439), "psnr", False),
        ((0.9201, 0.9204), "top1", True),
        ((0.920, 0.921), "top1", False),
        ((0.82001, 0.82004), "ssim", True),
        ((0.8200, 0.8202), "ssim", False),
    ],
)
def test_values_that_print_the_same_are_the_same(values, metric, expected):
    assert prints_the_same(*values, metric) == expected
    assert prints_the_same(*reversed(values), metric) == expected


def test_intervals_of_several_trainings_have_their_error():
    many, one = Average(27.0, 26.9, 27.1, 9, 5, 0.1), Average(27.0, 26.9, 27.1, 9, 1, NAN)
    assert training_error(many, many, in_intervals=True) == {}
    # The single training varies as the others do.
    assert training_error(many, one, in_intervals=True)["trainings"].error == pytest.approx(0.1)
