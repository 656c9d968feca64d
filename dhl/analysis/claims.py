"""The verdicts of a run on the comparisons of `report/claims.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from dhl.analysis import statistics, verdicts
from dhl.analysis.claims_file import Claim, ClaimsFile, read_claims_file
from dhl.analysis.measurements import Measurements, read_measurements
from dhl.analysis.reach import Reach
from dhl.analysis.scores import DIRECTION, compared_features
from dhl.config.methods import METRICS, NO_DENOISER, label_of
from dhl.config.schema import Config
from dhl.files import project_file
from dhl.run.folder import RunFolder
from dhl.run.results import CLAIM_COLUMNS, write_csv

_COUNTS = ("n", "units", "wins", "losses", "seeds", "networks")
_KEPT = 0.5  # a share of the gain above this is most of it
_PER_SIGMA = 10.0  # slopes are per 10 units of sigma


@dataclass(frozen=True)
class PartResults:
    """The measurements of a part at all its sigmas."""

    config: Config
    part: str
    measurements: list[Measurements]

    def at(self, index: int) -> PartResults:
        """Return the results at one sigma."""
        return PartResults(self.config, self.part, [self.measurements[index]])

    @property
    def units(self) -> dict[str, np.ndarray]:
        """The units of the test images, by kind."""
        return self.measurements[0].units

    @cached_property
    def compared(self) -> list[Measurements]:
        """The measurements with the features that comparisons are made of."""
        return [
            replace(
                one,
                features={
                    (method, metric): compared_features(features, metric)
                    for (method, metric), features in one.features.items()
                },
            )
            for one in self.measurements
        ]

    def score(self, method: str, metric: str) -> float:
        """Return a metric over all images, trainings and sigmas; NaN if it was not measured."""
        return float(np.mean([one.score(method, metric) for one in self.measurements]))

    def gap(self, claim: Claim) -> float:
        """Return the difference a - b over all sigmas; NaN if one was not measured."""
        first, second = (
            np.mean([one.score(method, claim.metric) for one in self.compared])
            for method in (claim.a, claim.b)
        )
        return float(first - second)

    def difference(self, claim: Claim) -> list[statistics.Estimate]:
        """Return the difference a - b at each sigma."""
        return self._gap(claim.a, claim.b, claim.metric)

    def gains(self, claim: Claim) -> tuple[list[statistics.Estimate], list[statistics.Estimate]]:
        """Return what a and b of a claim on a share gain over its baseline, at each sigma."""
        return (
            self._gap(claim.a, claim.over, claim.metric),
            self._gap(claim.b, claim.over, claim.metric),
        )

    def _gap(self, first: str, second: str, metric: str) -> list[statistics.Estimate]:
        """Return the difference of two methods at each sigma."""
        return [one.estimate(first, metric) - one.estimate(second, metric) for one in self.compared]

    def tested(self, claim: Claim) -> list[statistics.Estimate]:
        """Return, at each sigma, the value that the claim says is above zero."""
        if claim.over:
            kept, whole = self.gains(claim)
            return [one - _KEPT * other for one, other in zip(kept, whole, strict=True)]
        return [DIRECTION[claim.metric] * one for one in self.difference(claim)]


def configured_claims(config: Config, part: str, file: ClaimsFile) -> tuple[Claim, ...]:
    """Return the comparisons of a part whose methods are all rows of its table in this run."""
    methods = set(config.parts[part].methods)
    return tuple(
        claim for claim in file.comparisons if claim.part == part and claim.methods <= methods
    )


def own_claims(results: PartResults) -> tuple[Claim, ...]:
    """Return the comparisons of the user's methods with the other methods of a part's table.

    Each is compared with `separate`, `cbm3d` and the denoising method that is best of the others on
    these test images, on average over sigma.
    """
    config, part = results.config, results.part
    metric = METRICS[part][0]
    methods = config.parts[part].methods
    claims = []
    for own in (method for method in methods if method in config.plugin_methods):
        others = [method for method in methods if method not in (own, *NO_DENOISER)]
        scores = {method: results.score(method, metric) for method in others}
        known = {method: score for method, score in scores.items() if not np.isnan(score)}
        best = [max(known, key=known.__getitem__)] if known else []
        rivals = dict.fromkeys(name for name in ("separate", "cbm3d", *best) if name in others)
        claims += [_own_claim(part, metric, own, rival) for rival in rivals]
    return tuple(claims)


def _own_claim(part: str, metric: str, own: str, rival: str) -> Claim:
    """Claim that a method of the user is better than another method."""
    first, second = f"the method {label_of(own)}", label_of(rival)
    statement = f"{part.capitalize()} works better after {first} than after {second}."
    if part == "denoising":
        statement = f"{first[0].upper()}{first[1:]} has a higher PSNR than {second}."
    return Claim(f"{part}-{own}-over-{rival}", "own", part, metric, own, rival, statement)


def compute_claims(config: Config, folder: RunFolder) -> pd.DataFrame:
    """Judge every comparison of `report/claims.yaml`, and those of the user's methods.

    Returns
    -------
    DataFrame with `dhl.run.results.CLAIM_COLUMNS`
        For each comparison, a row per sigma, then a row with an empty sigma for the average over
        all. Accuracies and mIoU are fractions, PSNR is in dB. `difference` is a - b; for a metric
        with a target, by how much a is nearer to it, image by image. Its interval `low` to `high`
        has all sources of error; `units_*`, `seed_*` and `network_*` have one each: test images,
        trainings of the denoisers, trainings of the task network. A slope is per 10 units of sigma.
        `p_adjusted` and `verdict_adjusted` are corrected for the number of comparisons. If a
        comparison is not tested, `reason` says why.

        A comparison of a share has `share`, `share_low` and `share_high` instead of a difference,
        its intervals, its slope and its effect on images; `p_value` tests the share against a half.

    Raises
    ------
    UserError
        If a result is missing or was edited by hand.
    """
    file = read_claims_file(project_file("report/claims.yaml"))
    rows: list[dict] = []
    for part in config.parts.of_paper:
        chosen = configured_claims(config, part, file)
        own = set(config.plugin_methods) & set(config.parts[part].methods)
        if not (chosen or own):
            continue
        sigmas = config.parts[part].sigmas
        measurements = [read_measurements(config, folder, part, sigma) for sigma in sigmas]
        results = PartResults(config, part, measurements)
        reach = Reach(config, file.limits, part, measurements)
        for claim in (*chosen, *own_claims(results)):
            rows += _judge(results, claim, reach)
    _adjust(config, rows)
    return pd.DataFrame(rows, columns=list(CLAIM_COLUMNS)).astype(dict.fromkeys(_COUNTS, "Int64"))


def write_claims(config: Config, folder: RunFolder) -> None:
    """Write the verdicts on all comparisons to `folder.claims`."""
    write_csv(compute_claims(config, folder), folder.claims, CLAIM_COLUMNS)


def _judge(results: PartResults, claim: Claim, reach: Reach) -> list[dict]:
    """Return a comparison's rows: one per sigma, and the summary."""
    rows = []
    for index, one in enumerate(results.measurements):
        rows.append(_compare(results.at(index), claim, reach) | {"sigma": one.sigma})
    summary = _compare(results, claim, reach)
    if len(rows) > 1 and summary["verdict"] != verdicts.NOT_TESTED and not claim.over:
        summary |= _trend(results, claim)
    summary["verdict"] = verdicts.overall_verdict(
        summary["verdict"], (row["verdict"] for row in rows)
    )
    return [*rows, summary]


