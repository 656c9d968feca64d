"""The outputs of a run: for each kind its path, the command that writes it, and its content.

Paths, the workflow's rules, the list of steps in docs/steps.md, the archive and the advice about
missing files are all made from `OUTPUTS`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dhl.config.methods import TABLES
from dhl.errors import UserError
from dhl.seeding import split_draw

# The figures in the report's order, and the part that each needs.
FIGURE_PARTS = {
    "overview": "denoising",
    "psnr_over_sigma": "denoising",
    "accuracy_over_sigma": "classification",
    "miou_over_sigma": "segmentation",
    "example_denoising": "denoising",
    "example_classification": "classification",
    "example_segmentation": "segmentation",
    "training_curves": "denoising",
}
# The figures of the studies beyond the paper, in the same order.
STUDY_FIGURES = {
    "task_weight": "task-weight",
    "sigma_mismatch": "sigma-mismatch",
    "transfer": "transfer",
}
FIGURE_FORMATS = ("svg", "png", "pdf")  # for the report, for slides, for a manuscript
TABLE_FORMATS = ("csv", "md", "tex", "html")


@dataclasses.dataclass(frozen=True)
class Output:
    """One kind of file."""

    name: str
    pattern: str  # the path below the run's folder, with wildcards in braces
    command: str  # the arguments of `dhl`, with the same wildcards; empty: the workflow writes it
    description: str
    archived: bool = True  # whether `dhl export` includes it; weights are included on request
    benchmark: str = ""  # Snakemake's file with the job's time and memory, below `benchmarks`


OUTPUTS = (
    Output("config", "config.yaml", "", "The configuration with all defaults written out"),
    Output("download", "downloads/{set}.json", "data download {set}",
           "The archives of a downloaded data set with their digests, and its size"),
    Output("images", "data/{part}.npz", "data make --part {part}",
           "The clean images of a part, or the list of their files", archived=False,
           benchmark="data/{part}.tsv"),
    Output("skipped", "data/{part}.skipped.csv", "data make --part {part}",
           "The damaged images of a part, which were left out"),
    Output("sheet", "data/{part}.png", "data make --part {part}",
           "A sheet of the first images of each split", archived=False),
    Output("noise", "noise/{part}/sigma{sigma}.csv", "noise --part {part} --sigma {sigma}",
           "Seed, digest and moments of the noise of each test image at one sigma",
           benchmark="noise/{part}-sigma{sigma}.tsv"),
    Output("baseline", "baselines/{part}/{method}-sigma{sigma}/{shard}.npz",
           "baseline --part {part} --method {method} --sigma {sigma} --shard {shard}",
           "The images that an untrained method denoised", archived=False,
           benchmark="baseline/{part}-{method}-sigma{sigma}/{shard}.tsv"),
    Output("preview", "report/preview.html", "preview",
           "Data, noise and untrained methods, before the trainings end", archived=False,
           benchmark="preview/preview.tsv"),
    Output("model", "models/{model}.pt", "train {model}", "The weights of a trained network",
           archived=False),
    Output("training", "training/{model}.csv", "train {model}",
           "The loss of a training over its steps", benchmark="train/{model}.tsv"),
    Output("evaluation", "evaluation/{part}/sigma{sigma}{draw}.csv",
           "evaluate --part {part} --sigma {sigma} --task-seed {task} --seed {seed}",
           "The results of every method at one sigma, one row per image",
           benchmark="evaluate/{part}-sigma{sigma}{draw}.tsv"),
    Output("arrays", "evaluation/{part}/sigma{sigma}{draw}.npz",
           "evaluate --part {part} --sigma {sigma} --task-seed {task} --seed {seed}",
           "Confusion matrices, and example images of every method", archived=False),
    Output("table", "tables/table{number}.{suffix}", "table --part {part}",
           "A table of the paper with the values of this run", benchmark="table/{number}.tsv"),
    Output("claims", "claims.csv", "claims",
           "The verdict on each claim, with difference, interval and tests",
           benchmark="claims/claims.tsv"),
    Output("sensitivity", "sensitivity.csv", "sensitivity",
           "Other task weights, wrong noise levels and other task networks",
           benchmark="sensitivity/sensitivity.tsv"),
    Output("figure", "figures/{figure}.{suffix}", "figures",
           "A figure of the report, or its numbers", benchmark="figures/figures.tsv"),
    Output("manifest", "manifest.json", "manifest",
           "Versions, hardware, configuration and the digest of each file of the run"),
    Output("report", "report/index.html", "report",
           "The report: one page with tables, figures, verdicts and provenance; opens offline"),
)  # fmt: skip
BY_NAME = {output.name: output for output in OUTPUTS}

WILDCARDS = {
    "set": r"[a-z0-9-]+",
    "part": r"[a-z]+(?:-[a-z0-9]+)?",
    "sigma": r"[0-9]+(?:\.[0-9]+)?",
    "method": r"[^/]+",
    "shard": r"[0-9]+-of-[0-9]+",
    "model": r"[a-z0-9-]+/[a-z0-9.-]+",
    "draw": r"(?:-task[0-9]+)?(?:-seed[0-9]+)?",
    "number": r"[1-3](?:-[a-z0-9]+)?",
    "figure": r"[a-z_]+",
    "suffix": r"[a-z]+",
}
_PARTS = {str(number): part for part, number in TABLES.items()}


def part_of_table(number: str) -> str:
    """Return the part of a table: `denoising-mine` for `1-mine`, that of a further test set."""
    return _PARTS[number[0]] + number[1:]


def figure_names(parts: Iterable[str], studies: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of the figures of a run with these parts and studies."""
    known = ((FIGURE_PARTS, set(parts)), (STUDY_FIGURES, set(studies)))
    return tuple(name for figures, run in known for name, what in figures.items() if what in run)


