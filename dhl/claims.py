"""The paper's claims as data, and their verdicts on a run.

A claim that the paper makes has the origin `paper`; `control` is a comparison that the paper lacks
and that decides whether the task's guidance, rather than longer training, explains a gain; `beyond`
is reported because a reader will ask.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd

from dhl import statistics
from dhl.config import Config
from dhl.measured import Key, Measured, bootstrap_scores, read_measured
from dhl.methods import TASKS
from dhl.results import CLAIM_COLUMNS, RunFolder, write_csv
from dhl.seeding import numpy_generator


@dataclass(frozen=True)
class Claim:
    """A comparison of two methods in one metric.

    Attributes
    ----------
    id : str
        Unique; begins with the part.
    origin : {"paper", "control", "beyond"}
    part : str
    metric : str
    method_a, method_b : str
        The claim is about a - b.
    statement : str
        In our own words.
    kind : {"better", "nearly-as-good"}
        Which verdict rule of `dhl.statistics` applies.
    """

    id: str
    origin: Literal["paper", "control", "beyond"]
    part: str
    metric: str
    method_a: str
    method_b: str
    statement: str
    kind: Literal["better", "nearly-as-good"] = "better"


_DENOISING = (
    ("paper", "separate", "cbm3d", "The denoiser trained for MSE has a higher PSNR than CBM3D."),
    ("paper", "separate", "dncnn", "The denoiser trained for MSE has a higher PSNR than DnCNN."),
    ("beyond", "separate", "noisy", "The denoiser trained for MSE raises the PSNR of its input."),
    ("paper", "separate", "joint-segmentation",
     "Guidance by segmentation costs PSNR: the denoiser trained for MSE alone has more of it."),
    ("paper", "separate", "joint-classification",
     "Guidance by classification costs PSNR: the denoiser trained for MSE alone has more of it."),
)  # fmt: skip

_TASK = (
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
     "{task} works better after the jointly trained denoiser than after one trained on for MSE "
     "alone for as many steps. The paper lacks this control, which decides whether guidance by "
     "the task, rather than extra training, brings the gain."),
    ("paper", "cross", "separate",
     "{task} works better after the denoiser trained for the other task than after the separately "
     "trained one."),
    ("control", "cross", "separate-matched",
     "{task} works better after the denoiser trained for the other task than after one trained on "
     "for MSE alone. The paper lacks this control; the steps are matched to this task's joint "
     "training."),
    ("beyond", "joint", "retrained",
     "{task} works better after the jointly trained denoiser than with the task network itself "
     "retrained on noisy images, a baseline that the paper does not show."),
)  # fmt: skip

_TASK_METRIC = {"classification": "top1", "segmentation": "miou"}


def _task_claims(task: str) -> tuple[Claim, ...]:
    """Return the claims about one task."""
    metric, name = _TASK_METRIC[task], task.capitalize()
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
        "on for MSE alone has more of it than the joint one.",
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
    methods = getattr(config.methods, part) or ()
    return tuple(
        claim
        for claim in CLAIMS
        if claim.part == part and {claim.method_a, claim.method_b} <= set(methods)
    )


def compute_claims(config: Config, folder: RunFolder) -> pd.DataFrame:
    """Judge every configured claim at every sigma and over all of them.

    Parameters
    ----------
    config : Config
    folder : RunFolder
        Where the evaluation of every part lies.

    Returns
    -------
    DataFrame with `dhl.results.CLAIM_COLUMNS`
        Per claim one row per sigma, then one with an empty sigma for all of them together.
        Metrics are fractions, PSNR is in dB. A method that was not measured leaves empty numbers
        and its reason in `test`; the verdict is `inconclusive`.

    Raises
    ------
    UserError
        If a result is missing or was edited by hand.
    """
    rows: list[dict] = []
    for part in config.parts:
        claims = configured_claims(config, part)
        if not claims:
            continue
        sigmas = getattr(config.sigmas, part)
        measured = [read_measured(config, folder, part, sigma) for sigma in sigmas]
        draws = [bootstrap_scores(config, one) for one in measured]
        for claim in claims:
            rows += _judge(config, claim, measured, draws)
    return pd.DataFrame(rows, columns=list(CLAIM_COLUMNS)).astype({"n": "Int64"})


def write_claims(config: Config, folder: RunFolder) -> None:
    """Write the verdicts on all configured claims to `folder.claims`."""
    write_csv(compute_claims(config, folder), folder.claims, CLAIM_COLUMNS)


def _judge(
    config: Config, claim: Claim, measured: list[Measured], draws: list[dict[Key, np.ndarray]]
) -> list[dict]:
    """Return a claim's rows: one per sigma, and the summary."""
    gaps = [_gap(claim, scores) for scores in draws]
    rows = [_compare(config, claim, one, gap) for one, gap in zip(measured, gaps, strict=True)]
    if claim.kind == "better":
        adjusted = statistics.holm(np.array([row["p_value"] for row in rows]))
        for row, p_adjusted in zip(rows, adjusted, strict=True):
            row["p_adjusted"] = p_adjusted
            row["verdict"] = statistics.directional_verdict(
                difference=row["difference"],
                p_adjusted=p_adjusted,
                confidence=config.statistics.confidence,
            )
    return [*rows, _summarise(config, claim, measured, (rows, gaps))]


