"""The rules that judge claims.

- "a is better than b" (`directional_verdict`): two-sided paired test over the images, and, with
  several trainings, two-sided t-tests over trainings and over both. The largest p-value counts,
  after Holm's correction over the sigmas of the claim. Significant in the claimed direction is
  `reproduced`, significant in the opposite direction `not reproduced`, else `inconclusive`.
- "a is nearly as good as b" (`margin_verdict`): by the intervals of a - b over images and, with
  several trainings, over trainings and over both. `reproduced` if all are above -margin,
  `not reproduced` if all are below, else `inconclusive`; uncorrected.
- a claim over all sigmas (`overall_verdict`): the same rule on the average over the sigmas. Its
  test exchanges an image's results at all sigmas at once. It is `inconclusive` if the verdict at a
  single sigma is the opposite.

The tests and intervals are those of `dhl.analysis.statistics`.
"""

from __future__ import annotations

from collections.abc import Iterable

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"


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
