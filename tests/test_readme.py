"""README.md is short, and its numbers and its figure come from the committed reference run."""

import re

import build_results
from build_results import FFDNET, LABORATORY, RESULTS, claims_block, figure_source

from dhl.files import PROJECT

README = (PROJECT / "README.md").read_text()


def test_the_readme_is_short():
    assert len(README.split()) <= 1200


def test_each_difference_in_the_readme_is_one_of_the_reference_runs():
    text = " ".join(README.split())
    found = re.findall(r"[+-][0-9.]+ (?:points|dB) \([^)]*\)", text)
    assert len(found) == 11
    known = "".join(map(claims_block, (RESULTS, FFDNET, LABORATORY)))
    assert all(one in known for one in found)


def test_the_figure_of_the_readme_shows_the_tables_of_the_reference_run():
    assert figure_source() in build_results.FIGURE.read_text()
    assert f"]({build_results.FIGURE.relative_to(PROJECT)})" in README


def test_the_readme_has_a_row_for_each_configuration():
    rows = re.findall(r"^\| \[`(config/[a-z-]+\.yaml)`\]", README, re.MULTILINE)
    shipped = {str(path.relative_to(PROJECT)) for path in (PROJECT / "config").glob("*.yaml")}
    assert set(rows) == shipped
