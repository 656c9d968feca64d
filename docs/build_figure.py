"""The figure of README.md: what each method gains over `separate`, with two denoisers."""

from __future__ import annotations

import hashlib

from build_results import FFDNET, RESULTS, TASK_METRICS
from matplotlib.figure import Figure

from dhl.analysis.units import UNITS
from dhl.config.methods import TABLES
from dhl.config.parse import load_config
from dhl.files import PROJECT
from dhl.report.figure_style import drawing_style
from dhl.report.sigma_figures import draw_gains, gains_of, read_differences

WIDTH = 7.2  # inches
FIGURE = PROJECT / "docs" / "images" / "gains.svg"
RUNS = {"FFDNet": FFDNET, "Small denoisers": RESULTS}


def figure_source() -> str:
    """Return the digests of the tables that the figure shows, for its metadata."""
    paths = [run.table(TABLES[part]) for run in RUNS.values() for part, _ in TASK_METRICS]
    return ", ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)


def draw_figure() -> None:
    """Draw the difference to `separate` with its interval, for each run, task, method and sigma."""
    with drawing_style():
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        rows = figure.subplots(len(RUNS), len(TASK_METRICS), sharex="col")
        for panels, (denoiser, run) in zip(rows, RUNS.items(), strict=True):
            config = load_config(run.config)
            gains = {
                metric: gains_of(read_differences(config, run, part, metric))
                for part, metric in TASK_METRICS
            }
            draw_gains(config, panels, gains)
            for axes, metric in zip(panels, gains, strict=True):
                axes.set_title(f"{denoiser}: {UNITS[metric].title}")
            panels[1].legend(loc="lower left")
        for axes in rows[0]:
            axes.set_xlabel("")
        FIGURE.parent.mkdir(exist_ok=True)
        metadata = {"Date": None, "Creator": None, "Description": figure_source()}
        figure.savefig(FIGURE, metadata=metadata, facecolor="white")


if __name__ == "__main__":
    draw_figure()
