"""The generated blocks of docs/replication.md, from the committed reference runs."""

from __future__ import annotations

import json

import pandas as pd
from build_results import (
    KODAK,
    LABORATORY,
    METRIC_NAMES,
    REFERENCE,
    averages,
    difference,
    markdown,
)

from dhl.config.methods import METHODS, METRICS, TASKS
from dhl.run.folder import RunFolder

MINI = RunFolder(REFERENCE / "mini")
# The paper's claim, and the methods that are compared in PSNR, or in the metric of each task.
FIDELITY = (("1", "separate", "cbm3d"), ("5", "separate", "joint-segmentation"))
TASK = (
    ("2", "separate", "noisy"),
    ("3", "joint", "separate"),
    ("4", "cross", "joint"),
    ("control", "joint", "separate-matched"),
    ("control", "joint", "retrained"),
)


def replication_blocks() -> dict[str, str]:
    """Return the generated blocks by name."""
    runs = " ".join(run_line(folder) for folder in (LABORATORY, MINI))
    return {"runs": runs, "results": f"{fidelity_block()}\n\n{tasks_block()}"}


def run_line(folder: RunFolder) -> str:
    """Return the number of trainings and test images of a run."""
    manifest = json.loads(folder.manifest.read_text())
    seeds = manifest["configuration"]["seeds"]
    counts = ", ".join(
        f"{averages(folder, part, metrics[0])['n'].max():,} for {METRIC_NAMES[metrics[0]]}"
        for part, metrics in METRICS.items()
    )
    trainings = f"{seeds} training{'s' if seeds > 1 else ''} of each denoiser"
    return f"`{folder.root.name}`: {trainings}; test images: {counts}."


def fidelity_block() -> str:
    """Return the comparisons in PSNR."""
    rows = [[claim, title(*pair), cell("denoising", *pair)] for claim, *pair in FIDELITY]
    kodak = over_all_sigmas(KODAK, "denoising", "separate", "cbm3d")
    rows.insert(1, ["1", "the same, on Kodak's images", judged(kodak)])
    return markdown(["claim", "comparison", METRIC_NAMES["psnr"]], rows)


def tasks_block() -> str:
    """Return the comparisons in the metric of each task."""
    head = ["claim", "comparison", *(METRIC_NAMES[METRICS[task][0]] for task in TASKS)]
    return markdown(
        head,
        [[claim, title(*pair), *(cell(task, *pair) for task in TASKS)] for claim, *pair in TASK],
    )


def title(first: str, second: str) -> str:
    """Return the labels of two methods."""
    return f"{METHODS[first].label} - {METHODS[second].label}"


def cell(part: str, first: str, second: str) -> str:
    """Return difference and verdict of `laboratory-3`, and the verdict of `mini` if different."""
    long, short = (over_all_sigmas(folder, part, first, second) for folder in (LABORATORY, MINI))
    verdict = "not compared" if short is None else short.verdict
    return judged(long) + (f"; `mini`: {verdict}" if verdict != long.verdict else "")


def judged(row) -> str:
    """Return the difference, its interval and the verdict of a comparison."""
    return f"{difference(row, 'ci')}, {row.verdict}"


def over_all_sigmas(folder: RunFolder, part: str, first: str, second: str):
    """Return the row of a comparison in the part's main metric; None if the run lacks it."""
    claims = pd.read_csv(folder.claims)
    columns = ["part", "metric", "method_a", "method_b"]
    chosen = (claims[columns] == [part, METRICS[part][0], first, second]).all(axis=1)
    return next(claims[chosen & claims["sigma"].isna()].itertuples(), None)
