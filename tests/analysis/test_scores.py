"""Scores of metrics that some images do not have, and which values are better."""

import numpy as np
import pytest

from dhl.analysis.scores import DIRECTION, SCORES, goodness, known_features, known_score
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
