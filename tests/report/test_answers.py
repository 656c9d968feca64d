"""The answers to the five claims of the paper: sentences and verdicts from claims.csv."""

from __future__ import annotations

import numpy as np
import pytest
from html_tree import parse
from report_run import TEMPLATES, denoising_only, small_config
from settings import PUBLISHED

from dhl.analysis.claims import CLAIMS
from dhl.config.methods import METHODS
from dhl.report.answers import combined, read_answers
from dhl.report.content import read_claims, read_yaml
from dhl.report.numbers import read_numbers
from dhl.report.page import render_report
from dhl.run.results import CLAIM_COLUMNS, read_csv, write_csv

ANSWERS = TEMPLATES / "answers.yaml"
REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "inconclusive"


@pytest.fixture(scope="module")
def page(config, drawn_run):
    return parse(render_report(config, drawn_run, templates=TEMPLATES, published=PUBLISHED))


def answers_of(config, claims, numbers):
    return read_answers(config, claims, numbers, ANSWERS)


def test_every_row_and_method_of_the_file_exists():
    entries = read_yaml(ANSWERS)
    assert len(entries) == 5
    clauses = [clause for entry in entries for clause in entry["clauses"]]
    rows = [name for clause in clauses for name in clause.get("rows", ())]
    origins = {claim.id: claim.origin for claim in CLAIMS}
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(origins)
    for clause in clauses:
        controls = {origins[name] == "control" for name in clause.get("rows", ())}
        assert controls <= {clause.get("control", False)}
        assert set(clause.get("gap", ())) <= set(METHODS)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([REPRODUCED, REPRODUCED], REPRODUCED),
        ([REPRODUCED, OPEN], OPEN),
        ([REPRODUCED, OPEN, NOT], NOT),
        ([], "not tested"),
    ],
)
def test_a_claim_holds_if_all_its_comparisons_hold(verdicts, expected):
    assert combined(verdicts) == expected


def test_the_sentences_have_the_numbers_of_the_claims(drawn_run, page):
    rows = {row["claim"]: row for row in read_claims(drawn_run)}
    (answers,) = page.find("ol", class_="answers")
    effects = [one for one in answers.find("span", class_="effect")
               if "data-claim" in one.attributes]  # fmt: skip
    assert len(effects) == sum(
        name in rows
        for entry in read_yaml(ANSWERS)
        for clause in entry["clauses"]
        for name in clause.get("rows", ())
    )
    for effect in effects:
        row = rows[effect.attributes["data-claim"]]
        assert float(next(effect.find("data")).attributes["value"]) == row["difference"]
        assert effect.attributes["data-verdict"] == row["verdict"]


def test_the_answers_say_how_sure_on_what_and_for_which_weights(config, drawn_run, page):
    (answers,) = page.find("ol", class_="answers")
    items = list(answers.find("li"))
    computed = answers_of(config, read_claims(drawn_run), read_numbers(config, drawn_run))
    assert [item.attributes["data-verdict"] for item in items] == [one.verdict for one in computed]
    for item, answer in zip(items, computed, strict=True):
        badge = next(item.find("span", class_="badge"))
        assert badge.text.split(" ", 1)[1] == answer.verdict
        assert item.text.endswith("(n = 20; these weights)")


def test_the_sentence_on_joint_training_names_the_control(page):
    (answers,) = page.find("ol", class_="answers")
    joint = list(answers.find("li"))[2]
    assert "control (Separate, matched" in joint.text
    effects = [one.attributes.get("data-claim", "") for one in joint.find("span", class_="effect")]
    assert "segmentation-joint-over-separate-matched" in effects
    assert len(list(joint.find("span", class_="badge"))) == 2  # of the claim, and of the control


def test_one_sentence_says_both_tasks_and_names_metrics_once(config, drawn_run):
    claims, numbers = read_claims(drawn_run), read_numbers(config, drawn_run)
    first, second, _ = answers_of(config, claims, numbers)[2].clauses
    assert [effect.metric for effect in first.effects] == ["top1", "miou"]
    assert (first.named, second.named) == (True, False)
    some = [claim for claim in claims if claim["claim"] != "classification-joint-over-cbm3d"]
    assert answers_of(config, some, numbers)[2].clauses[1].named


def test_the_gap_to_the_clean_image_is_that_of_the_tables(config, drawn_run):
    numbers = read_numbers(config, drawn_run)
    answer = answers_of(config, read_claims(drawn_run), numbers)[1]
    (gaps,) = [clause.effects for clause in answer.clauses if not clause.effects[0].claim]
    values = {}
    for row in numbers:
        values.setdefault((row["part"], row["metric"], row["method"]), []).append(row["value"])
    for gap in gaps:
        clean, separate = (values[gap.part, gap.metric, name] for name in ("clean", "separate"))
        assert gap.difference == pytest.approx(np.mean(clean) - np.mean(separate))


def test_trainings_widen_the_interval(config, drawn_run):
    claims = [
        row | {"seeds": 3, "both_low": -1.0, "both_high": 1.0} for row in read_claims(drawn_run)
    ]
    effect = answers_of(config, claims, read_numbers(config, drawn_run))[0].clauses[0].effects[0]
    assert (effect.low, effect.high) == (-1.0, 1.0)


def test_a_claim_without_its_methods_is_not_tested(drawn_run):
    config = denoising_only()
    numbers = [row for row in read_numbers(small_config(), drawn_run) if row["part"] == "denoising"]
    claims = [
        row for row in read_claims(drawn_run) if row["claim"] == "denoising-separate-over-dncnn"
    ]
    verdicts = [one.verdict for one in answers_of(config, claims, numbers)]
    assert verdicts[0] == claims[0]["verdict"]
    assert verdicts[1:] == ["not tested"] * 4


def test_a_failed_method_is_not_measured(config, drawn_copy):
    rows = read_csv(drawn_copy.claims, CLAIM_COLUMNS)
    failed = rows["method_a"] == "joint"
    numbers = ["mean_a", "difference", "ci_low", "ci_high", "n"]
    rows.loc[failed, numbers] = np.nan
    rows.loc[failed, "verdict"] = OPEN
    write_csv(rows, drawn_copy.claims, CLAIM_COLUMNS)
    page = parse(render_report(config, drawn_copy, templates=TEMPLATES, published=PUBLISHED))
    (answers,) = page.find("ol", class_="answers")
    joint = list(answers.find("li"))[2]
    assert joint.attributes["data-verdict"] == OPEN
    assert "Joint changes accuracy: not measured and mIoU: not measured;" in joint.text