def _compare(results: PartResults, claim: Claim, reach: Reach) -> dict:
    """Compare the two methods at one sigma, or on average over several."""
    row: dict = dict.fromkeys(CLAIM_COLUMNS, np.nan)
    row |= {
        "claim": claim.id, "origin": claim.origin, "statement": claim.statement, "part": claim.part,
        "metric": claim.metric, "method_a": claim.a, "method_b": claim.b, "over": claim.over,
        "mean_a": results.score(claim.a, claim.metric),
        "mean_b": results.score(claim.b, claim.metric), "reason": "",
    }  # fmt: skip
    if not claim.over:
        row["difference"] = results.gap(claim)
    if reason := _missing(results, claim):
        return row | {"verdict": verdicts.NOT_TESTED, "reason": reason}
    confidence = results.config.statistics.confidence
    tested = statistics.mean_of(results.tested(claim))
    found = statistics.infer(tested, results.units, confidence=confidence)
    row |= _counts(results, tested) | {"p_value": found.p_value}
    row |= _share(results, claim) if claim.over else _difference(results, claim)
    reason = reach.why_not_tested(
        claim, results.measurements, tested=tested.value, share_low=row["share_low"]
    )
    if reason:
        return row | {"verdict": verdicts.NOT_TESTED, "reason": reason}
    scope = reach.single_trainings(claim)
    word = verdicts.verdict(
        tested.value, found.p_value, confidence=confidence, these_weights=bool(scope)
    )
    return row | {"verdict": word, "reason": scope}


def _counts(results: PartResults, tested: statistics.Estimate) -> dict:
    """Return the numbers of images, units and trainings behind a comparison."""
    kind, count = results.measurements[0].fewest_units
    return {
        "n": len(tested.images), "unit": kind, "units": count,
        "seeds": len(tested.trainings), "networks": len(tested.networks),
    }  # fmt: skip


