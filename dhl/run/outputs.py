"""The outputs of a run, and the command that writes each."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from dhl.config.methods import TABLES
from dhl.errors import UserError

# The figures in the report's order, and the part without which each has nothing to show.
FIGURE_PARTS = {
    "psnr_over_sigma": "denoising",
    "accuracy_over_sigma": "classification",
    "miou_over_sigma": "segmentation",
    "example_denoising": "denoising",
    "example_classification": "classification",
    "example_segmentation": "segmentation",
    "training_curves": "denoising",
}


# The figures of the experiments beyond the paper, in the same order.
EXPERIMENT_FIGURES = {
    "task_weight": "task-weight",
    "sigma_mismatch": "sigma-mismatch",
    "transfer": "transfer",
}
FIGURE_FORMATS = ("svg", "png", "pdf")  # for the report, for slides, for a manuscript
TABLE_FORMATS = ("csv", "md", "tex", "html")


def figure_names(parts: Collection[str], experiments: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the names of the figures that a run with these parts and experiments has."""
    known = ((FIGURE_PARTS, parts), (EXPERIMENT_FIGURES, experiments))
    return tuple(name for figures, run in known for name, what in figures.items() if what in run)


_PARTS = {str(number): part for part, number in TABLES.items()}
_LEVEL = r"sigma(?P<sigma>[0-9.]+?)(?:-seed(?P<seed>\d+))?"


# The ends of the paths of `dhl.run.folder.RunFolder`, and what `dhl` is told to write them.
_COMMANDS = (
    (r"downloads/(?P<set>[a-z0-9-]+)\.json", "data download {set}"),
    (r"data/(?P<part>[a-z]+)(\.skipped)?\.(npz|csv)", "data make --part {part}"),
    (rf"noise/(?P<part>[a-z]+)/{_LEVEL}\.csv", "noise --part {part} --sigma {sigma}"),
    (
        rf"baselines/(?P<part>[a-z]+)/(?P<method>[^/]+)-{_LEVEL}/(?P<shard>[^/]+)\.npz",
        "baseline --part {part} --method {method} --sigma {sigma} --shard {shard}",
    ),
    (r"(models|training)/(?P<model>[^/]+/[^/]+)\.(pt|csv)", "train {model}"),
    (
        rf"evaluation/(?P<part>[a-z]+)/{_LEVEL}\.(csv|npz)",
        "evaluate --part {part} --sigma {sigma} --seed {seed}",
    ),
    (r"tables/table(?P<number>\d)\.[a-z]+", "table --part {part}"),
    (r"(?P<step>claims|sensitivity)\.csv", "{step}"),
    (r"(?P<step>figures)/[^/]+", "{step}"),
    (r"(?P<step>manifest)\.json", "{step}"),
    (r"(?P<step>report)/index\.html", "{step}"),
)


def command_for(path: Path) -> str | None:
    """Return the command that writes a file of a run; None if the path is no such file's."""
    for pattern, command in _COMMANDS:
        if found := re.search(rf"(?:^|/){pattern}$", Path(path).as_posix()):
            named = found.groupdict()
            if "number" in named:
                named["part"] = _PARTS.get(named["number"])
            if "seed" in named:
                named["seed"] = named["seed"] or 1
            return f"dhl {command.format(**named)}"
    return None


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
    if command is None:
        return "check the path, or let Snakemake make all that is missing: `make report`."
    return (
        f"run `{command}` with the same --configfile and --folder, or let Snakemake make all that "
        "is missing: `make report`."
    )
