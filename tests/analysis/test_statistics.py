"""Intervals, tests and verdicts against SciPy, scikit-learn, loops, hand counts and simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import jaccard_score

from dhl.analysis import scores, statistics, verdicts
from dhl.seeding import numpy_generator


def test_bootstrap_means_are_means_over_drawn_images():
    features = np.random.default_rng(1).normal(size=(12, 3))
    drawn = numpy_generator(5, "bootstrap", "x").integers(0, 12, (40, 12))
    means = statistics.bootstrap_means(
        features, draws=40, generator=numpy_generator(5, "bootstrap", "x")
    )
    np.testing.assert_allclose(means, features[drawn].mean(axis=1), rtol=1e-12)


def test_the_size_of_a_block_does_not_change_the_draws(monkeypatch):
    features = np.random.default_rng(1).normal(size=(13, 2))
    at_once = statistics.bootstrap_means(features, draws=31, generator=np.random.default_rng(2))
    monkeypatch.setattr(statistics, "_CHUNK", 50)
    blocks = statistics.bootstrap_means(features, draws=31, generator=np.random.default_rng(2))
    np.testing.assert_array_equal(at_once, blocks)


def test_the_interval_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(3).gamma(2.0, size=80)
    draws = statistics.bootstrap_means(
        values[:, None], draws=20000, generator=np.random.default_rng(4)
    )
    ours = statistics.percentile_interval(draws[:, 0], confidence=0.9)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20000, confidence_level=0.9, method="percentile", rng=5
    ).confidence_interval
    np.testing.assert_allclose(ours, theirs, atol=0.02 * values.std())


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


def test_miou_counts_a_class_that_is_only_predicted_as_zero():
    assert scores.miou(np.array([[[4, 1], [0, 0]]])) == pytest.approx((4 / 5 + 0) / 2)


def test_mcnemar_by_hand():
    first = np.array([1] * 7 + [0] + [1] * 5 + [0] * 4)
    second = np.array([0] * 7 + [1] + [1] * 5 + [0] * 4)
    # 7 against 1: twice the tail (1 + 8) / 2**8.
    assert statistics.mcnemar_test(first, second) == pytest.approx(2 * 9 / 256)
    assert statistics.mcnemar_test(first, first) == 1.0


@pytest.mark.parametrize("images", [5, 12, 17])
def test_sign_flips_agree_with_scipy(images):
    rng = np.random.default_rng(images)
    first, second = rng.normal(size=(2, images))
    first += 0.5
    expected = stats.permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    ).pvalue
    found = statistics.swap_test(first[:, None], second[:, None], metric="psnr", generator=rng)
    exact = images <= statistics.EXACT_LIMIT
    assert found == pytest.approx(expected, abs=1e-12 if exact else 0.02)


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("top1", "exact McNemar"),
        ("top5", "exact McNemar"),
        ("psnr", "sign-flip permutation"),
        ("miou", "image-swap permutation"),
    ],
)
def test_each_metric_has_its_test(metric, name):
    features = np.ones((4, 1, 3))
    found = statistics.paired_test(
        features, features, metric=metric, generator=np.random.default_rng(0)
    )
    assert found == (name, 1.0)


def test_groups_with_the_sign_of_the_average_by_hand():
    # Means of a - b: +3 and -1 and 0 in the groups, +2/3 in all; two trainings, which are averaged.
    gaps = np.array([[4.0, 2.0], [3.0, 3.0], [-2.0, 0.0], [-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    first, second = 20 + gaps[..., None], np.full((6, 2, 1), 20.0)
    groups = ["a", "a", "b", "b", "c", "c"]
    assert statistics.alike(first, second, groups=groups, metric="psnr") == 1
    assert statistics.alike(second, first, groups=groups, metric="psnr") == 1
    assert statistics.alike(first, second, groups=["a"] * 6, metric="psnr") == 1
    assert statistics.alike(first, second, groups=groups, metric="psnr", line=-0.5) == 2
    assert statistics.alike(first, second, groups=groups, metric="psnr", line=1) == 2


def test_a_group_that_ties_has_no_sign():
    # Right answers of ten images, by three trainings: 3 of 30 on either side in the second group,
    # whose means differ by rounding alone.
    first, second = np.zeros((2, 20, 3, 1))
    first[0], first[10, 0], first[11:13, 1] = 1, 1, 1
    second[10:13, 2] = 1
    groups = ["a"] * 10 + ["b"] * 10
    assert first[10:].mean(axis=0).mean() != second[10:].mean(axis=0).mean()
    assert statistics.alike(first, second, groups=groups, metric="top1") == 1
    assert np.isnan(statistics.alike(first[10:], second[10:], groups=groups[10:], metric="top1"))


def test_holm_by_hand():
    np.testing.assert_allclose(
        statistics.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02]
    )


def test_holm_leaves_out_missing_p_values_and_stays_below_one():
    np.testing.assert_allclose(statistics.holm(np.array([0.7, np.nan, 0.02])), [0.7, np.nan, 0.04])
    np.testing.assert_allclose(statistics.holm(np.array([0.7, 0.9])), [1.0, 1.0])


@pytest.mark.parametrize(
    ("difference", "p_adjusted", "verdict"),
    [
        (0.1, 0.049, "reproduced"),
        (-0.1, 0.049, "not reproduced"),
        (0.1, 0.051, "inconclusive"),
        (-0.1, 0.051, "inconclusive"),
        (0.0, 0.001, "inconclusive"),
        (0.1, np.nan, "inconclusive"),
    ],
)
def test_directional_verdicts(difference, p_adjusted, verdict):
    found = verdicts.directional_verdict(
        difference=difference, p_adjusted=p_adjusted, confidence=0.95
    )
    assert found == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.019, 0.01, "reproduced"),
        (0.01, 0.02, "reproduced"),
        (-0.03, -0.021, "not reproduced"),
        (-0.03, -0.01, "inconclusive"),
        (-0.02, 0.01, "inconclusive"),
        (np.nan, np.nan, "inconclusive"),
    ],
)
def test_margin_verdicts(low, high, verdict):
    assert verdicts.margin_verdict(low=low, high=high, margin=0.02) == verdict


@pytest.mark.parametrize(
    ("average", "singles", "overall"),
    [
        ("reproduced", ["reproduced", "reproduced"], "reproduced"),
        ("reproduced", ["reproduced", "inconclusive"], "reproduced"),
        ("reproduced", ["reproduced", "not reproduced"], "inconclusive"),
        ("not reproduced", ["inconclusive", "not reproduced"], "not reproduced"),
        ("not reproduced", ["reproduced", "not reproduced"], "inconclusive"),
        ("inconclusive", ["reproduced", "inconclusive"], "inconclusive"),
    ],
)
def test_overall_verdicts(average, singles, overall):
    assert verdicts.overall_verdict(average, singles) == overall


@pytest.mark.parametrize("sigmas", [1, 2])
@pytest.mark.parametrize("metric", ["psnr", "miou"])
def test_an_image_is_exchanged_at_all_sigmas_at_once(metric, sigmas):
    """Against a loop over all exchanges of seven images."""
    rng = np.random.default_rng(30)
    features = 1 if metric == "psnr" else 6
    first, second = rng.uniform(1, 2, (2, 7, sigmas, features))
    score = scores.SCORES[metric]

    def gap(a, b):
        return np.mean(score(a.mean(axis=0)) - score(b.mean(axis=0)))

    extreme = 0
    for swaps in itertools.product([False, True], repeat=7):
        swapped = np.array(swaps)[:, None, None]
        a, b = np.where(swapped, second, first), np.where(swapped, first, second)
        extreme += abs(gap(a, b)) >= abs(gap(first, second)) - 1e-9
    found = statistics.swap_test(first, second, metric=metric, generator=rng)
    assert found == pytest.approx(extreme / 2**7)


def simulated_verdicts(draw, metric, rng, *, sigmas=4):
    """Judge one made-up claim at several sigmas; `draw` makes the features of a and b."""
    pairs = [draw(rng) for _ in range(sigmas)]
    tests = [statistics.paired_test(a, b, metric=metric, generator=rng) for a, b in pairs]
    adjusted = statistics.holm(np.array([p_value for _, p_value in tests]))
    score = scores.SCORES[metric]
    return [
        verdicts.directional_verdict(
            difference=score(a.mean(axis=0)) - score(b.mean(axis=0)), p_adjusted=p, confidence=0.95
        )
        for (a, b), p in zip(pairs, adjusted, strict=True)
    ]


def classifiers(gain):
    """Return a draw of two classifiers with 20 % discordant images, `gain` of them net for a."""

    def draw(rng):
        kind = rng.choice(3, size=(300, 1), p=[0.8, 0.1 + gain / 2, 0.1 - gain / 2])
        both = rng.random((300, 1)) < 0.6
        return tuple(np.where(kind == 0, both, kind == winner) * 1.0 for winner in (1, 2))

    return draw


def denoisers(gain):
    """Return a draw of the PSNR of two denoisers on 24 images, `gain` dB apart."""

    def draw(rng):
        return rng.normal(27 + gain, 0.3, (24, 1)), rng.normal(27, 0.3, (24, 1))

    return draw


def segmenters(gain):
    """Return a draw of the confusion margins of two segmenters that share their images."""

    def draw(rng):
        truth = rng.integers(20, 60, (25, 3))
        sides = []
        for hit_rate in (0.7 + gain, 0.7):
            ease = rng.uniform(-0.1, 0.1, (25, 1))
            hits = rng.binomial(truth, hit_rate + ease)
            confusions = np.zeros((25, 3, 3))
            confusions[:, range(3), range(3)] = hits
            confusions[:, range(3), (1, 2, 0)] = truth - hits
            sides.append(scores.confusion_margins(confusions))
        return tuple(sides)

    return draw


@pytest.mark.parametrize(
    ("draw", "gain", "metric", "seed"),
    [(classifiers, 0.12, "top1", 20), (denoisers, 0.5, "psnr", 21), (segmenters, 0.1, "miou", 22)],
)
def test_verdicts_are_rare_without_a_difference_and_sure_with_a_clear_one(
    monkeypatch, draw, gain, metric, seed
):
    monkeypatch.setattr(statistics, "PERMUTATIONS", 499)
    rng = np.random.default_rng(seed)
    none = [set(simulated_verdicts(draw(0.0), metric, rng)) for _ in range(200)]
    # Holm keeps the chance of any verdict at 5 %: more than 20 of 200 has a chance of 0.1 %.
    assert sum(found != {"inconclusive"} for found in none) <= 20
    clear = [set(simulated_verdicts(draw(gain), metric, rng)) for _ in range(30)]
    assert sum(found == {"reproduced"} for found in clear) >= 24


@pytest.mark.parametrize(("gap", "at_most", "at_least"), [(-0.05, 0.06, 0.0), (0.0, 1.0, 0.9)])
def test_the_margin_keeps_its_error_rate(gap, at_most, at_least):
    """At the margin itself "reproduced" is a mistake of 2.5 %; without a gap it is the rule."""
    rng = np.random.default_rng(26)
    reproduced = 0
    for _ in range(200):
        difference = rng.normal(gap, 0.2, (200, 1))
        draws = statistics.bootstrap_means(difference, draws=300, generator=rng)
        low, high = statistics.percentile_interval(draws[:, 0], confidence=0.95)
        verdict = verdicts.margin_verdict(low=low, high=high, margin=0.05)
        reproduced += verdict == "reproduced"
    assert at_least <= reproduced / 200 <= at_most
