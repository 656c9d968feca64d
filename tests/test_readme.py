"""README.md is short, and its numbers and its figure come from the committed reference run."""

import re
import shlex
import subprocess
from types import SimpleNamespace

import pytest
import yaml
from build_figure import FIGURE, figure_source
from build_results import (
    FFDNET_FRAMES,
    FFDNET_SWAPPED,
    RESULTS,
    claims_block,
    pooled,
    pooled_block,
)

from dhl.files import PROJECT

README = (PROJECT / "README.md").read_text()


def test_the_readme_is_short():
    assert len(README.split()) <= 1200


def test_each_difference_in_the_readme_is_one_of_the_reference_runs():
    text = " ".join(README.split())
    found = re.findall(r"[+-][0-9.]+ (?:points|dB) \([^)]*\)", text)
    assert len(found) == 14
    runs = (RESULTS, FFDNET_FRAMES, FFDNET_SWAPPED)
    known = "".join([*map(claims_block, runs), pooled_block()])
    assert all(one in known for one in found)


def test_the_figure_of_the_readme_shows_the_tables_of_the_reference_run():
    assert figure_source() in FIGURE.read_text()
    assert f"]({FIGURE.relative_to(PROJECT)})" in README


def test_the_readme_has_a_row_for_each_configuration():
    rows = re.findall(r"^\| \[`(config/[a-z-]+\.yaml)`\]", README, re.MULTILINE)
    shipped = {str(path.relative_to(PROJECT)) for path in (PROJECT / "config").glob("*.yaml")}
    assert set(rows) == shipped


def test_the_configuration_of_the_users_data_has_a_run_of_its_own():
    (command,) = re.findall(r"^(sed .*) > config/mine\.yaml", README, re.MULTILINE)
    done = subprocess.run(shlex.split(command), cwd=PROJECT, capture_output=True, check=True)
    mini = (PROJECT / "config/mini.yaml").read_text()
    assert yaml.safe_load(done.stdout) == yaml.safe_load(mini) | {"run": "mine"}


def test_two_runs_are_pooled_by_their_images():
    names = {"metric": "top1", "method_a": "joint", "method_b": "separate"}
    rows = [
        SimpleNamespace(n=500, difference=0.01, low=-0.01, high=0.03, **names),
        SimpleNamespace(n=400, difference=0.04, low=0.0, high=0.08, **names),
    ]
    both = pooled(rows)
    half = (100 + 256) ** 0.5 / 900
    assert both.n == 900
    assert (both.difference, both.low, both.high) == pytest.approx(
        (21 / 900, 21 / 900 - half, 21 / 900 + half)
    )
