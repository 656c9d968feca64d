"""The citation files agree with each other and with the software."""

import re

import yaml

from dhl import __version__
from dhl.files import PROJECT

CITATION = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
BIBTEX = (PROJECT / "citation.bib").read_text()


def test_citation_cff_has_what_its_schema_requires_and_is_of_this_version():
    assert CITATION["cff-version"] == "1.2.0"
    assert {"authors", "cff-version", "message", "title"} <= set(CITATION)
    assert CITATION["version"] == __version__
    assert f"version {__version__}," in BIBTEX
    assert CITATION["authors"] == [{"name": "The dhl authors"}]
    assert (PROJECT / "LICENSE").read_text().startswith(f"{CITATION['license']} License")


def test_the_paper_is_the_same_in_every_place():
    (paper,) = CITATION["references"]
    assert {"authors", "title", "type"} <= set(paper)
    people = [(one["given-names"], one["family-names"]) for one in paper["authors"]]
    entry = BIBTEX.split("@misc")[0]
    authors = " and ".join(f"{family}, {given}" for given, family in people)
    fields = dict(re.findall(r"^  (\w+) *= \{(.*)\},$", entry, re.MULTILINE))
    assert fields == {
        "author": authors,
        "title": paper["title"],
        "booktitle": paper["collection-title"],
        "year": str(paper["year"]),
        "note": paper["identifiers"][0]["value"],
    }
