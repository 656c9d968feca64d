"""The pages show commands, configurations, links and numbers of the program."""

import re
import shlex
import subprocess
import sys

import pytest
import torch
import yaml

from dhl.analysis.claims import CLAIMS
from dhl.cli.parser import build_parser
from dhl.config.architectures import NETWORKS
from dhl.config.catalogue import CATALOGUE
from dhl.config.parse import parse_config
from dhl.config.schema import Statistics
from dhl.files import PROJECT
from dhl.models.build import build_network

DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *sorted(DOCS.glob("*.md"))]
PAPER = PROJECT / "config" / "paper.yaml"
COMMANDS = r"^dhl ([a-z-]+ .+|[a-z-]+)$"
YAML_BLOCKS = r"^```yaml\n([\s\S]*?)^```$"
LINKS = r"\]\((?!https?:)([^)#]+)\)"


def found(pattern):
    """List what a pattern finds in the pages, with the page."""
    return [
        pytest.param(page, text, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, text in enumerate(re.findall(pattern, page.read_text(), re.MULTILINE))
    ]


@pytest.mark.parametrize(
    ("pattern", "least"),
    [(COMMANDS, 15), (YAML_BLOCKS, 9), (LINKS, 8)],
    ids=["dhl", "yaml", "link"],
)
def test_the_pages_have_commands_configurations_and_links(pattern, least):
    assert len(found(pattern)) >= least


@pytest.mark.parametrize(("page", "line"), found(COMMANDS))
def test_each_command_is_understood_and_names_a_shipped_configuration(page, line):
    arguments = build_parser().parse_args(shlex.split(line, comments=True))
    named = getattr(arguments, "configfile", PAPER)
    assert (PROJECT / named).is_file()


@pytest.mark.parametrize(("page", "block"), found(YAML_BLOCKS))
def test_each_yaml_block_is_a_configuration_or_fits_into_that_of_the_paper(
    page, block, monkeypatch
):
    monkeypatch.chdir(PROJECT)  # the paths of plug-ins start there
    content = yaml.safe_load(block)
    if "run" not in content:
        shipped = yaml.safe_load(PAPER.read_text())
        for part, settings in content.get("parts", {}).items():
            shipped["parts"][part] |= settings
        content = shipped | content | {"parts": shipped["parts"]}
    assert parse_config(content, source=page.name).run


@pytest.mark.parametrize(("page", "link"), found(LINKS))
def test_each_relative_link_leads_to_a_file(page, link):
    assert (page.parent / link).is_file()


@pytest.mark.parametrize("path", sorted(DOCS.glob("examples/*")), ids=lambda path: path.name)
def test_the_page_about_plug_ins_shows_each_example_whole(path):
    if path.is_file():
        assert f"\n{path.read_text()}```" in (DOCS / "extending.md").read_text()


def test_the_page_about_clusters_shows_the_workflows_own_graph(tmp_path):
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "mermaid-js"]
    command += ["--configfile", str(PAPER), "--directory", str(tmp_path)]
    said = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    shown = re.search(r"```mermaid\n([\s\S]*?)```", (DOCS / "cluster.md").read_text())[1]
    assert edges(shown) == edges(said)


def edges(graph):
    """Read which rule passes something on to which."""
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", graph))
    return {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", graph)}


def test_the_page_about_statistics_counts_the_claims_and_knows_the_margin():
    page, settings = (DOCS / "statistics.md").read_text(), Statistics()
    assert f"of a run's {len(CLAIMS)} claims" in page
    assert settings.margin_accuracy == settings.margin_miou == 0.02
    assert "It is 2 points of top-1 and of mIoU unless" in page


def test_each_set_that_can_be_downloaded_has_a_row_with_its_licence():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", (DOCS / "data.md").read_text(), re.MULTILINE)
    assert rows == list(CATALOGUE)


@pytest.mark.parametrize("role", NETWORKS)
def test_each_network_has_a_row_with_its_number_of_parameters(role):
    page = (DOCS / "networks.md").read_text()
    for name in NETWORKS[role]:
        if name == "efficientnet-lite0":
            pytest.importorskip("efficientnet_lite_pytorch")
        classes = {"classes": 21} if name == "deeplab-largefov" else {}
        with torch.device("meta"):
            network = build_network(role, name, **classes)
        count = sum(weight.numel() for weight in network.parameters())
        assert re.search(rf"\| `{name}`[^|]*\| {count:,} \|", page)