def _difference(results: PartResults, claim: Claim) -> dict:
    """Return the columns that describe a difference and its sources of error."""
    difference = statistics.mean_of(results.difference(claim))
    units, confidence = results.units, results.config.statistics.confidence
    found = statistics.infer(difference, units, confidence=confidence)
    of_units = {name: found.sources[name] for name in units if name in found.sources}
    images = statistics.combine(difference.value, of_units, confidence=confidence)
    row: dict = {
        "low": found.low, "high": found.high,
        "units_low": images.low, "units_high": images.high,
    }  # fmt: skip
    for name, prefix in (("trainings", "seed"), ("networks", "network")):
        if name in found.sources:
            ends = found.sources[name].interval(difference.value, confidence=confidence)
            row |= dict(zip((f"{prefix}_low", f"{prefix}_high"), ends, strict=True))
    kind, count = results.measurements[0].fewest_units
    if count < len(difference.images):
        name, share = statistics.largest_share(difference, units[kind])
        row |= {"largest_unit": name, "largest_share": share}
    sides = (_stacked(results, method, claim.metric) for method in (claim.a, claim.b))
    effect = statistics.effect(*sides, metric=claim.metric)
    better = effect if DIRECTION[claim.metric] > 0 else effect.swapped()
    return row | {"wins": better.wins, "losses": better.losses, "effect_size": effect.size}


def _stacked(results: PartResults, method: str, metric: str) -> np.ndarray:
    """Return a method's features at all sigmas, (n, sigmas * s * t, k)."""
    every = [one.features[method, metric] for one in results.compared]
    return np.concatenate([one.reshape(len(one), -1, one.shape[-1]) for one in every], axis=1)


def _share(results: PartResults, claim: Claim) -> dict[str, float]:
    """Return the share of the gain that is kept, with its interval."""
    kept, whole = map(statistics.mean_of, results.gains(claim))
    ends = statistics.share_interval(
        kept, whole, results.units, confidence=results.config.statistics.confidence
    )
    return dict(zip(("share", "share_low", "share_high"), ends, strict=True))


def _trend(results: PartResults, claim: Claim) -> dict[str, float]:
    """Return the slope of the difference over sigma, with its interval."""
    levels = np.array([one.sigma for one in results.measurements])
    weights = _PER_SIGMA * statistics.slope_weights(levels)
    slope = statistics.mean_of(results.difference(claim), weights)
    found = statistics.infer(slope, results.units, confidence=results.config.statistics.confidence)
    return {"slope": found.value, "slope_low": found.low, "slope_high": found.high}


def _missing(results: PartResults, claim: Claim) -> str:
    """Name the methods without measurements, and the sigma or file; empty if there are none."""
    missing = []
    for one in results.measurements:
        absent = [name for name in claim.methods if (name, claim.metric) not in one.features]
        failed = [method for method in sorted(absent) if method in one.failures]
        missing += [f"{method} failed at sigma {one.sigma:g}" for method in failed]
        names = " and ".join(f"`{method}`" for method in sorted(absent) if method not in failed)
        missing += [f"no {claim.metric} of {names} in {one.source}"] if names else []
        if not absent and any(np.isnan(one.score(name, claim.metric)) for name in claim.methods):
            missing.append(f"no test image has a {claim.metric} in {one.source}")
    if not missing and len({one.image_ids for one in results.measurements}) > 1:
        return "not the same images at every sigma"
    return "; ".join(missing)


def _adjust(config: Config, rows: list[dict]) -> None:
    """Correct the p-values for the number of comparisons, and add the verdicts that remain.

    The averages are one family, the single sigmas another, and the user's methods have their own.
    """
    for own in (False, True):
        for average in (False, True):
            _adjust_family(
                [
                    row
                    for row in rows
                    if (row["origin"] == "own") == own and bool(np.isnan(row["sigma"])) == average
                ],
                confidence=config.statistics.confidence,
            )


def _adjust_family(family: list[dict], *, confidence: float) -> None:
    """Correct the p-values of a family, and add the verdicts that remain."""
    tested = [row for row in family if row["verdict"] != verdicts.NOT_TESTED]
    adjusted = statistics.holm(np.array([row["p_value"] for row in tested]))
    for row, p_adjusted in zip(tested, adjusted, strict=True):
        row["p_adjusted"] = p_adjusted
    for row in family:
        row["verdict_adjusted"] = row["verdict"]
        if row["verdict"] != verdicts.NOT_TESTED and not row["p_adjusted"] < 1 - confidence:
            row["verdict_adjusted"] = verdicts.INCONCLUSIVE
