"""The answers to the paper's five claims, made from the verdicts of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dhl.analysis.verdicts import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED
from dhl.config.methods import METRICS
from dhl.config.schema import Config
from dhl.report.content import read_yaml

NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Effect:
    """A difference of two methods, on average over sigma.

    `low` and `high` are the ends of its interval, NaN for a difference that no claim tests; `claim`
    is the id of the claim, or empty.
    """

    metric: str
    part: str
    difference: float
    low: float
    high: float
    claim: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Clause:
    """A part of a sentence: text, effects, text; `named` says whether it names the metrics."""

    before: str
    effects: tuple[Effect, ...]
    after: str
    named: bool
    control: str = ""  # the verdict on a clause about a control


@dataclass(frozen=True)
class Answer:
    """The answer to one claim of the paper; `agreed` of `compared` comparisons are reproduced."""

    title: str
    verdict: str
    agreed: int
    compared: int
    images: tuple[int, ...]
    clauses: tuple[Clause, ...]


def read_answers(
    config: Config, claims: list[dict[str, Any]], numbers: list[dict[str, Any]], path: Path
) -> list[Answer]:
    """Answer the paper's claims.

    Parameters
    ----------
    config : Config
    claims : list of dict
        From `dhl.report.content.read_claims`.
    numbers : list of dict
        From `dhl.report.numbers.read_numbers`.
    path : Path
        `report/answers.yaml`, which explains its format.
    """
    known = {claim["claim"]: claim for claim in claims}
    return [_answer(config, entry, known, numbers) for entry in read_yaml(path)]


def combined(verdicts: list[str]) -> str:
    """Return the verdict on a claim of several comparisons.

    It is reproduced if all are reproduced, not reproduced if one is not reproduced, and else
    inconclusive.
    """
    if not verdicts:
        return NOT_TESTED
    if NOT_REPRODUCED in verdicts:
        return NOT_REPRODUCED
    return REPRODUCED if set(verdicts) == {REPRODUCED} else INCONCLUSIVE


def _answer(
    config: Config,
    entry: dict[str, Any],
    known: dict[str, dict[str, Any]],
    numbers: list[dict[str, Any]],
) -> Answer:
    """Answer one claim."""
    rows = [known[name] for one in entry["clauses"] for name in one.get("rows", ())
            if name in known]  # fmt: skip
    deciding = [row for row in rows if row["origin"] == "paper"]
    if not deciding:
        return Answer(entry["title"], NOT_TESTED, 0, 0, (), ())
    clauses: list[Clause] = []
    for one in entry["clauses"]:
        effects = [_effect(known[name]) for name in one.get("rows", ()) if name in known]
        effects += _gaps(config, numbers, *one["gap"]) if "gap" in one else []
        if effects or not ("rows" in one or "gap" in one):
            text = one["text"].replace("{margin}", _margin(config))
            clauses.append(_clause(one | {"text": text}, tuple(effects), clauses[:1]))
    verdicts = [row["verdict"] for row in deciding]
    return Answer(
        title=entry["title"],
        verdict=combined(verdicts),
        agreed=verdicts.count(REPRODUCED),
        compared=len(verdicts),
        images=tuple(dict.fromkeys(int(row["n"]) for row in rows if row["n"] > 0)),
        clauses=tuple(clauses),
    )


def _clause(entry: dict[str, Any], effects: tuple[Effect, ...], first: list[Clause]) -> Clause:
    """Make a clause; it names its metrics unless they are those of the first clause."""
    before, _, after = entry["text"].partition("{effects}")
    metrics = {effect.metric for effect in effects}
    named = not first or metrics != {effect.metric for effect in first[0].effects}
    control = ""
    if entry.get("control"):
        control = combined([effect.verdict for effect in effects])
    return Clause(before, effects, after, named, control)


def _margin(config: Config) -> str:
    """Print the margins of "nearly as good"."""
    margins = (config.statistics.margin_accuracy, config.statistics.margin_miou)
    return f"{' and '.join(dict.fromkeys(f'{100 * one:g}' for one in margins))} points"


def _effect(row: dict[str, Any]) -> Effect:
    """Return a claim's difference with its widest interval: over images and trainings, if known."""
    both = row["both_low"], row["both_high"]
    low, high = both if np.isfinite(both).all() else (row["ci_low"], row["ci_high"])
    keys = ("metric", "part", "difference", "claim", "verdict")
    return Effect(low=low, high=high, **{key: row[key] for key in keys})


def _gaps(config: Config, numbers: list[dict[str, Any]], first: str, second: str) -> list[Effect]:
    """Return the difference of two methods in the main metric of each task, if both have values."""
    table = pd.DataFrame(numbers)
    effects = []
    for part in config.parts:
        metric = METRICS[part][0]
        rows = table[(table["part"] == part) & (table["metric"] == metric)]
        means = rows.groupby("method")["value"].apply(lambda values: values.mean(skipna=False))
        gap = means.get(first, np.nan) - means.get(second, np.nan)
        if part != "denoising" and np.isfinite(gap):
            effects.append(Effect(metric, part, float(gap), np.nan, np.nan))
    return effects