def _gap(claim: Claim, scores: dict[Key, np.ndarray]) -> np.ndarray | None:
    """Return the resampled differences a - b, None if a method was not measured."""
    keys = (claim.method_a, claim.metric), (claim.method_b, claim.metric)
    if not all(key in scores for key in keys):
        return None
    return scores[keys[0]] - scores[keys[1]]


def _compare(config: Config, claim: Claim, measured: Measured, gap: np.ndarray | None) -> dict:
    """Compare the two methods at one sigma; a directional verdict waits for its correction."""
    row: dict = dict.fromkeys(CLAIM_COLUMNS, np.nan)
    row |= asdict(claim) | {"claim": claim.id, "sigma": measured.sigma}
    row["verdict"] = statistics.INCONCLUSIVE
    if gap is None:
        pair = (claim.method_a, claim.method_b)
        missing = [method for method in pair if (method, claim.metric) not in measured.features]
        names = " and ".join(f"`{method}`" for method in missing)
        return row | {"test": f"none: no {claim.metric} of {names} in {measured.source}"}
    row["mean_a"] = measured.score(claim.method_a, claim.metric)
    row["mean_b"] = measured.score(claim.method_b, claim.metric)
    row["difference"] = row["mean_a"] - row["mean_b"]
    row["n"] = len(measured.image_ids)
    row["ci_low"], row["ci_high"] = statistics.percentile_interval(
        gap, confidence=config.statistics.confidence
    )
    judge = _judge_margin if claim.kind == "nearly-as-good" else _judge_test
    return row | judge(config, claim, measured, row)


def _judge_margin(config: Config, claim: Claim, measured: Measured, row: dict) -> dict:
    """Judge non-inferiority by the interval."""
    settings = config.statistics
    margin = settings.margin_miou if claim.metric == "miou" else settings.margin_accuracy
    return {
        "test": f"interval against the margin {margin:g}",
        "verdict": statistics.margin_verdict(low=row["ci_low"], high=row["ci_high"], margin=margin),
    }


def _judge_test(config: Config, claim: Claim, measured: Measured, row: dict) -> dict:
    """Test the difference at one sigma."""
    name, p_value = statistics.paired_test(
        measured.features[claim.method_a, claim.metric],
        measured.features[claim.method_b, claim.metric],
        metric=claim.metric,
        generator=numpy_generator(config.base_seed, "permutation", claim.id, measured.sigma),
    )
    return {"test": name, "p_value": p_value}


_SAME_AT_ALL_SIGMAS = (
    "claim", "origin", "statement", "part", "metric", "method_a", "method_b",
)  # fmt: skip


def _summarise(
    config: Config,
    claim: Claim,
    measured: list[Measured],
    judged: tuple[list[dict], list[np.ndarray | None]],
) -> dict:
    """Judge the average over the sigmas; it needs the same images at every one."""
    rows, gaps = judged
    summary: dict = dict.fromkeys(CLAIM_COLUMNS, np.nan)
    summary |= {key: rows[0][key] for key in _SAME_AT_ALL_SIGMAS}
    for column in ("mean_a", "mean_b", "difference"):
        summary[column] = float(np.mean([row[column] for row in rows]))
    summary["verdict"] = statistics.INCONCLUSIVE
    if any(gap is None for gap in gaps) or len({one.image_ids for one in measured}) > 1:
        return summary | {"test": "none: not the same images at every sigma"}
    summary["n"] = rows[0]["n"]
    summary["ci_low"], summary["ci_high"] = statistics.percentile_interval(
        np.mean(np.stack(gaps), axis=0), confidence=config.statistics.confidence
    )
    judge = _judge_margin if claim.kind == "nearly-as-good" else _judge_average
    summary |= judge(config, claim, measured, summary)
    average = summary["verdict"]
    summary["verdict"] = statistics.overall_verdict(average, (row["verdict"] for row in rows))
    return summary


def _judge_average(config: Config, claim: Claim, measured: list[Measured], summary: dict) -> dict:
    """Test the difference averaged over the sigmas, image by image."""
    first, second = (
        np.stack([one.features[method, claim.metric] for one in measured], axis=1)
        for method in (claim.method_a, claim.method_b)
    )
    p_value = statistics.swap_test(
        first,
        second,
        metric=claim.metric,
        generator=numpy_generator(config.base_seed, "permutation", claim.id, "average"),
    )
    verdict = statistics.directional_verdict(
        difference=summary["difference"],
        p_adjusted=p_value,
        confidence=config.statistics.confidence,
    )
    test = "image-swap permutation of the average over sigma"
    return {"test": test, "p_value": p_value, "p_adjusted": p_value, "verdict": verdict}
