"""The generated blocks of docs/replication.md, from a committed reference run."""

from __future__ import annotations

import json

from build_results import METRIC_NAMES, RESULTS, averages, difference, markdown, summary_of

from dhl.config.methods import METHODS, METRICS, TASK_NETWORKS, TASKS
from dhl.run.folder import RunFolder

# The paper's claim, what is compared, and the id of the comparison without the part.
FIDELITY = (
    ("5", "Separate - Joint, PSNR in dB", "separate-over-joint-{task}"),
    ("control", "Matched - Joint, PSNR in dB", "matched-{task}-over-joint-{task}"),
    ("5", "Joint nearer to 1, relative gradient", "gradient-joint-{task}-over-separate"),
)
TASK = (
    ("2", "separate-over-noisy"),
    ("2", "clean-over-separate"),
    ("3", "joint-over-separate"),
    ("4", "cross-keeps-joint-over-separate"),
    ("control", "joint-over-separate-matched"),
)


def replication_blocks() -> dict[str, str]:
    """Return the generated blocks by name."""
    return {"runs": run_line(RESULTS), "results": f"{tasks_block()}\n\n{fidelity_block()}"}


def run_line(folder: RunFolder) -> str:
    """Return the number of trainings and test images of a run."""
    manifest = json.loads(folder.manifest.read_text("utf-8"))
    seeds = manifest["configuration"]["seeds"]
    counts = ", ".join(
        f"{averages(folder, part, metrics[0])['n'].max():,} for {METRIC_NAMES[metrics[0]]}"
        for part, metrics in METRICS.items()
    )
    trainings = f"{seeds} training{'s' if seeds > 1 else ''} of each denoiser"
    return f"`{folder.root.name}`: {trainings}; test images: {counts}."


def fidelity_block() -> str:
    """Return the comparisons of Table 1 with each joint denoiser."""
    head = ["claim", "comparison", *(f"guided by the {TASK_NETWORKS[task]}" for task in TASKS)]
    rows = []
    for claim, title, name in FIDELITY:
        cells = (named(f"denoising-{name.format(task=task)}")[1] for task in TASKS)
        rows.append([claim, title, *(cell.replace(" dB", "") for cell in cells)])
    return markdown(head, rows)


def tasks_block() -> str:
    """Return the comparisons in the metric of each task."""
    head = ["claim", "comparison", *(METRIC_NAMES[METRICS[task][0]] for task in TASKS)]
    rows = []
    for claim, name in TASK:
        (title, first), (_, second) = (named(f"{task}-{name}") for task in TASKS)
        rows.append([claim, title, first, second])
    return markdown(head, rows)


def named(claim: str) -> tuple[str, str]:
    """Return the methods of a comparison; and its difference or share, interval and verdict."""
    (row,) = summary_of(RESULTS).loc[[claim]].itertuples()
    first, second = METHODS[row.method_a].label, METHODS[row.method_b].label
    title = f"{first} - {second}"
    if isinstance(row.over, str):
        title = f"share of {second}'s gain kept by {first}"
    return title, f"{difference(row, '')}, {row.verdict_adjusted}"
