"""The result files of a run: the columns of its tidy CSV files, and how to read and write them.

Beside each file, a hidden one has its SHA-256, as `sha256sum` writes it. A result that is not what
its job wrote is refused before anything is made from it. Nothing is known of a file without such a
record: a reference has none, and its manifest vouches for it.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dhl.config.methods import FURTHER_METRICS
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.files import atomic_path, stored
from dhl.run.contents import benchmarks_of
from dhl.run.folder import RunFolder
from dhl.run.free_text import from_cell, to_cell
from dhl.run.outputs import how_to_make, missing_file

if TYPE_CHECKING:
    import pandas as pd


AVERAGE = "average"  # the `image_id` of a row over all images
NOISE_COLUMNS = (
    "image_id", "height", "width", "seed", "sha256", "noise_mean", "noise_std",
)  # fmt: skip
SKIPPED_COLUMNS = ("split", "image_id", "path", "reason")
IMAGE_COLUMNS = (
    "dataset", "part", "sigma", "method", "image_id", "noise_seed", "protocol",
    "psnr", "ssim", "top1", "top5", *FURTHER_METRICS,
)  # fmt: skip
TRAINING_COLUMNS = (
    "step", "lr", "loss", "reconstruction_loss", "task_loss", "feature_loss", "device",
    "precision", "parameters", "receptive_field",
)  # fmt: skip
TABLE_COLUMNS = (
    "method", "sigma", "image_id", "metric", "value", "ci_low", "ci_high", "n", "unit", "units",
    "seeds", "seed_std", "protocol", "published", "status",
)  # fmt: skip
CLAIM_COLUMNS = (
    "claim", "origin", "statement", "part", "sigma", "metric", "method_a", "method_b", "over",
    "mean_a", "mean_b", "difference", "low", "high", "p_value", "p_adjusted", "verdict",
    "verdict_adjusted", "reason", "n", "unit", "units", "units_low", "units_high",
    "largest_unit", "largest_share", "seeds", "seed_low", "seed_high",
    "networks", "network_low", "network_high", "wins", "losses", "effect_size",
    "share", "share_low", "share_high", "slope", "slope_low", "slope_high",
)  # fmt: skip
SENSITIVITY_COLUMNS = (
    "experiment", "part", "sigma", "denoiser", "trained_sigma", "task_weight", "reader", "metric",
    "value", "ci_low", "ci_high", "reference", "difference", "difference_low", "difference_high",
    "n", "unit", "units", "seeds", "seed_std", "protocol", "status",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "part", "sigma", "method", "metric", "value_a", "value_b", "difference", "ci_low", "ci_high",
    "n_a", "n_b", "seeds_a", "seeds_b", "test", "p_value", "p_adjusted", "verdict",
)  # fmt: skip


@contextmanager
def result_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes the result `path`, with a record of its digest."""
    with atomic_path(path) as temporary:
        yield temporary
        _write_record(path, file_digest(temporary))


def record_digest(path: Path) -> None:
    """Record the digest of a result that another function wrote."""
    _write_record(path, file_digest(path))


def _write_record(path: Path, digest: str) -> None:
    with atomic_path(record_of(path)) as temporary:
        temporary.write_text(f"{digest}  {path.name}\n", "utf-8")


def record_of(path: Path) -> Path:
    """Return the hidden file with the digest of a result."""
    return path.with_name(f".{path.name}.sha256")


def is_as_written(path: Path) -> bool | None:
    """Return whether a result is what its job wrote; None if there is no record."""
    try:
        recorded = record_of(path).read_bytes().split()
    except FileNotFoundError:
        return None
    return recorded[:1] == [file_digest(path).encode()]


def check_as_written(path: Path) -> None:
    """Raise a `UserError` if a result is not what its job wrote."""
    if is_as_written(path) is False:
        raise edited_by_hand(path, f"not the digest in {record_of(path).name}")


Writer = Callable[[Path], AbstractContextManager[Path]]


def write_csv(
    frame: pd.DataFrame, path: Path, columns: tuple[str, ...], *, writer: Writer = result_path
) -> None:
    """Write a table as a tidy CSV at full precision, with exactly these columns, atomically."""
    cells = frame.reindex(columns=list(columns)).astype(object)
    rows = cells.where(cells.notna(), None).itertuples(index=False, name=None)
    write_rows((dict(zip(columns, row, strict=True)) for row in rows), path, columns, writer=writer)


