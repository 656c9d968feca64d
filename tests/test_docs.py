"""The pages show commands, configurations, links and numbers of the program."""

import doctest
import re
import shlex
import subprocess

import pytest
import torch
import yaml
from build import generated_blocks, with_block
from settings import shipped
from snakemake.cli import get_argument_parser
from workflow_runs import finish

from dhl.analysis.claims_file import read_claims_file
from dhl.cli.parser import build_parser
from dhl.config.architectures import NETWORKS
from dhl.config.catalogue import CATALOGUE
from dhl.config.parse import parse_config
from dhl.config.schema import Statistics
from dhl.files import PROJECT
from dhl.models.build import build_network

DOCS = PROJECT / "docs"
PAGES = [
    *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(PROJECT / folder / "README.md" for folder in ("benchmarks", "results/reference")),
    *sorted(DOCS.glob("*.md")),
]
PAPER = PROJECT / "config" / "paper.yaml"
COMMANDS = r"^dhl ([a-z-]+ .+|[a-z-]+)$"
YAML_BLOCKS = r"^```yaml\n([\s\S]*?)^```$"
SHELL_BLOCKS = r"^```sh\n([\s\S]*?)^```$"
LINKS = r"\]\((?!https?:)([^)]+)\)"
MAKE_TARGETS = re.findall(r"^([a-z-]+):.*## ", (PROJECT / "Makefile").read_text(), re.MULTILINE)
WORKFLOW = [PROJECT / "Snakefile", *(PROJECT / "workflow/rules").glob("*.smk")]
RULES = {"table1", "table2", "table3"} | {
    name
    for path in WORKFLOW
    for name in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)
}


def found(pattern):
    """List what a pattern finds in the pages, with the page."""
    return [
        pytest.param(page, text, id=f"{page.relative_to(PROJECT).with_suffix('')}-{number}")
        for page in PAGES
        for number, text in enumerate(re.findall(pattern, page.read_text(), re.MULTILINE))
    ]


@pytest.mark.parametrize(
    ("pattern", "least"),
    [(COMMANDS, 15), (SHELL_BLOCKS, 20), (YAML_BLOCKS, 9), (LINKS, 60)],
    ids=["dhl", "shell", "yaml", "link"],
)
def test_the_pages_have_commands_configurations_and_links(pattern, least):
    assert len(found(pattern)) >= least


@pytest.mark.parametrize("page", generated_blocks(), ids=lambda page: page.name)
def test_the_generated_blocks_are_up_to_date(page):
    text = page.read_text()
    for name, content in generated_blocks()[page].items():
        assert with_block(text, name, content) == text, "run `make docs`"


@pytest.mark.parametrize(("page", "block"), found(SHELL_BLOCKS))
def test_each_shell_block_can_be_copied(page, block):
    subprocess.run(["bash", "-n"], input=block, text=True, check=True)
    for line in block.splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "make":
            check_make(words)
        elif program == "snakemake":
            check_snakemake(words)
        elif program == "python":
            assert (PROJECT / words[0]).is_file()


def check_make(words):
    """Check that the target exists, and the configuration too."""
    assignments = dict(word.split("=") for word in words if "=" in word)
    assert {word for word in words if "=" not in word} <= set(MAKE_TARGETS)
    assert set(assignments) <= {"CORES", "CONFIG", "PYTHON"}
    assert is_configuration(assignments.get("CONFIG", "config/mini.yaml"))


def check_snakemake(words):
    """Check that Snakemake understands the options, and that what they name exists."""
    arguments = get_argument_parser().parse_args(words)
    assert set(arguments.targets) <= RULES
    assert all(is_configuration(path) for path in arguments.configfile or ())
    for option in ("profile", "workflow_profile"):
        if folder := getattr(arguments, option):
            assert (PROJECT / folder).is_dir()


def is_configuration(path):
    """Tell whether a configuration is shipped, or stands for the user's own."""
    return str(path) == "config/mine.yaml" or (PROJECT / path).is_file()


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
        parts = shipped("paper")["parts"]
        for part, settings in content.get("parts", {}).items():
            parts[part] |= settings
        content = shipped("paper", **content | {"parts": parts})
    assert parse_config(content, source=page.name).run


@pytest.mark.parametrize(("page", "link"), found(LINKS))
def test_each_relative_link_leads_to_a_file_and_its_heading(page, link):
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.is_file()
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if anchor else []
    slugs = [re.sub(r"[^a-z0-9_ -]", "", text.lower()).replace(" ", "-") for text in headings]
    assert not anchor or anchor in slugs


def test_the_worked_example_has_the_results_of_the_library():
    failed, tried = doctest.testfile(str(DOCS / "statistics.md"), module_relative=False)
    assert (failed, tried) == (0, 10)


@pytest.mark.parametrize("path", sorted(DOCS.glob("examples/*")), ids=lambda path: path.name)
def test_the_page_about_plug_ins_shows_each_example_whole(path):
    if path.is_file():
        assert f"\n{path.read_text()}```" in (DOCS / "extending.md").read_text()


@pytest.mark.slow
def test_the_page_about_clusters_shows_the_workflows_own_graph(tmp_path):
    options = ("--rulegraph", "mermaid-js", "--configfile", str(PAPER))
    done = finish(tmp_path, "report", *options)
    shown = re.search(r"```mermaid\n([\s\S]*?)```", (DOCS / "cluster.md").read_text())[1]
    assert edges(shown) == edges(done.stdout)


def edges(graph):
    """Read which rule passes something on to which."""
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", graph))
    return {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", graph)}


def test_the_page_on_statistics_has_the_limits_of_the_claims_file():
    page = " ".join((DOCS / "statistics.md").read_text().split())
    file = read_claims_file(PROJECT / "report" / "claims.yaml")
    limits = file.limits
    assert (limits.units, limits.pixels) == (4, 1e9)
    assert "fewer than four units" in page and "fewer than 10⁹ training pixels" in page
    assert f"no training of at least {limits.steps} steps" in page
    rules = Statistics()
    least = f"below {100 * rules.least_top1:g} % top-1 or {100 * rules.least_miou:g} % mIoU"
    assert f"{least} on clean images" in page
    assert f"more than {limits.published} dB below" in page
    assert abs(len(file.comparisons) - 50) < 5 and "about 50 comparisons" in page


def test_the_replication_summary_is_one_page():
    assert len((DOCS / "replication.md").read_text().split()) <= 900


def test_each_set_that_can_be_downloaded_has_a_row_with_its_licence():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", (DOCS / "data.md").read_text(), re.MULTILINE)
    assert rows == list(CATALOGUE)


@pytest.mark.parametrize("role", NETWORKS)
def test_each_network_has_a_row_with_its_number_of_parameters(role):
    page = (DOCS / "networks.md").read_text()
    for name in NETWORKS[role]:
        if name.startswith("efficientnet"):
            pytest.importorskip("efficientnet_lite_pytorch")
        options = {"classes": 21} if name == "deeplab-largefov" else {}
        if NETWORKS[role][name].of_one_sigma:
            options = {"sigma": 30.0}
        with torch.device("meta"):
            network = build_network(role, name, **options)
        count = sum(weight.numel() for weight in network.parameters())
        assert re.search(rf"\| `{name}`[^|]*\| {count:,} \|", page)
