"""The rules that judge a comparison.

A comparison claims that a difference is above zero. Its two-sided test includes all sources of
error that the run has: test images, trainings, task networks (`dhl.analysis.statistics.infer`).

- significant in the claimed direction: `reproduced`; in the opposite direction: `not reproduced`;
  else `inconclusive`
- if a network was trained only once, no other weights were seen: `holds for these weights` and
  `does not hold for these weights`
- if the run cannot tell, whatever its numbers are: `not tested`, with the reason
- over all sigmas: the same for the average, but `inconclusive` if a single sigma says the opposite
"""

from __future__ import annotations

from collections.abc import Iterable

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
HOLDS = "holds for these weights"
DOES_NOT_HOLD = "does not hold for these weights"
INCONCLUSIVE = "inconclusive"
NOT_TESTED = "not tested"

POSITIVE = (REPRODUCED, HOLDS)
NEGATIVE = (NOT_REPRODUCED, DOES_NOT_HOLD)
VERDICTS = (*POSITIVE, *NEGATIVE, INCONCLUSIVE, NOT_TESTED)


def verdict(value: float, p_value: float, *, confidence: float, these_weights: bool) -> str:
    """Judge the claim that a value is above zero.

    Parameters
    ----------
    value : float
    p_value : float
        Of the two-sided test against zero.
    confidence : float
    these_weights : bool
        Whether a network was trained only once.
    """
    if not p_value < 1 - confidence or not abs(value) > 0:  # NaN is no verdict
        return INCONCLUSIVE
    words = POSITIVE if value > 0 else NEGATIVE
    return words[1] if these_weights else words[0]


def overall_verdict(average: str, verdicts: Iterable[str]) -> str:
    """Judge a claim over all sigmas by their average, unless a single one says the opposite."""
    opposite = NEGATIVE if average in POSITIVE else POSITIVE if average in NEGATIVE else ()
    return INCONCLUSIVE if set(opposite) & set(verdicts) else average


def combined_verdict(verdicts: Iterable[str]) -> str:
    """Judge a claim of several comparisons.

    If one comparison fails, the claim fails. Otherwise, if one is inconclusive or not tested, the
    claim is inconclusive; it is not tested if none was tested. It is reproduced if all are, and
    holds for these weights if some only do that. A comparison that the run lacks is not tested.
    """
    found = set(verdicts)
    if not found - {NOT_TESTED}:
        return NOT_TESTED
    for word in (NOT_REPRODUCED, DOES_NOT_HOLD, INCONCLUSIVE, NOT_TESTED, HOLDS):
        if word in found:
            return INCONCLUSIVE if word == NOT_TESTED else word
    return REPRODUCED
