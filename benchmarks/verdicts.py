"""Compute the tables and verdicts of references again: `python benchmarks/verdicts.py`.

Uses only what a reference (`dhl.run.reference`) has of each image. Prints for each verdict of
claims.csv whether it is the same again, and for each file the largest difference of a number. The
exit status is 1 if a verdict differs, or a number by more than rounding.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import pandas as pd

from dhl.analysis.claims import compute_claims
from dhl.analysis.sensitivity import build_sensitivity
from dhl.analysis.tables import build_table
from dhl.config.methods import table_number
from dhl.config.parse import load_config
from dhl.files import PROJECT, project_file
from dhl.run.folder import RunFolder
from dhl.run.manifest import check_untouched, read_manifest

ROUNDING = 1e-9
# Columns that name a row, in any of the files.
KEYS = (
    "claim", "over", "method", "image_id", "experiment", "part", "denoiser", "reader", "sigma",
    "trained_sigma", "task_weight", "metric",
)  # fmt: skip


def computed_again(folder: RunFolder) -> dict[Path, pd.DataFrame]:
    """Return the content of each file that is made from the results of the images."""
    config = load_config(folder.config)
    published = project_file("config/published.csv")
    frames = {
        folder.table(table_number(part)): build_table(config, part, folder, published)
        for part in config.parts
    }
    if folder.sensitivity.exists():
        frames[folder.sensitivity] = build_sensitivity(config, folder)
    return frames | {folder.claims: compute_claims(config, folder)}


def paired(path: Path, again: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a file beside the computed ones; a row may be on one side only.

    The paper's values are left out: they do not come from the reference.
    """
    old = pd.read_csv(path).drop(columns="published", errors="ignore")
    new = pd.read_csv(io.StringIO(again.to_csv(index=False)))
    keys = [name for name in KEYS if name in old and name in new]
    return old.merge(
        new, "outer", on=keys, suffixes=("", " again"), indicator=True, validate="one_to_one"
    )


def largest_difference(rows: pd.DataFrame) -> float:
    """Return the largest difference of a number; infinite if one is missing on one side."""
    if (rows["_merge"] != "both").any():
        return float("inf")
    numbers = rows.select_dtypes("number")
    names = [name for name in numbers if f"{name} again" in numbers]
    old = numbers[names]
    new = numbers[[f"{name} again" for name in names]].set_axis(names, axis=1)
    alone = (old.isna() != new.isna()).any(axis=None)
    return float("inf") if alone else float((old - new).abs().max(axis=None))


def print_verdicts(rows: pd.DataFrame) -> bool:
    """Print each verdict, with the new one if it differs; return whether all agree."""
    old, new = rows["verdict"].fillna("none"), rows["verdict again"].fillna("none")
    for row, before, after in zip(rows.itertuples(), old, new, strict=True):
        sigma = "all sigmas" if pd.isna(row.sigma) else f"sigma {row.sigma:g}"
        agrees = "agrees " if before == after else "DIFFERS"
        change = before if before == after else f"{before}, now {after}"
        print(f"{agrees} {row.claim}, {sigma}: {change}")
    print(f"{(old == new).sum()} of {len(rows)} verdicts agree.")
    return bool((old == new).all())


def check(root: Path) -> bool:
    """Compare one reference; return whether its verdicts and numbers are the same again."""
    folder = RunFolder(root)
    check_untouched(root)
    agree = True
    for path, again in computed_again(folder).items():
        rows = paired(path, again)
        if path == folder.claims:
            agree &= print_verdicts(rows)
        largest = largest_difference(rows)
        agree &= largest <= ROUNDING
        name = path.relative_to(root)
        print(f"{name}: {len(rows)} rows, largest difference of a number {largest:.2g}")
    return agree


def main() -> int:
    """Check the given references, or all committed ones that have results of each image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("references", nargs="*", type=Path, help="such as results/reference/mini")
    committed = sorted(path.parent for path in PROJECT.glob("results/reference/*/manifest.json"))
    agree = True
    for root in parser.parse_args().references or committed:
        print(f"# {root.name}")
        if "reference" in read_manifest(RunFolder(root)):
            agree &= check(root)
        else:
            print("made by an older version, without the results of each image")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
