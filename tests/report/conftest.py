"""The configuration of `drawn_run`, its report, and a report that is open in a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from html_tree import Node, parse
from report_run import TEMPLATES, small_config, write_run
from settings import PUBLISHED

from dhl.config.schema import Config
from dhl.report.page import write_report
from dhl.run.folder import RunFolder

BENCHMARK = "s\th:m:s\tmax_rss\tcpu_time\n{}\t0:00:01\t{}\t1\n"


@pytest.fixture(scope="session")
def config() -> Config:
    """Mini at two sigmas."""
    return small_config()


@pytest.fixture(scope="module")
def folder(config, drawn_run, tmp_path_factory) -> RunFolder:
    """A copy of `drawn_run` with benchmarks and its report; tests must not change it."""
    root = tmp_path_factory.mktemp("report") / "run"
    left_out = shutil.ignore_patterns("*.pdf")
    folder = RunFolder(shutil.copytree(drawn_run.root, root, ignore=left_out))
    for name, seconds, memory in (
        ("train/classifier/clean", 10.5, 500),
        ("train/joint-classification/sigma30", 20, 700),
        ("claims/claims", "-", "-"),
    ):
        path = folder.benchmarks / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(BENCHMARK.format(seconds, memory))
    write_report(config, folder, templates=TEMPLATES, published=PUBLISHED)
    return folder


@pytest.fixture(scope="module")
def page(folder) -> Node:
    """The report of `folder` as a tree."""
    return parse(folder.report.read_text("utf-8"))


@pytest.fixture
def copy(folder, tmp_path) -> RunFolder:
    """A copy of `folder` that a test may change."""
    return RunFolder(shutil.copytree(folder.root, tmp_path / "copy"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    """A headless browser; skip the test if there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, of the extra `dev`")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on the PATH")
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(drawn_run, tmp_path_factory) -> str:
    """The URL of a report with tables, figures and images."""
    config = small_config({"classification": {"sigmas": [30]}}, seeds=2)
    folder = write_run(config, tmp_path_factory.mktemp("browser"))
    shutil.copytree(drawn_run.figures, folder.figures)
    write_report(config, folder, templates=TEMPLATES, published=PUBLISHED)
    return folder.report.as_uri()


@pytest.fixture
def open_page(chromium, address) -> Iterator[object]:
    """A function that opens the page; it must cause no message, error or request."""
    complaints, opened = [], []

    def opener(fragment: str = "", **options):
        context = chromium.new_context(offline=True, **options)
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url)
                if not request.url.startswith(("file:", "data:")) else None)  # fmt: skip
        page.goto(address + fragment)
        return page

    yield opener
    for context in opened:
        context.close()
    assert complaints == []
