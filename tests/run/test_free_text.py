"""Free text survives every file, and no program runs it."""

from __future__ import annotations

import csv
import html
import re

import pandas as pd
import pytest

from dhl.run.free_text import readable, to_markdown
from dhl.run.results import SKIPPED_COLUMNS, TABLE_COLUMNS, read_csv, write_csv

FORMULAS = ["=cmd|' !A1", "+1", "-1", "@x", " =1", "\t=1", "＝1", "'=1", "''=1", "\r=1", "\n1"]
WORDS = ["NA", "nan", "null", "None", "1e5", "true", "007", "inf"]
PLAIN = [
    "'a", "'", '"', 'a "b", c;d', "a\nb", "a\rb", " a ", "a|b", "\\", "#a", "é", "猫", "😀", "שלום",
    "<b>", "$x$", "%", "{}_^", "a=b", "\u202ea",
]  # fmt: skip
TEXTS = [*FORMULAS, *WORDS, *PLAIN]


@pytest.mark.parametrize("texts", [TEXTS, WORDS, [text for text in TEXTS if "\r" not in text]])
def test_text_is_read_as_it_was_written(tmp_path, texts):
    path = tmp_path / "table.csv"
    rows = pd.DataFrame({"method": texts, "image_id": texts, "value": 0.5, "published": None})
    write_csv(rows, path, TABLE_COLUMNS)
    again = read_csv(path, TABLE_COLUMNS)
    assert [again[name].tolist() for name in ("method", "image_id")] == [texts, texts]
    assert again["value"].eq(0.5).all()
    assert again["published"].isna().all()


def test_a_spreadsheet_sees_no_formula(tmp_path):
    path = tmp_path / "table.csv"
    write_csv(pd.DataFrame({"image_id": TEXTS, "value": -0.5}), path, TABLE_COLUMNS)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    seen = {text: row["image_id"] for text, row in zip(TEXTS, rows, strict=True)}
    assert seen == {text: f"'{text}" if text in FORMULAS else text for text in TEXTS}
    assert {row["value"] for row in rows} == {"-0.5"}


def test_a_path_that_is_not_utf_8_is_written_with_escapes(tmp_path):
    path = tmp_path / "skipped.csv"
    write_csv(pd.DataFrame({"path": ["a\udce9.png"]}), path, SKIPPED_COLUMNS)
    assert read_csv(path, SKIPPED_COLUMNS)["path"].tolist() == [r"a\udce9.png"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9"),
        ("é".encode().decode("ascii", "surrogateescape"), "é"),  # as Python reads it in locale C
        ("a\nb\r\x00\x1b[0m\u2028", r"a\nb\r\x00\x1b[0m\u2028"),
        ("\ud800", r"\ud800"),
        *((text, text) for text in ("é", "猫 😀", "שלום", "Ba$$in", " a ", "👩‍🔬")),
    ],
)
def test_a_name_of_a_file_becomes_readable(name, shown):
    assert readable(name) == shown
    assert readable(shown) == shown


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)>", "a|b", "*a* _b_ `c` [d](e)", "&lt;"]
)
def test_markdown_shows_text_as_it_is(text):
    """By CommonMark's rules: a backslash before a mark, and entities."""
    written = to_markdown(text)
    assert not re.search(r"[<>]|(?<!\\)[|*_`\[\]]", written)
    assert html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", written)) == text
    assert to_markdown("a\n\nb") == "a  b"
