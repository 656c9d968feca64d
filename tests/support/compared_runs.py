"""Complete runs with made-up results, and changes to them, for tests of comparisons."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from settings import PUBLISHED, laboratory_config
from synthetic_run import write_results, write_synthetic_run

from dhl.analysis.compare import compare
from dhl.analysis.run_results import read_run_results
from dhl.analysis.tables import write_table
from dhl.config.methods import PARTS
from dhl.files import PROJECT
from dhl.run.folder import RunFolder
from dhl.run.manifest import write_manifest
from dhl.run.results import file_digest
from dhl.seeding import Draw

REFERENCE = PROJECT / "results" / "reference" / "laboratory"
SIGMA, IMAGES = 30, 40


def configure(seeds=1, sigmas=(SIGMA,), *, methods=None):
    """Return the configuration of the reference with other seeds, sigmas or methods by part."""
    changes = {part: {"sigmas": list(sigmas)} for part in PARTS}
    for part, names in (methods or {}).items():
        changes[part]["methods"] = names
    return laboratory_config(changes, seeds=seeds)


CONFIG = configure()  # of the run that is compared with others


def finish(config, folder: RunFolder, *, claims: bool = True) -> RunFolder:
    """Write tables, verdicts and manifest from the evaluation, as a run does at its end."""
    write_results(config, folder, claims=claims)
    write_manifest(config, folder)
    return folder


def compared(first: RunFolder | Path, second: RunFolder | Path):
    roots = [one.root if isinstance(one, RunFolder) else one for one in (first, second)]
    return compare(*map(read_run_results, roots))


def edit(folder: RunFolder, part: str, change) -> None:
    """Change the rows of an evaluation in place, and write the part's table and manifest again."""
    path = folder.evaluation(part, SIGMA)
    frame = pd.read_csv(path)
    change(frame)
    frame.to_csv(path, index=False)
    write_table(CONFIG, part, folder, PUBLISHED)
    write_manifest(CONFIG, folder)


def shift_dncnn(frame: pd.DataFrame) -> None:
    """Raise DnCNN's PSNR by 0.5 dB and lower its SSIM by 0.02."""
    frame.loc[frame["method"] == "dncnn", ["psnr", "ssim"]] += [0.5, -0.02]


def sign(root: Path, path: Path) -> None:
    """Enter a changed file into the manifest, as the program would."""
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["files"][path.relative_to(root).as_posix()] = file_digest(path)
    (root / "manifest.json").write_text(json.dumps(manifest))


def cells_with(comparison, *verdicts) -> set[tuple[str, str, str]]:
    """Return part, method and metric of the cells with these verdicts."""
    cells = comparison.cells[comparison.cells["verdict"].isin(verdicts)]
    return set(cells[["part", "method", "metric"]].itertuples(index=False, name=None))


def cell(comparison, part, method, metric) -> pd.Series:
    cells = comparison.cells.set_index(["part", "sigma", "method", "metric"])
    return cells.loc[(part, SIGMA, method, metric)]


def per_image(folder: RunFolder, part: str, metric: str, method: str, seed: int = 1) -> np.ndarray:
    """Return the column of a method, by pandas alone."""
    frame = pd.read_csv(folder.evaluation(part, SIGMA, Draw(seed=seed))).set_index("image_id")
    return frame.loc[frame["method"] == method, metric].sort_index().to_numpy()


def write_two_runs(root: Path) -> None:
    """Write runs that differ by chance alone: `run3` of three trainings, `run2` of two."""
    for seeds in (3, 2):
        config = configure(seeds)
        folder = write_synthetic_run(config, root / f"run{seeds}", images=IMAGES, draw=10 * seeds)
        finish(config, folder, claims=False)


def old_reference(root: Path) -> Path:
    """Copy the committed reference as an old version wrote it: tables without trainings."""
    for path in (REFERENCE / "manifest.json", *(REFERENCE / "tables").glob("*")):
        copy = root / path.relative_to(REFERENCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    manifest = json.loads((root / "manifest.json").read_text())
    del manifest["reference"]  # the digests of files that an old reference lacks
    (root / "manifest.json").write_text(json.dumps(manifest))
    for path in (root / "tables").glob("*.csv"):
        frame = pd.read_csv(path)
        frame.drop(columns=["seeds", "seed_std"], errors="ignore").to_csv(path, index=False)
        sign(root, path)
    return root


def lower_one_cell(root: Path) -> Path:
    """Copy the old reference with the top-1 of `joint` at sigma 45 lower by 15 points."""
    path = old_reference(root) / "tables" / "table2.csv"
    frame = pd.read_csv(path)
    chosen = (frame["method"] == "joint") & (frame["sigma"] == 45) & (frame["metric"] == "top1")
    frame.loc[chosen, ["value", "ci_low", "ci_high"]] -= 0.15
    frame.to_csv(path, index=False)
    sign(root, path)
    return root
