"""Where a run's files lie, and the columns of its tidy CSV files. No torch."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dhl.errors import UserError
from dhl.noise import format_sigma
from dhl.seeding import seed_suffix
from dhl.shards import WHOLE, Shard
from dhl.steps import missing_file

if TYPE_CHECKING:
    import pandas as pd

PROJECT = Path(__file__).resolve().parents[1]  # where config/ and report/ lie
PUBLISHED = PROJECT / "config" / "published.csv"

NOISE_COLUMNS = (
    "image_id", "height", "width", "seed", "sha256", "noise_mean", "noise_std",
)  # fmt: skip
SKIPPED_COLUMNS = ("split", "image_id", "path", "reason")
IMAGE_COLUMNS = (
    "dataset", "part", "sigma", "method", "image_id", "noise_seed", "protocol",
    "psnr", "ssim", "top1", "top5",
)  # fmt: skip
TRAINING_COLUMNS = (
    "step", "lr", "loss", "reconstruction_loss", "task_loss", "device", "precision",
)  # fmt: skip
TABLE_COLUMNS = (
    "method", "sigma", "image_id", "metric", "value", "ci_low", "ci_high", "n", "seeds",
    "seed_std", "protocol", "published", "status",
)  # fmt: skip
CLAIM_COLUMNS = (
    "claim", "origin", "statement", "part", "sigma", "metric", "method_a", "method_b",
    "mean_a", "mean_b", "difference", "ci_low", "ci_high", "n", "wins", "losses", "effect_size",
    "photographs", "photographs_alike", "seeds", "seed_std", "seed_low", "seed_high", "both_low",
    "both_high", "test", "p_images", "p_seeds", "p_both", "p_adjusted", "verdict",
)  # fmt: skip
SENSITIVITY_COLUMNS = (
    "experiment", "part", "sigma", "denoiser", "trained_sigma", "task_weight", "reader", "metric",
    "value", "ci_low", "ci_high", "reference", "difference", "difference_low", "difference_high",
    "n", "seeds", "seed_std", "seed_low", "seed_high", "both_low", "both_high", "protocol",
    "status",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "part", "sigma", "method", "metric", "value_a", "value_b", "difference", "ci_low", "ci_high",
    "n_a", "n_b", "seeds_a", "seeds_b", "test", "p_images", "p_seeds", "p_adjusted", "verdict",
)  # fmt: skip


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


def figure_names(parts: tuple[str, ...], experiments: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the names of the figures that a run with these parts and experiments has."""
    known = ((FIGURE_PARTS, parts), (EXPERIMENT_FIGURES, experiments))
    return tuple(name for figures, run in known for name, what in figures.items() if what in run)


