"""The answers to the paper's five claims, made from the verdicts of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dhl.analysis.claims_file import Claim, ClaimEntry, ClaimsFile, Clause
from dhl.analysis.verdicts import NOT_TESTED, POSITIVE, combined_verdict
from dhl.config.methods import TASKS
from dhl.report.formats import name_comparison


@dataclass(frozen=True)
class Finding:
    """A difference of two methods, or a share of a gain, on average over sigma.

    `low` and `high` are the ends of its interval; `claim` is the id of the comparison, and
    `verdict` is corrected for the number of comparisons. A share is a fraction without unit.
    """

    metric: str
    part: str
    value: float
    low: float
    high: float
    claim: str
    verdict: str
    is_share: bool


@dataclass(frozen=True)
class Phrase:
    """A part of a sentence: text, effects, text; `named` says whether it names the metrics."""

    before: str
    effects: tuple[Finding, ...]
    after: str
    named: bool
    control: str = ""  # the verdict on a phrase about a control


@dataclass(frozen=True)
class Answer:
    """The answer to one claim of the paper.

    `agreed` of `compared` comparisons hold; `reasons` say why others are not tested. `absent` names
    those that the run lacks, or a part that it lacks: they count as not tested.
    """

    title: str
    sentence: str
    source: str
    support: str
    verdict: str
    agreed: int
    compared: int
    images: tuple[int, ...]
    reasons: tuple[str, ...]
    absent: tuple[str, ...]
    phrases: tuple[Phrase, ...]


def read_answers(file: ClaimsFile, claims: list[dict[str, Any]]) -> list[Answer]:
    """Answer the paper's claims.

    Parameters
    ----------
    file : ClaimsFile
        `report/claims.yaml`.
    claims : list of dict
        From `dhl.report.content.read_claims`.
    """
    known = {row["claim"]: row for row in claims}
    answers = []
    for claim in file.claims:
        entries = [entry for clause in claim.clauses for entry in clause.comparisons]
        rows = [row for entry in entries for row in _rows(file, entry, known)]
        deciding = [row for row in rows if row["origin"] == "paper"]
        phrases: list[Phrase] = []
        for clause in claim.clauses:
            phrases += _phrase(file, clause, known, phrases[:1])
        absent = _absent(file, entries, known)
        verdicts = [row["verdict_adjusted"] for row in deciding] + [NOT_TESTED] * len(absent)
        untested = (row["reason"] for row in deciding if row["verdict"] == NOT_TESTED)
        answers.append(
            Answer(
                title=claim.title,
                sentence=claim.sentence,
                source=claim.source,
                support=claim.support,
                verdict=combined_verdict(verdicts),
                agreed=sum(verdict in POSITIVE for verdict in verdicts),
                compared=len(verdicts),
                images=tuple(dict.fromkeys(int(row["n"]) for row in rows if row["n"] > 0)),
                reasons=tuple(dict.fromkeys(untested)),
                absent=_names(absent, parts={row["part"] for row in claims}),
                phrases=tuple(phrases) if deciding else (),
            )
        )
    return answers


def _absent(
    file: ClaimsFile, entries: list[ClaimEntry], known: dict[str, dict[str, Any]]
) -> list[Claim]:
    """Return the comparisons of the paper's claim that the run lacks."""
    every = [claim for entry in entries for claim in file.expand(entry)]
    return [claim for claim in every if claim.origin == "paper" and claim.id not in known]


def _names(absent: list[Claim], *, parts: set[str]) -> tuple[str, ...]:
    """Name comparisons by their methods, or by their part if the run has none of that part."""
    names = []
    for claim in absent:
        name = name_comparison(claim.a, claim.b, claim.over, metric=claim.metric)
        name += f" in {claim.part}" if claim.part in TASKS else ""
        names.append(name if claim.part in parts else claim.part)
    return tuple(dict.fromkeys(names))


def _rows(
    file: ClaimsFile, entry: ClaimEntry, known: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the rows over all sigmas of an entry that this run has."""
    return [known[claim.id] for claim in file.expand(entry) if claim.id in known]


def _phrase(
    file: ClaimsFile, clause: Clause, known: dict[str, dict[str, Any]], first: list[Phrase]
) -> list[Phrase]:
    """Make a phrase, if the run has its comparisons; it names metrics unless the first has them."""
    rows = [row for entry in clause.comparisons for row in _rows(file, entry, known)]
    entries = [entry for entry in clause.comparisons if entry.shown]
    shown = {claim.id for entry in entries for claim in file.expand(entry)}
    effects = tuple(_effect(row) for row in rows if row["claim"] in shown)
    if not effects:
        return []
    before, _, after = clause.text.partition("{effects}")
    metrics = {effect.metric for effect in effects}
    named = not first or metrics != {effect.metric for effect in first[0].effects}
    controls = [row["verdict_adjusted"] for row in rows if row["origin"] == "control"]
    control = combined_verdict(controls) if controls else ""
    return [Phrase(before, effects, after, named, control)]


def _effect(row: dict[str, Any]) -> Finding:
    """Return what a comparison found."""
    is_share = bool(row["over"])
    names = ("share", "share_low", "share_high") if is_share else ("difference", "low", "high")
    value, low, high = (row[name] for name in names)
    return Finding(
        metric=row["metric"], part=row["part"], value=value, low=low, high=high,
        claim=row["claim"], verdict=row["verdict_adjusted"], is_share=is_share,
    )  # fmt: skip
