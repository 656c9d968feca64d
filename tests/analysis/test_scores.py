"""Scores of metrics that some images do not have, and which values are better."""

import numpy as np
import pytest

from dhl.analysis.scores import (
    DIRECTION,
    SCORES,
    TARGET,
    comparative,
    compared_features,
    goodness,
    known_features,
    known_score,
)
from dhl.analysis.units import UNITS
from dhl.config.methods import METRICS


def test_every_metric_has_a_score_a_direction_and_a_unit():
    metrics = {metric for part in METRICS.values() for metric in part}
    assert metrics == set(SCORES) == set(DIRECTION) == set(UNITS)


def test_the_mean_skips_the_images_without_a_value():
    values = np.array([[1.0, 2.0], [np.nan, 4.0], [5.0, np.nan], [np.nan, np.nan]])
    features = known_features(values)
    assert features.shape == (4, 2, 2)
    np.testing.assert_allclose(known_score(features.mean(axis=0)), [3, 3])
    np.testing.assert_array_equal(known_score(features), values)
    assert np.isnan(known_score(features[3:].mean(axis=0))).all()


@pytest.mark.parametrize(
    ("metric", "from_best_to_worst"),
    [
        ("psnr", [30, 29, 10]),
        ("cross_entropy", [0, 0.1, 2.3]),
        ("gmsd", [0, 0.01, 0.3]),
        ("gradient", [1, 0.95, 1.1, 0.8, 4]),
    ],
)
def test_a_better_value_has_more_goodness(metric, from_best_to_worst):
    found = [goodness(value, metric) for value in from_best_to_worst]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)


def test_comparisons_of_a_metric_with_a_target_use_the_distance_of_each_image():
    features = known_features(np.array([[0.9, 1.3], [1.0, np.nan]]))
    found = compared_features(features, "gradient")
    np.testing.assert_allclose(known_score(found), [[-0.1, -0.3], [0, np.nan]])
    np.testing.assert_array_equal(found[..., 1], features[..., 1])
    assert compared_features(features, "cross_entropy") is features


def test_a_metric_with_a_target_allows_for_images_without_a_value():
    for metric in TARGET:
        assert (SCORES[metric], DIRECTION[metric]) == (known_score, 1)


def test_a_better_method_is_above_below_or_nearer():
    found = [comparative(metric) for metric in ("psnr", "gmsd", "gradient")]
    assert found == ["above", "below", "nearer to 1 than"]