def write_rows(
    rows: Iterable[Mapping[str, object]],
    path: Path,
    columns: tuple[str, ...],
    *,
    writer: Writer = result_path,
) -> None:
    """Write rows as `write_csv` does, for jobs that need no pandas, which starts slowly.

    A missing value, None or NaN is an empty cell. The apostrophe before text that a spreadsheet
    would calculate is removed when the file is read.
    """
    with (
        writer(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        plain = csv.writer(file, lineterminator="\n")
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(columns)
        for row in rows:
            cells = [_cell(name, row.get(name)) for name in columns]
            # Python quotes a line feed, but not a carriage return.
            (quoted if any("\r" in str(one) for one in cells) else plain).writerow(cells)


def _cell(name: str, value: object) -> object:
    """Return what is written for a value."""
    if value is None or value != value:
        return ""
    return to_cell(value) if name in _TEXT else value


def read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a tidy CSV; a missing, unreadable or edited file is a `UserError`."""
    frame = _parse(path)
    if tuple(frame.columns) != columns:
        raise edited_by_hand(path, f"columns {', '.join(map(str, frame.columns))}")
    return _checked_numbers(frame, path)


def read_some_columns(
    path: Path, needed: tuple[str, ...], *, optional: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Read columns of a tidy CSV that an older version may have written.

    `optional` columns that a file lacks are empty. A missing or unreadable file, a missing column
    and text in place of numbers are `UserError`s.
    """
    frame = _parse(path)
    if lacking := [name for name in needed if name not in frame.columns]:
        raise edited_by_hand(path, f"no column `{lacking[0]}`")
    return _checked_numbers(frame.reindex(columns=[*needed, *optional]), path)


def read_image_rows(path: Path) -> pd.DataFrame:
    """Read the rows of an evaluation; `FURTHER_METRICS` that an older version lacks are empty."""
    older = tuple(name for name in IMAGE_COLUMNS if name not in FURTHER_METRICS)
    return read_some_columns(path, older, optional=FURTHER_METRICS)


_MEASURED = ["s", "max_rss", "cpu_time"]


def read_benchmarks(config: Config, folder: RunFolder) -> pd.DataFrame:
    """Read the time (`s`, seconds), memory (`max_rss`, MiB) and CPU time of each job.

    They are in files that Snakemake writes. A missing value is NaN. Missing, empty and unreadable
    files are skipped.
    """
    import pandas as pd

    rows = []
    for path in filter(Path.exists, benchmarks_of(config, folder)):
        try:
            jobs = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError):
            continue
        jobs = jobs.reindex(columns=_MEASURED).apply(pd.to_numeric, errors="coerce")
        rule = path.relative_to(folder.benchmarks).with_suffix("").parts[0]
        rows += jobs.assign(rule=rule).to_dict("records")
    return pd.DataFrame(rows, columns=["rule", *_MEASURED])


def _parse(path: Path) -> pd.DataFrame:
    """Read a CSV, or its compressed copy, without checking its columns."""
    import pandas as pd

    path = stored(path)
    try:
        check_as_written(path)
        # Only an empty cell is missing: an image or a method may be called `NA`, `null` or `1e5`.
        frame = pd.read_csv(
            path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=False, na_values=[""],
            encoding="utf-8",
        )  # fmt: skip
        texts = [name for name in frame.columns if name in _TEXT]
        frame[texts] = frame[texts].map(from_cell, na_action="ignore")
        return frame
    except FileNotFoundError:
        raise missing_file(path) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, *_DAMAGED) as error:
        raise edited_by_hand(path, str(error)) from None


_DAMAGED = (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError)


def _checked_numbers(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the table unchanged if its numeric columns hold numbers."""
    import pandas as pd

    for name in [name for name in frame.columns if name not in _TEXT]:
        if not (frame[name].isna().all() or pd.api.types.is_numeric_dtype(frame[name])):
            raise edited_by_hand(path, f"text in the column `{name}`")
    return frame


# All other columns hold numbers.
_TEXT = {
    "image_id", "method", "method_a", "method_b", "over", "dataset", "part", "split", "path",
    "protocol", "metric", "status", "reason", "unit", "largest_unit", "claim", "origin",
    "statement", "verdict", "verdict_adjusted", "experiment", "denoiser", "reader", "reference",
    "model", "class", "truth", "device", "precision", "sha256", "weights", "region", "source",
    "test",
}  # fmt: skip


def edited_by_hand(path: Path, came: str) -> UserError:
    """Return the error for a result file that differs from what the program writes."""
    path = stored(path)
    return UserError(
        f"The result file {path} was edited, or belongs to another configuration.",
        came=f"{path}: {came}",
        do="delete the file and run again; only missing files are made.",
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file; a missing one is a `UserError`."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise missing_file(path) from None


class Arrays(Mapping[str, "np.ndarray"]):
    """The arrays of an `.npz` of this project by name, read on demand; damage is a `UserError`."""

    def __init__(self, path: Path, file: np.lib.npyio.NpzFile):
        self.path, self._file = path, file

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._file.files:
            raise KeyError(name)
        try:
            return self._file[name]
        except _DAMAGED_ARRAYS as error:
            raise damaged_arrays(self.path, error) from None

    def __contains__(self, name: object) -> bool:
        return name in self._file.files

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.files)

    def __len__(self) -> int:
        return len(self._file.files)

    def __enter__(self) -> Arrays:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; its arrays can no longer be read."""
        self._file.close()


# Errors of zipfile and NumPy for flipped bits: in headers, names, flags, shapes and content.
_DAMAGED_ARRAYS = (
    ValueError, EOFError, OSError, RuntimeError, LookupError, TypeError, AttributeError,
    OverflowError, MemoryError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


def open_arrays(path: Path) -> Arrays:
    """Open an `.npz` of this project; a missing, changed or damaged one is a `UserError`."""
    try:
        known = is_as_written(path)
        file = np.load(path, allow_pickle=False)
        # Without a record, the checksums of the archive must do.
        bad = file.zip.testzip() if known is None else None
    except FileNotFoundError:
        raise missing_file(path) from None
    except _DAMAGED_ARRAYS as error:
        raise damaged_arrays(path, error) from None
    if known is False or bad is not None:
        raise damaged_arrays(path, bad or f"not the digest in {record_of(path).name}")
    return Arrays(path, file)


def damaged_arrays(path: Path, reason: object) -> UserError:
    """Return the error for an `.npz` that is not what its job wrote."""
    return UserError(
        f"The file {path} is damaged, or was changed.",
        came=f"{path}: {reason}",
        do=f"delete it, and {how_to_make(path)}",
    )
