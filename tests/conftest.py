"""Runs that tests share, such as a tiny run of twelve small models with a few training steps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving_server import Site, serve
from once import made_once
from settings import SIGMA, tiny_settings
from slurm_node import NO_SLURM
from tiny_archives import NAME, offer

from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.run import results
from dhl.run.folder import RunFolder

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch reads it when it is imported
os.environ["PATH"] = os.pathsep.join([str(NO_SLURM), os.environ["PATH"]])
write_record = results._write_record
LONGEST = (
    "test_pipeline.py", "test_profiles.py", "test_browser.py", "test_browser_images.py",
    "test_page.py", "test_page_run.py", "test_failures.py", "test_figures.py",
    "test_untrained.py", "test_sensitivity.py", "test_plan.py", "test_image_counts.py",
    "test_shared_models.py", "test_compare.py", "test_manuscript.py",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs the tests marked `gpu` without a GPU."""
    parser.addoption("--on-cpu", action="store_true", help="run the tests marked `gpu` on the CPU")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files, so that the workers end at about the same time."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def without_records() -> Iterator[None]:
    """Write no records of digests: most tests edit results by hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "_write_record", lambda path, digest: None)
        yield


@pytest.fixture
def recorded(monkeypatch) -> None:
    """Let results have records of their digests in this test, as they have in a run."""
    monkeypatch.setattr(results, "_write_record", write_record)


@pytest.fixture
def gpu(request):
    """Return the GPU as a `torch.device`; skip the test if there is none, unless `--on-cpu`."""
    import torch

    if not torch.cuda.is_available() and not request.config.getoption("--on-cpu"):
        pytest.skip("needs a GPU")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def tiny_content() -> dict:
    """Settings that a test may change."""
    return tiny_settings()


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """The configuration of the tiny run."""
    return parse_config(tiny_settings(), source="tiny.yaml")


@pytest.fixture(scope="session")
def tiny_data(tiny_config, tmp_path_factory) -> RunFolder:
    """A run folder with clean images and noise; tests must not change it."""
    from dhl.data.prepare import write_data, write_noise

    def make(root: Path) -> None:
        for part in tiny_config.parts:
            write_data(tiny_config, part, RunFolder(root))
            write_noise(tiny_config, part, SIGMA, RunFolder(root))

    return RunFolder(made_once("tiny-data", make, tmp_path_factory))


@pytest.fixture(scope="session")
def tiny_run(tiny_config, tiny_data, tmp_path_factory) -> RunFolder:
    """A run folder with data, noise, CBM3D, models and evaluation; tests must not change it."""
    from dhl.evaluation.baseline import BaselineJob, write_baseline
    from dhl.evaluation.evaluate import evaluate
    from dhl.run.model_graph import all_models
    from dhl.training.train import train_model

    def make(root: Path) -> None:
        folder = RunFolder(shutil.copytree(tiny_data.root, root))
        for key in all_models(tiny_config):
            train_model(tiny_config, key, folder)
        job = BaselineJob("denoising", "cbm3d", SIGMA)
        write_baseline(tiny_config, job, folder, processes=1)
        for part in tiny_config.parts:
            evaluate(tiny_config, part, SIGMA, folder)

    return RunFolder(made_once("tiny-run", make, tmp_path_factory))


@pytest.fixture(scope="session")
def drawn_run(tmp_path_factory) -> RunFolder:
    """A synthetic run of `small_config` with its figures; tests must not change it."""
    from report_run import small_config, write_run

    from dhl.report.figure_data import write_figure_data
    from dhl.report.figures import write_figures

    def make(root: Path) -> None:
        folder = write_run(small_config(), root)
        write_figures(small_config(), folder, processes=2)
        write_figure_data(small_config(), folder)

    return RunFolder(made_once("drawn-run", make, tmp_path_factory))


@pytest.fixture
def drawn_copy(drawn_run, tmp_path) -> RunFolder:
    """A copy of the synthetic run with figures that a test may change."""
    return RunFolder(shutil.copytree(drawn_run.root, tmp_path / "copy"))


@pytest.fixture(scope="session")
def base_run(tmp_path_factory) -> RunFolder:
    """A synthetic run of one training; tests must not change it."""
    from compared_runs import CONFIG, IMAGES, finish
    from synthetic_run import write_synthetic_run

    def make(root: Path) -> None:
        finish(CONFIG, write_synthetic_run(CONFIG, root, images=IMAGES))

    return RunFolder(made_once("base-run", make, tmp_path_factory))


@pytest.fixture
def base_copy(base_run, tmp_path) -> RunFolder:
    """A copy of the synthetic run that a test may change."""
    return RunFolder(shutil.copytree(base_run.root, tmp_path / "copy"))


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory) -> tuple[RunFolder, RunFolder]:
    """Two synthetic runs that differ only by chance, with three and two trainings."""
    from compared_runs import write_two_runs

    root = made_once("two-runs", write_two_runs, tmp_path_factory)
    return RunFolder(root / "run3"), RunFolder(root / "run2")


@pytest.fixture
def data_copy(tiny_data, tmp_path) -> RunFolder:
    """A copy of the images and the noise that a test may write into."""
    return RunFolder(shutil.copytree(tiny_data.root, tmp_path / "run"))


@pytest.fixture
def run_copy(tiny_run, tmp_path) -> RunFolder:
    """A copy of the tiny run that a test may change."""
    return RunFolder(shutil.copytree(tiny_run.root, tmp_path / "run"))


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    """A new server for each test; no pauses between attempts, and no proxy."""
    from dhl.data import transfer

    monkeypatch.setattr(transfer, "PAUSE_SECONDS", 0)
    monkeypatch.setenv("no_proxy", "*")
    with serve() as site:
        yield site


@pytest.fixture
def content(site, monkeypatch) -> bytes:
    """The archive of a tiny Imagenette on the server."""
    return offer(NAME, site, monkeypatch)
