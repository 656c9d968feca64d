"""A synthetic run folder for the tests of figures and report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from html_tree import Node, parse
from matplotlib.figure import Figure
from settings import PUBLISHED, shipped
from synthetic_run import write_results, write_synthetic_run

from dhl.analysis.sensitivity import write_sensitivity
from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.files import PROJECT
from dhl.report import figure_style, figures
from dhl.report.deviations import read_deviations
from dhl.report.figure_data import write_figure_data
from dhl.report.page import EXAMPLES, render_report
from dhl.run.folder import RunFolder

TEMPLATES = PROJECT / "report"
MANIFEST = {
    "run": "mini",
    "created": "2026-01-02T03:04:05Z",
    "commit": "0123456789abcdef",
    "dirty": True,
    "versions": {"python": "3.11.7", "numpy": "2.4.6"},
    "hardware": {"system": "Linux", "cores": 2, "memory_gib": 7.5},
    "deployment": "environment",
    "base_seed": 1706,
    "configuration": {"run": "mini"},
    "wall_seconds": None,
    "compute_seconds": 300.0,
    "plugins": {},
    "files": {"claims.csv": "ab" * 32},
}


def small_config(settings_of: dict[str, dict] | None = None, **sections: object) -> Config:
    """Return mini at two sigmas.

    `settings_of` replaces settings of parts, and `sections` keys of the top level.
    """
    content = shipped("laboratory", run="mini")
    for part, settings in content["parts"].items():
        settings["sigmas"] = [25] if part == "denoising" else [30, 60]
        settings |= (settings_of or {}).get(part, {})
    content.update(sections)
    if content["sensitivity"] is not None:
        grids = {part: settings["sigmas"] for part, settings in content["parts"].items()}
        several = [part for part, grid in grids.items() if len(grid) > 1]
        content["sensitivity"] |= {"sigma": grids["classification"][-1], "mismatch": several}
    return parse_config(content, source="a test")


def denoising_only() -> Config:
    """Return a configuration without the tasks."""
    small = small_config().model_dump(mode="json")
    part = small["parts"]["denoising"] | {"methods": ["noisy", "dncnn", "separate"]}
    return small_config(parts={"denoising": part}, sensitivity=None)


def deviations(content: dict) -> dict[str, str]:
    """Return the deviations of settings from the paper, by topic."""
    entries = read_deviations(parse_config(content, source="test"), TEMPLATES / "deviations.yaml")
    return {entry["topic"]: entry["ours"] for entry in entries}


def write_run(config: Config, root: Path) -> RunFolder:
    """Write all input of the figures and the report, except the figures and benchmarks."""
    folder = write_synthetic_run(config, root, images=20)
    if "classification" in config.parts:
        for sigma in config.parts.classification.sigmas:
            give_classes(folder.evaluation("classification", sigma).with_suffix(".npz"))
    write_results(config, folder)
    write_sensitivity(config, folder)
    folder.manifest.write_text(json.dumps(MANIFEST))
    return folder


def render(config: Config, folder: RunFolder, published: Path = PUBLISHED) -> Node:
    """Return the report of a run as a tree."""
    return parse(render_report(config, folder, templates=TEMPLATES, published=published))


def write_shown_figures(config: Config, folder: RunFolder) -> None:
    """Write each figure only in the format that the report shows."""

    def save(figure: Figure, path: Path, name: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(figure_style, "FIGURE_FORMATS", ("png" if name in EXAMPLES else "svg",))
            figure_style.save_figure(figure, path, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "save_figure", save)
        figures.write_figures(config, folder)
    write_figure_data(config, folder)


def give_classes(path: Path) -> None:
    """Replace label maps by classes."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for index in range(len(arrays["example_ids"])):
        arrays[f"labels/{index}"] = np.int64(3)
    np.savez(path, **arrays)
