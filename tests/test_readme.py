"""README.md shows the numbers of the committed reference run, and commands that exist."""

import re

import pytest
from readme_block import readme_block

from dhl.cli import build_parser
from dhl.results import PROJECT


def test_the_results_in_the_readme_are_those_of_the_reference_run():
    assert readme_block() in (PROJECT / "README.md").read_text()


@pytest.mark.parametrize(
    "line", re.findall(r"^dhl (.+?)(?:  +#.*)?$", (PROJECT / "README.md").read_text(), re.MULTILINE)
)
def test_each_command_in_the_readme_is_understood(line):
    arguments = build_parser().parse_args(line.split())
    assert arguments.command == line.split()[0]
