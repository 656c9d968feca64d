"""Verdicts on a comparison, on its sigmas together, and on the comparisons of a claim."""

from __future__ import annotations

import numpy as np
import pytest

from dhl.analysis import verdicts


@pytest.mark.parametrize(
    ("value", "p_value", "these_weights", "expected"),
    [
        (0.1, 0.049, False, "reproduced"),
        (-0.1, 0.049, False, "not reproduced"),
        (0.1, 0.049, True, "holds for these weights"),
        (-0.1, 0.049, True, "does not hold for these weights"),
        (0.1, 0.051, False, "inconclusive"),
        (0.0, 0.001, False, "inconclusive"),
        (0.1, np.nan, True, "inconclusive"),
    ],
)
def test_verdicts(value, p_value, these_weights, expected):
    found = verdicts.verdict(value, p_value, confidence=0.95, these_weights=these_weights)
    assert found == expected


@pytest.mark.parametrize(
    ("average", "singles", "overall"),
    [
        ("reproduced", ["reproduced", "inconclusive"], "reproduced"),
        ("reproduced", ["reproduced", "not reproduced"], "inconclusive"),
        ("not reproduced", ["inconclusive", "not reproduced"], "not reproduced"),
        ("not reproduced", ["reproduced", "not reproduced"], "inconclusive"),
        ("holds for these weights", ["does not hold for these weights"], "inconclusive"),
        ("not tested", ["reproduced"], "not tested"),
    ],
)
def test_overall_verdicts(average, singles, overall):
    assert verdicts.overall_verdict(average, singles) == overall


@pytest.mark.parametrize(
    ("found", "combined"),
    [
        (["reproduced", "reproduced"], "reproduced"),
        (["reproduced", "holds for these weights"], "holds for these weights"),
        (["reproduced", "inconclusive"], "inconclusive"),
        (["reproduced", "not tested"], "inconclusive"),
        (["inconclusive", "does not hold for these weights"], "does not hold for these weights"),
        (["reproduced", "not reproduced", "not tested"], "not reproduced"),
        (["not tested"], "not tested"),
        ([], "not tested"),
    ],
)
def test_a_claim_holds_if_all_its_comparisons_hold(found, combined):
    assert verdicts.combined_verdict(found) == combined