def command_for(path: Path) -> str | None:
    """Return the command that writes a file of a run; None for any other path."""
    output, named, _ = _match(path)
    if output is None or not output.command:
        return None
    if "number" in named:
        named["part"] = part_of_table(named["number"])
    if "draw" in named:
        named |= dataclasses.asdict(split_draw(named["draw"])[1])
    return f"dhl {output.command.format(**named)}"


def benchmark_for(path: Path) -> str:
    """Return the name of the file with a job's time and memory; `path` is an output of the job."""
    output, named, _ = _match(path)
    return output.benchmark.format(**named) if output else ""


def _match(path: Path) -> tuple[Output | None, dict[str, Any], Path]:
    """Return the output that a file belongs to, its wildcards, and the folder of its run."""
    name = Path(path).as_posix()
    for output in OUTPUTS:
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>{\1})", re.escape(output.pattern))
        if found := re.search(rf"(?:^|/){pattern.format(**WILDCARDS)}$", name):
            return output, found.groupdict(), Path(name[: found.start()])
    return None, {}, Path(path).parent


def missing_file(path: Path) -> UserError:
    """Return the error for a missing file of a run; it names the command that writes the file."""
    return UserError(
        f"The file {path} of an earlier step is missing.",
        came=f"no file {path}",
        do=how_to_make(path),
    )


def how_to_make(path: Path) -> str:
    """Return advice on how to make a missing file."""
    command = command_for(path)
    *_, root = _match(path)
    first = (
        f"run `{command}` with the same --configfile and --folder" if command else "check the path"
    )
    return f"{first}, or let Snakemake make all missing files: {complete_run(root)}."


def complete_run(root: Path) -> str:
    """Return the command that makes the missing files of the run in a folder, for messages."""
    config = root / BY_NAME["config"].pattern
    file = config if config.exists() else "FILE"  # which the reader must know
    return f"`snakemake report --cores all --configfile {file}`"
