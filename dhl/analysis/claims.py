"""The paper's claims as data, and their verdicts on a run.

The origin of a claim is `paper`; `control`, a comparison that the paper lacks and that decides
whether guidance by the task or longer training explains a gain; `beyond`, a further question; or
`own`, a comparison of a method that the user added.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd

from dhl.analysis import statistics, verdicts
from dhl.analysis.measurements import Key, Measurements, bootstrap_scores, read_measurements
from dhl.config.methods import METRICS, TASKS, label_of
from dhl.config.schema import Config
from dhl.data.image_set import read_origins
from dhl.run.folder import RunFolder
from dhl.run.results import CLAIM_COLUMNS, write_csv
from dhl.seeding import numpy_generator

Origin = Literal["paper", "control", "beyond", "own"]


@dataclass(frozen=True)
class Claim:
    """A claim about the difference a - b of two methods in one metric.

    The id is unique and begins with the part; `kind` names a rule of `dhl.analysis.verdicts`.
    """

    id: str
    origin: Origin
    part: str
    metric: str
    method_a: str
    method_b: str
    statement: str
    kind: Literal["better", "nearly-as-good"] = "better"


_DENOISING: tuple[tuple[Origin, str, str, str], ...] = (
    ("paper", "separate", "cbm3d", "The denoiser trained for MSE has a higher PSNR than CBM3D."),
    ("paper", "separate", "dncnn", "The denoiser trained for MSE has a higher PSNR than DnCNN."),
    ("beyond", "separate", "noisy", "The denoiser trained for MSE raises the PSNR of its input."),
    ("paper", "separate", "joint-segmentation",
     "Guidance by segmentation costs PSNR: training for MSE alone gives a higher PSNR."),
    ("beyond", "separate", "joint-classification",
     "Guidance by classification costs PSNR: training for MSE alone gives a higher PSNR."),
)  # fmt: skip

_TASK: tuple[tuple[Origin, str, str, str], ...] = (
    ("paper", "cbm3d", "noisy", "{task} works better after CBM3D than on the noisy image."),
    ("paper", "separate", "noisy",
     "{task} works better after the separately trained denoiser than on the noisy image."),
    ("paper", "joint", "noisy",
     "{task} works better after the jointly trained denoiser than on the noisy image."),
    ("paper", "joint", "cbm3d",
     "{task} works better after the jointly trained denoiser than after CBM3D."),
    ("paper", "joint", "separate",
     "{task} works better after the jointly trained denoiser than after the separately trained "
     "one."),
    ("control", "joint", "separate-matched",
     "{task} works better after the jointly trained denoiser than after one trained further for "
     "as many steps on MSE alone. The paper lacks this control, which decides whether guidance by "
     "the task or extra training brings the gain."),
    ("paper", "cross", "separate",
     "{task} works better after the denoiser trained for the other task than after the separately "
     "trained one."),
    ("control", "cross", "separate-matched",
     "{task} works better after the denoiser trained for the other task than after one trained "
     "further on MSE alone. The paper lacks this control, which has as many steps as this task's "
     "joint training."),
    ("beyond", "joint", "retrained",
     "{task} works better after the jointly trained denoiser than with the task network itself "
     "retrained on noisy images, a baseline that the paper does not show."),
)  # fmt: skip

_P_VALUES = ("p_images", "p_seeds", "p_both")
_COUNTS = ("n", "wins", "losses", "photographs", "photographs_alike", "seeds")
_NO_DENOISER = ("clean", "noisy", "retrained")
_MARGIN = {"top1": "margin_accuracy", "miou": "margin_miou"}


def _task_claims(task: str) -> tuple[Claim, ...]:
    metric, name = METRICS[task][0], task.capitalize()
    better = tuple(
        Claim(f"{task}-{a}-over-{b}", origin, task, metric, a, b, text.format(task=name))
        for origin, a, b, text in _TASK
    )
    nearly = Claim(
        f"{task}-cross-near-joint", "paper", task, metric, "cross", "joint",
        f"{name} works nearly as well after the denoiser trained for the other task as after the "
        "one trained for it.",
        "nearly-as-good",
    )  # fmt: skip
    fidelity = Claim(
        f"{task}-psnr-separate-matched-over-joint", "control", task, "psnr",
        "separate-matched", "joint",
        f"On the test images of {task}, guidance costs PSNR at equal steps: the denoiser trained "
        "further on MSE alone has a higher PSNR than the joint one.",
    )  # fmt: skip
    return (*better, nearly, fidelity)


CLAIMS: tuple[Claim, ...] = (
    *(
        Claim(f"denoising-{a}-over-{b}", origin, "denoising", "psnr", a, b, text)
        for origin, a, b, text in _DENOISING
    ),
    *(claim for task in TASKS for claim in _task_claims(task)),
)


def configured_claims(config: Config, part: str) -> tuple[Claim, ...]:
    """Return the claims about a part whose methods are both rows of its table in this run."""
    methods = config.parts[part].methods or ()
    return tuple(
        claim
        for claim in CLAIMS
        if claim.part == part and {claim.method_a, claim.method_b} <= set(methods)
    )


def own_claims(config: Config, part: str, measurements: list[Measurements]) -> tuple[Claim, ...]:
    """Return the comparisons of the user's methods with the other methods of a part's table.

    Each is compared with `separate`, `cbm3d` and the denoising method that is best of the others on
    these test images, on average over sigma.
    """
    metric = METRICS[part][0]
    methods = config.parts[part].methods
    claims = []
    for own in (method for method in methods if method in config.plugin_methods):
        others = [method for method in methods if method not in (own, *_NO_DENOISER)]
        scores = {
            method: np.mean([one.score(method, metric) for one in measurements])
            for method in others
        }
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
    """Judge every configured claim, and those on the user's methods, per sigma and over all.

    Returns
    -------
    DataFrame with `dhl.run.results.CLAIM_COLUMNS`
        For each claim, a row per sigma, then a row with an empty sigma for the average over all.
        Metrics are fractions, PSNR is in dB. `ci_*` are over images, `seed_*` over trainings and
        `both_*` over both. If a method has no measurements, the numbers are empty, `test` gives
        the reason, and the verdict is `inconclusive`.

    Raises
    ------
    UserError
        If a result is missing or was edited by hand.
    """
    rows: list[dict] = []
    for part in config.parts:
        claims = configured_claims(config, part)
        own = set(config.plugin_methods) & set(config.parts[part].methods)
        if not (claims or own):
            continue
        sigmas = config.parts[part].sigmas
        measurements = [read_measurements(config, folder, part, sigma) for sigma in sigmas]
        claims += own_claims(config, part, measurements)
        draws = [bootstrap_scores(config, one) for one in measurements]
        photographs = read_origins(folder.data(part), "test", "photographs")
        for claim in claims:
            rows += _judge(config, claim, measurements, draws, photographs)
    return pd.DataFrame(rows, columns=list(CLAIM_COLUMNS)).astype(dict.fromkeys(_COUNTS, "Int64"))


def write_claims(config: Config, folder: RunFolder) -> None:
    """Write the verdicts on all configured claims to `folder.claims`."""
    write_csv(compute_claims(config, folder), folder.claims, CLAIM_COLUMNS)


def _judge(
    config: Config,
    claim: Claim,
    measurements: list[Measurements],
    draws: list[dict[Key, np.ndarray]],
    photographs: dict[str, str],
) -> list[dict]:
    """Return a claim's rows: one per sigma, and the summary."""
    a, b = (claim.method_a, claim.metric), (claim.method_b, claim.metric)
    gaps = [scores[a] - scores[b] if a in scores and b in scores else None for scores in draws]
    rows = [
        _compare(config, claim, [one], [gap], photographs) | {"sigma": one.sigma}
        for one, gap in zip(measurements, gaps, strict=True)
    ]
    summary = _compare(config, claim, measurements, gaps, photographs)
    if claim.kind == "better":
        for family in (rows, [summary]):
            largest = [np.fmax.reduce([row[name] for name in _P_VALUES]) for row in family]
            adjusted = statistics.holm(np.array(largest))
            for row, p_adjusted in zip(family, adjusted, strict=True):
                row["p_adjusted"] = p_adjusted
                row["verdict"] = verdicts.directional_verdict(
                    difference=row["difference"],
                    p_adjusted=p_adjusted,
                    confidence=config.statistics.confidence,
                )
    summary["verdict"] = verdicts.overall_verdict(
        summary["verdict"], (row["verdict"] for row in rows)
    )
    return [*rows, summary]


