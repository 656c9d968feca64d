"""README.md shows the numbers of the committed reference run, and commands that exist."""

import re

import pytest
from readme_block import kodak_block, mini_block, mini_sensitivity_block

from dhl.cli.parser import build_parser
from dhl.files import PROJECT


@pytest.mark.parametrize("block", [mini_block, mini_sensitivity_block, kodak_block])
def test_the_results_in_the_readme_are_those_of_the_reference_runs(block):
    assert block() in (PROJECT / "README.md").read_text()


@pytest.mark.parametrize(
    "line", re.findall(r"^dhl (.+?)(?:  +#.*)?$", (PROJECT / "README.md").read_text(), re.MULTILINE)
)
def test_each_command_in_the_readme_is_understood(line):
    arguments = build_parser().parse_args(line.split())
    assert arguments.command == line.split()[0]