class RunFolder:
    """The paths of one run; the library writes nowhere else.

    Parameters
    ----------
    root : str or Path
        Usually `results/<run>`.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.config = self.root / "config.yaml"
        self.claims = self.root / "claims.csv"
        self.sensitivity = self.root / "sensitivity.csv"
        self.figures = self.root / "figures"
        self.report = self.root / "report" / "index.html"
        self.manifest = self.root / "manifest.json"
        self.benchmarks = self.root / "benchmarks"

    def data(self, part: str) -> Path:
        """Return the file of a part's clean images."""
        return self.root / "data" / f"{part}.npz"

    def skipped(self, part: str) -> Path:
        """Return the file that lists a part's damaged images, which were left out."""
        return self.root / "data" / f"{part}.skipped.csv"

    def download(self, name: str) -> Path:
        """Return the receipt of a downloaded set: what the set consists of."""
        return self.root / "downloads" / f"{name}.json"

    def noise(self, part: str, sigma: float) -> Path:
        """Return the file of noise seeds, digests and moments."""
        return self.root / "noise" / part / f"sigma{format_sigma(sigma)}.csv"

    def model(self, key: str) -> Path:
        """Return the file of a trained model; `key` is like `joint-segmentation/sigma30`."""
        return self.root / "models" / f"{key}.pt"

    def training(self, key: str) -> Path:
        """Return the file of a model's training curve."""
        return self.root / "training" / f"{key}.csv"

    def checkpoint(self, key: str, fingerprint: str) -> Path:
        """Return the side file that an interrupted training resumes from."""
        return self.root / "checkpoints" / f"{key}-{fingerprint[:12]}.pt"

    def baseline(self, part: str, method: str, sigma: float, shard: Shard = WHOLE) -> Path:
        """Return the file of the images that an untrained method denoised, of one shard."""
        name = f"{method}-sigma{format_sigma(sigma)}"
        return self.root / "baselines" / part / name / f"{shard}.npz"

    def evaluation(self, part: str, sigma: float, seed: int = 1) -> Path:
        """Return the file of per-image results; `.npz` beside it has arrays for pooled metrics.

        That of a later training than the first has the trained methods alone.
        """
        name = f"sigma{format_sigma(sigma)}{seed_suffix(seed)}.csv"
        return self.root / "evaluation" / part / name

    def probes(self, part: str, sigma: float, seed: int = 1) -> Path:
        """Return the file of per-image results of the probes; `.npz` beside it has arrays."""
        name = f"sigma{format_sigma(sigma)}{seed_suffix(seed)}.csv"
        return self.root / "probes" / part / name

    def table(self, number: int, suffix: str = "csv") -> Path:
        """Return the file of one of the paper's tables."""
        return self.root / "tables" / f"table{number}.{suffix}"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the final name only if the block succeeds.

    Raises
    ------
    UserError
        If no file can be written there, or the disk is full; what stood there before is kept.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    with _named_place(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _named_place(path: Path, temporary: Path) -> Iterator[None]:
    """Turn what a disk or a folder refuses into a message; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                "a result is written in full or not at all.",
                came=f"{error.strerror} while writing {path}",
                do="free some space and run the same command again; finished files are kept.",
            ) from None
        if str(error.filename) in map(str, (temporary, *path.parents)):
            raise UserError(
                "a file is written into a folder that can be written to, under a name that is "
                "no folder's.",
                came=f"{path}: {error.strerror}",
                do="name another file, or make the folder writable.",
            ) from None
        raise


_FULL = (28, 122)  # ENOSPC, EDQUOT


def write_csv(frame: pd.DataFrame, path: Path, columns: tuple[str, ...]) -> None:
    """Write a tidy CSV at full precision, with exactly these columns, atomically."""
    with atomic_path(path) as temporary:
        frame.reindex(columns=list(columns)).to_csv(temporary, index=False, lineterminator="\n")


def read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a tidy CSV and check its columns.

    Raises
    ------
    UserError
        If the file is missing, unreadable, or has other columns: a result that was edited by hand.
    """
    frame = _parse(path)
    if tuple(frame.columns) != columns:
        raise edited_by_hand(path, f"columns {', '.join(map(str, frame.columns))}")
    return _checked_numbers(frame, path)


def read_some_columns(
    path: Path, needed: tuple[str, ...], *, optional: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Read columns of a tidy CSV that an older version may have written.

    Parameters
    ----------
    path : Path
    needed : tuple of str
    optional : tuple of str
        Columns that a file may lack; they are then empty.

    Returns
    -------
    DataFrame with the columns `needed` and `optional`

    Raises
    ------
    UserError
        If the file is missing or unreadable, lacks a needed column, or has text for numbers.
    """
    frame = _parse(path)
    if lacking := [name for name in needed if name not in frame.columns]:
        raise edited_by_hand(path, f"no column `{lacking[0]}`")
    return _checked_numbers(frame.reindex(columns=[*needed, *optional]), path)


def read_benchmarks(folder: RunFolder) -> pd.DataFrame:
    """Read what Snakemake measured of each job.

    Returns
    -------
    DataFrame with the columns `rule`, `s` (seconds) and `max_rss` (MiB)
        A row per job; NaN where a file does not say, and no row for a file without any.
    """
    import pandas as pd

    rows = []
    for path in sorted(folder.benchmarks.rglob("*.tsv")):
        try:
            jobs = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError):
            continue
        jobs = jobs.reindex(columns=["s", "max_rss"]).apply(pd.to_numeric, errors="coerce")
        rule = path.relative_to(folder.benchmarks).with_suffix("").parts[0]
        rows += jobs.assign(rule=rule).to_dict("records")
    return pd.DataFrame(rows, columns=["rule", "s", "max_rss"])


def _parse(path: Path) -> pd.DataFrame:
    """Read a CSV whose columns are not checked yet."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype={"image_id": str, "method": str, "sha256": str})
        if "image_id" in frame:  # an image may be called NA
            names = pd.read_csv(path, usecols=["image_id"], dtype=str, keep_default_na=False)
            frame["image_id"] = names["image_id"].where(names["image_id"] != "")
        return frame
    except FileNotFoundError:
        raise missing_file(path, "a step finds the results of the steps before it.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise edited_by_hand(path, str(error)) from None


def _checked_numbers(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a table as it is, if the columns of numbers hold numbers."""
    import pandas as pd

    for name in [name for name in frame.columns if name in _NUMERIC]:
        if not (frame[name].isna().all() or pd.api.types.is_numeric_dtype(frame[name])):
            raise edited_by_hand(path, f"text in the column `{name}`")
    return frame


_NUMERIC = {
    "sigma", "psnr", "ssim", "top1", "top5", "value", "ci_low", "ci_high", "n", "step", "loss",
    "reconstruction_loss", "task_loss", "difference", "noise_mean", "noise_std", "mean_a", "mean_b",
    "seeds", "seed_std",
}  # fmt: skip


def edited_by_hand(path: Path, came: str) -> UserError:
    """Say that a result file is not as the program wrote it."""
    return UserError(
        "result files are as the program wrote them, for this configuration.",
        came=f"{path}: {came}",
        do="delete the file and run again; only what is missing is made anew.",
    )