def _compare(
    config: Config,
    claim: Claim,
    measurements: list[Measurements],
    gaps: list[np.ndarray | None],
    photographs: dict[str, str],
) -> dict:
    """Compare the two methods at one sigma, or on average over several.

    `photographs` maps an image to the photograph that it is cut from. The verdict on a "better"
    claim is added after the correction of its p-value.
    """
    row: dict = dict.fromkeys(CLAIM_COLUMNS, np.nan)
    row |= {key: value for key, value in asdict(claim).items() if key in CLAIM_COLUMNS}
    row |= {"claim": claim.id, "verdict": verdicts.INCONCLUSIVE}
    for side in "ab":
        method = getattr(claim, f"method_{side}")
        row[f"mean_{side}"] = np.mean([one.score(method, claim.metric) for one in measurements])
    row["difference"] = row["mean_a"] - row["mean_b"]
    known = [gap for gap in gaps if gap is not None]
    if len(known) < len(gaps):
        return row | {"test": f"none: {_missing(claim, measurements)}"}
    if len({one.image_ids for one in measurements}) > 1:
        return row | {"test": "none: not the same images at every sigma"}
    confidence = config.statistics.confidence
    first, second = _pair(claim, measurements)
    effect = statistics.effect(first, second, metric=claim.metric)
    scores = (
        [one.seed_scores(method, claim.metric) for method in (claim.method_a, claim.method_b)]
        for one in measurements
    )
    seeds = np.mean([a - b for a, b in scores], axis=0)  # per training, averaged over sigmas
    draws = np.mean(known, axis=0)
    trainings = statistics.over_trainings(seeds, confidence=confidence)
    both = statistics.over_both(seeds, draws, images=len(first), confidence=confidence)
    low, high = statistics.percentile_interval(draws, confidence=confidence)
    row |= {
        "ci_low": low, "ci_high": high, "n": len(first),
        "wins": effect.wins, "losses": effect.losses, "effect_size": effect.size,
        "seeds": len(seeds), "seed_std": trainings.error * np.sqrt(len(seeds)),
        "seed_low": trainings.low, "seed_high": trainings.high,
        "both_low": both.low, "both_high": both.high,
    }  # fmt: skip
    groups = [photographs[name] for name in measurements[0].image_ids if name in photographs]
    margin = 0.0
    if claim.kind == "nearly-as-good":
        margin = getattr(config.statistics, _MARGIN[claim.metric])
    if len(groups) == len(first):
        alike = statistics.alike(first, second, groups=groups, metric=claim.metric, line=-margin)
        row |= {"photographs": len(set(groups)), "photographs_alike": alike}
    if claim.kind == "nearly-as-good":
        return row | _judge_margin(row, margin)
    name = measurements[0].sigma if len(measurements) == 1 else "average"
    test, p_images = statistics.paired_test(
        first, second, metric=claim.metric,
        generator=numpy_generator(config.base_seed, "permutation", claim.id, name),
    )  # fmt: skip
    test += " of the average over sigma" if len(measurements) > 1 else ""
    test += f", and t-tests over {len(seeds)} trainings and both" if len(seeds) > 1 else ""
    p_values = {"p_images": p_images, "p_seeds": trainings.p_value, "p_both": both.p_value}
    return row | {"test": test} | p_values


