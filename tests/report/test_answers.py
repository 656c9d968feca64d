"""The answers to the five claims of the paper: sentences and verdicts from claims.csv."""

from __future__ import annotations

import numpy as np
import pytest
from html_tree import parse
from report_run import TEMPLATES
from settings import PUBLISHED

from dhl.analysis.claims_file import read_claims_file
from dhl.report.answers import read_answers
from dhl.report.content import read_claims
from dhl.report.page import render_report
from dhl.run.results import CLAIM_COLUMNS, read_csv, write_csv

FILE = read_claims_file(TEMPLATES / "claims.yaml")


@pytest.fixture(scope="module")
def page(config, drawn_run):
    return parse(render_report(config, drawn_run, templates=TEMPLATES, published=PUBLISHED))


def items_of(page):
    (answers,) = page.find("ol", class_="answers")
    return list(answers.find("li"))


def test_the_sentences_have_the_numbers_of_the_claims(drawn_run, page):
    rows = {row["claim"]: row for row in read_claims(drawn_run)}
    effects = [effect for item in items_of(page) for effect in item.find("span", class_="effect")]
    shown = [
        claim.id
        for paper_claim in FILE.claims
        for clause in paper_claim.clauses
        for entry in clause.comparisons
        if entry.shown
        for claim in FILE.expand(entry)
        if claim.id in rows
    ]
    assert [effect.attributes["data-claim"] for effect in effects] == shown
    for effect in effects:
        row = rows[effect.attributes["data-claim"]]
        assert effect.attributes["data-verdict"] == row["verdict_adjusted"]
        value, low = ("share", "share_low") if row["over"] else ("difference", "low")
        if np.isfinite(row[low]):
            assert float(next(effect.find("data")).attributes["value"]) == row[value]


def test_the_answers_have_their_verdicts_and_the_reasons(drawn_run, page):
    answers = read_answers(FILE, read_claims(drawn_run))
    for item, answer in zip(items_of(page), answers, strict=True):
        badge = next(item.find("span", class_="badge"))
        assert badge.text.split(" ", 1)[1] == answer.verdict == item.attributes["data-verdict"]
        reasons = [one.text for one in item.find("p", class_="reason")]
        assert reasons == [
            *[f"Not tested: {'; '.join(answer.reasons)}."] * bool(answer.reasons),
            *[f"Not in this run: {'; '.join(answer.absent)}."] * bool(answer.absent),
        ]
    assert [one for one in answers[0].reasons if "DnCNN has no published level" in one]


def rows_that_hold(drawn_run, lacking=()):
    """Return the claims of a run, all reproduced, without some."""
    rows = [row for row in read_claims(drawn_run) if row["claim"] not in lacking]
    return [row | {"verdict": "reproduced", "verdict_adjusted": "reproduced"} for row in rows]


def test_comparisons_that_a_run_lacks_count_as_not_tested(drawn_run):
    first, second, *_ = read_answers(FILE, rows_that_hold(drawn_run))
    assert (first.verdict, first.agreed, first.compared) == ("inconclusive", 2, 4)
    assert first.absent == ("Separate above MCWNNM", "Separate above TNRD")
    assert (second.verdict, second.agreed, second.compared) == ("reproduced", 6, 6)
    assert second.absent == ()
    lacking = ["segmentation-clean-over-separate"]
    second = read_answers(FILE, rows_that_hold(drawn_run, lacking))[1]
    assert (second.verdict, second.agreed, second.compared) == ("inconclusive", 5, 6)
    assert second.absent == ("Clean image above Separate in segmentation",)


def test_a_claim_about_both_tasks_needs_both(drawn_run):
    rows = [row for row in rows_that_hold(drawn_run) if row["part"] != "segmentation"]
    second = read_answers(FILE, rows)[1]
    assert (second.verdict, second.agreed, second.compared) == ("inconclusive", 3, 6)
    assert second.absent == ("segmentation",)
    rows[0] |= {"verdict_adjusted": "not reproduced"}
    assert read_answers(FILE, rows)[0].verdict == "not reproduced"


def test_a_sentence_names_its_control(page):
    joint = items_of(page)[2]
    assert "control (as many further steps" in joint.text
    effects = [one.attributes["data-claim"] for one in joint.find("span", class_="effect")]
    assert "segmentation-joint-over-separate-matched" in effects
    assert "segmentation-joint-over-noisy" not in effects  # `shown: false`
    assert len(list(joint.find("span", class_="badge"))) == 2  # of the claim, and of the control


def test_one_sentence_says_both_tasks_and_names_metrics_once(drawn_run):
    first, second, _ = read_answers(FILE, read_claims(drawn_run))[2].phrases
    assert [effect.metric for effect in first.effects] == ["top1", "miou"]
    assert (first.named, second.named) == (True, False)
    some = [
        row for row in read_claims(drawn_run) if row["claim"] != "classification-joint-over-cbm3d"
    ]
    assert read_answers(FILE, some)[2].phrases[1].named


def test_the_share_that_is_kept_has_no_unit(drawn_run):
    first, second = read_answers(FILE, read_claims(drawn_run))[3].phrases[:2]
    assert [effect.is_share for effect in (*first.effects, *second.effects)] == [True] * 2 + [
        False
    ] * 2


def test_a_claim_without_its_methods_is_not_tested(drawn_run):
    rows = [
        row for row in read_claims(drawn_run) if row["claim"] == "denoising-separate-over-dncnn"
    ]
    answers = read_answers(FILE, rows)
    assert [answer.verdict for answer in answers] == ["not tested"] * 5
    assert [bool(answer.phrases) for answer in answers] == [True] + [False] * 4


def test_claims_without_their_methods_are_named_after_the_others(config, drawn_copy):
    rows = read_csv(drawn_copy.claims, CLAIM_COLUMNS)
    write_csv(rows[rows["part"] == "denoising"], drawn_copy.claims, CLAIM_COLUMNS)
    page = parse(render_report(config, drawn_copy, templates=TEMPLATES, published=PUBLISHED))
    titles = [claim.title for claim in FILE.claims]
    shown = [next(item.find("h3")).text for item in items_of(page)]
    assert [titles[index] in text for index, text in zip((0, 4), shown, strict=True)] == [True] * 2
    (absent,) = (one for one in page.find("p", class_="reason") if "This run lacks" in one.text)
    assert [title in absent.text for title in titles] == [False, True, True, True, False]


def test_a_failed_method_is_not_measured(config, drawn_copy):
    rows = read_csv(drawn_copy.claims, CLAIM_COLUMNS)
    failed = rows["method_a"] == "joint"
    numbers = ["mean_a", "difference", "low", "high", "n", "p_value", "p_adjusted"]
    rows.loc[failed, numbers] = np.nan
    rows.loc[failed, ["verdict", "verdict_adjusted"]] = "not tested"
    rows.loc[failed, "reason"] = "joint failed at sigma 30"
    write_csv(rows, drawn_copy.claims, CLAIM_COLUMNS)
    page = parse(render_report(config, drawn_copy, templates=TEMPLATES, published=PUBLISHED))
    joint = items_of(page)[2]
    assert joint.attributes["data-verdict"] == "not tested"
    assert "Joint changes accuracy: not measured and mIoU: not measured;" in joint.text
    assert "Not tested: joint failed at sigma 30." in joint.text