def _missing(claim: Claim, measurements: list[Measurements]) -> str:
    """Name the methods without measurements, and the sigma or file."""
    pair = (claim.method_a, claim.method_b)
    missing = []
    for one in measurements:
        absent = [method for method in pair if (method, claim.metric) not in one.features]
        failed = [method for method in absent if method in one.failures]
        missing += [f"{method} failed at sigma {one.sigma:g}" for method in failed]
        names = " and ".join(f"`{method}`" for method in absent if method not in failed)
        missing += [f"no {claim.metric} of {names} in {one.source}"] if names else []
    return "; ".join(missing)


def _pair(claim: Claim, measurements: list[Measurements]) -> tuple[np.ndarray, np.ndarray]:
    """Return both methods' features (n, s, k); s counts the trainings at all sigmas."""
    pairs = [
        np.broadcast_arrays(
            one.features[claim.method_a, claim.metric], one.features[claim.method_b, claim.metric]
        )
        for one in measurements
    ]
    first, second = zip(*pairs, strict=True)
    return np.concatenate(first, axis=1), np.concatenate(second, axis=1)


def _judge_margin(row: dict, margin: float) -> dict:
    """Judge non-inferiority by the intervals."""
    verdict = verdicts.margin_verdict(
        low=float(np.fmin.reduce([row["ci_low"], row["seed_low"], row["both_low"]])),
        high=float(np.fmax.reduce([row["ci_high"], row["seed_high"], row["both_high"]])),
        margin=margin,
    )
    return {"test": f"interval against a margin of {100 * margin:g} points", "verdict": verdict}
