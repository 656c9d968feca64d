"""The paper's three tables from a run's results: tidy CSV, and Markdown, LaTeX and HTML to read.

The CSV has full precision; the other formats are rounded, in percent and marked. Its column
`status` is `transcribed`, `not transcribed` or `not in the paper` for the published value, or, if
our value is missing, `not measured` or `failed` with the reason.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from dhl.analysis.measurements import Measurements, read_measurements
from dhl.analysis.published import NOT_IN_PAPER, PublishedTable, read_published
from dhl.analysis.scores import BOUNDS, DIRECTION, SCORES, TARGET, goodness
from dhl.analysis.table_formats import DIALECTS, Dialect
from dhl.analysis.units import UNITS
from dhl.config.methods import (
    FURTHER_METRICS,
    METRICS,
    TABLES,
    base_of,
    label_of,
    part_name,
    table_number,
)
from dhl.config.plugins import is_reference, noise_name
from dhl.config.schema import Config
from dhl.run.evaluations import experiments
from dhl.run.folder import RunFolder
from dhl.run.results import AVERAGE, TABLE_COLUMNS, edited_by_hand, read_csv, result_path, write_csv
from dhl.sigma import format_sigma

NOT_MEASURED, FAILED = "not measured", "failed"

_PAPER_DATA = {
    "denoising": "Kodak",
    "classification": "ILSVRC2012 val",
    "segmentation": "VOC 2012 val",
}
_UNRANKED = ("clean",)  # a ceiling, not a competitor


def build_table(
    config: Config, part: str, folder: RunFolder, published: str | Path
) -> pd.DataFrame:
    """Make the tidy table of one part; `published` is the file of published values.

    Returns
    -------
    DataFrame with `dhl.run.results.TABLE_COLUMNS`
        Per sigma, method (in the configuration's order) and metric, a row with the image_id
        `average`; for denoising also a row per image. Accuracy and mIoU are fractions. A value is
        the average over `seeds` trainings; `ci_*` have all sources of error, `seed_std` is over
        trainings. `n` counts the images that have a value.

    Raises
    ------
    UserError
        If a result is missing or was edited by hand.
    """
    paper = _published(config, part, published)
    rows: list[dict] = []
    for sigma in config.parts[part].sigmas:
        measurements = read_measurements(config, folder, part, sigma)
        for method in config.parts[part].methods:
            for metric in METRICS[base_of(part)]:
                rows.append(_average(measurements, method, metric, paper))
                if (method, metric) not in measurements.features:
                    continue
                low, high = measurements.interval(
                    method, metric, confidence=config.statistics.confidence
                )
                rows[-1] |= {"ci_low": low, "ci_high": high}
                if base_of(part) == "denoising":
                    rows += _images(measurements, method, metric, paper)
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))


def write_table(config: Config, part: str, folder: RunFolder, published: str | Path) -> None:
    """Write a part's table as CSV, Markdown, LaTeX and HTML into `folder`."""
    frame = build_table(config, part, folder, published)
    number = table_number(part)
    write_csv(frame, folder.table(number), TABLE_COLUMNS)
    paper = _published(config, part, published)
    for suffix in DIALECTS:
        with result_path(folder.table(number, suffix)) as temporary:
            temporary.write_text(format_table(frame, config, part, paper, suffix), "utf-8")


def _published(config: Config, part: str, path: str | Path) -> PublishedTable:
    """Read the paper's values for a part: none for a noise of the user, or another network."""
    if is_reference(config.noise):
        return PublishedTable({})
    cells = read_published(TABLES[base_of(part)], path).cells
    kept = {key: value for key, value in cells.items() if not config.stand_in(key[0])}
    return PublishedTable(kept)


def table_averages(config: Config, part: str, folder: RunFolder) -> pd.DataFrame:
    """Read the rows over all images of a part's table, one for each sigma, method and metric.

    Raises
    ------
    UserError
        If a row is missing, twice there, or has a value that its metric cannot have.
    """
    path, key = folder.table(table_number(part)), ["sigma", "method", "metric"]
    frame = read_csv(path, TABLE_COLUMNS)
    frame = frame[frame["image_id"] == AVERAGE]
    settings = config.parts[part]
    expected = set(itertools.product(settings.sigmas, settings.methods, METRICS[base_of(part)]))
    found = list(frame[key].itertuples(index=False, name=None))
    if len(found) != len(expected) or set(found) != expected:
        raise edited_by_hand(path, f"{len(frame)} averages instead of {len(expected)}, or others")
    low, high = np.array([BOUNDS[metric] for metric in frame["metric"]]).T
    if (strange := (frame["value"] < low) | (frame["value"] > high)).any():
        method, metric, value = frame.loc[strange, ["method", "metric", "value"]].iloc[0]
        raise edited_by_hand(path, f"the {metric} {value:g} of `{method}`")
    return frame


def format_table(
    frame: pd.DataFrame, config: Config, part: str, paper: PublishedTable, suffix: str
) -> str:
    """Format a table for readers: a row per method; per sigma, the paper's value beside ours.

    `frame` comes from `build_table`, and `suffix` is `md`, `tex` or `html`. The best value of a
    column is bold and the second best underlined. Values that print the same get the same mark,
    `clean` is not ranked, and a column in which all print the same has no marks. `FURTHER_METRICS`
    follow in a second table, if any was measured.
    """
    dialect = DIALECTS[suffix]
    averages = frame[frame["image_id"] == AVERAGE]
    of_paper = averages[~averages["metric"].isin(FURTHER_METRICS)]
    caption = f"{_caption(of_paper, config, part)} {_legend(config, part, paper)}"
    grid = _grid(of_paper, config, part, paper, dialect)
    text = dialect.render(grid, dialect.escape(caption), table_number(part))
    further = averages[averages["metric"].isin(FURTHER_METRICS)]
    if further["value"].isna().all():
        return text
    grid = _grid(further, config, part, paper, dialect)
    caption = dialect.escape(_caption(further, config, part))
    return text + "\n" + dialect.render(grid, caption, table_number(part, "b"))


def _grid(
    averages: pd.DataFrame, config: Config, part: str, paper: PublishedTable, dialect: Dialect
) -> pd.DataFrame:
    """Format the metrics of `averages`: a row per method, columns of the paper and ours."""
    cells = averages.set_index(["sigma", "method", "metric"]).to_dict("index")
    methods, metrics = config.parts[part].methods, tuple(averages["metric"].unique())
    columns: dict[tuple[str, str], list[str]] = {}
    for sigma in config.parts[part].sigmas:
        block = {
            (method, metric): cells[sigma, method, metric]
            for method in methods
            for metric in metrics
        }
        head = dialect.sigma.format(format_sigma(sigma))
        if printed := [metric for metric in metrics if metric in paper.metrics(sigma)]:
            columns[head, "paper"] = [_theirs(block, m, printed, dialect) for m in methods]
        columns[head, "ours"] = _ours(block, methods, metrics, dialect)
    labels = [dialect.escape(_label(config, method)) for method in methods]
    return pd.DataFrame(columns, index=pd.Index(labels))


def _label(config: Config, method: str) -> str:
    """Return the label of a row, with the network that stands in for the named one."""
    network = config.stand_in(method)
    return f"{label_of(method)} ({network})" if network else label_of(method)


def _average(measurements: Measurements, method: str, metric: str, paper: PublishedTable) -> dict:
    """Return the row of a metric over all images, without interval."""
    value, status = paper.lookup(method, measurements.sigma, metric)
    row = {
        "method": method, "sigma": measurements.sigma, "image_id": AVERAGE, "metric": metric,
        **measurements.summary(method, metric), "published": value, "status": status,
    }  # fmt: skip
    if not pd.isna(row["value"]):
        return row
    what = "rows" if method not in measurements.protocols else metric
    reason = f"{NOT_MEASURED}: no {what} of `{method}` in {measurements.source}"
    if method in measurements.failures:
        reason = f"{FAILED}: {measurements.failures[method]}"
    return row | {"n": 0, "seeds": 0, "status": reason}


def _images(
    measurements: Measurements, method: str, metric: str, paper: PublishedTable
) -> list[dict]:
    """Return the rows of a metric on each image; one image has no interval."""
    features = measurements.features[method, metric]
    values = SCORES[metric](features).mean(axis=(1, 2))
    rows = []
    for image_id, value in zip(measurements.image_ids, values, strict=True):
        published, status = paper.lookup(method, measurements.sigma, metric, image_id)
        if pd.isna(value):
            status = f"{NOT_MEASURED}: this image has no {metric}"
        rows.append(
            {
                "method": method, "sigma": measurements.sigma, "image_id": image_id,
                "metric": metric, "value": value, "n": int(pd.notna(value)),
                "seeds": features.shape[1],
                "protocol": measurements.protocols[method],
                "published": published, "status": status,
            }
        )  # fmt: skip
    return rows


Block = dict[tuple[str, str], dict]  # (method, metric) -> row of one sigma


def _theirs(block: Block, method: str, metrics: list[str], dialect: Dialect) -> str:
    """Print the published values of a method."""
    texts = []
    for metric in metrics:
        row = block[method, metric]
        if not pd.isna(row["published"]):
            texts.append(UNITS[metric].number(row["published"]))
        else:
            texts.append(dialect.none if row["status"] == NOT_IN_PAPER else "n.t.")
    nothing = all(pd.isna(block[method, metric]["published"]) for metric in metrics)
    return texts[0] if nothing and len(set(texts)) == 1 else " / ".join(texts)


def _ours(
    block: Block, methods: tuple[str, ...], metrics: tuple[str, ...], dialect: Dialect
) -> list[str]:
    """Print our values of a sigma, marked and with their intervals, one text per method."""
    marks = {
        metric: mark_best({method: block[method, metric]["value"] for method in methods}, metric)
        for metric in metrics
    }
    cells = []
    for method in methods:
        rows = {metric: block[method, metric] for metric in metrics}
        if all(pd.isna(row["value"]) for row in rows.values()):
            status = str(next(iter(rows.values()))["status"])
            cells.append(FAILED if status.startswith(FAILED) else "n.m.")
            continue
        values, intervals = [], []
        for metric, row in rows.items():
            number = UNITS[metric].number
            mark = getattr(dialect, marks[metric].get(method, "plain"))
            spread = dialect.spread.format(number(row["seed_std"]))
            value = mark.format(number(row["value"]))
            values.append(value + spread if row["seeds"] > 1 else value)
            ends = [row[end] for end in ("ci_low", "ci_high")]
            known = not any(map(pd.isna, ends))
            intervals.append(dialect.span.format(*map(number, ends)) if known else dialect.none)
        cells.append(" / ".join(values) + dialect.interval.format(" / ".join(intervals)))
    return cells


def mark_best(values: dict[str, float], metric: str) -> dict[str, str]:
    """Return which methods are `best` and `second` as printed, by the value of each method.

    Methods that print the same have the same mark; if all do, none has one.
    """
    unit = UNITS[metric]
    printed = {
        method: round(unit.factor * goodness(value, metric), unit.decimals)
        for method, value in values.items()
        if method not in _UNRANKED and not pd.isna(value)
    }
    levels = sorted(set(printed.values()), reverse=True)
    if len(levels) < 2:
        return {}
    names = {levels[0]: "best", levels[1]: "second"}
    return {method: names[value] for method, value in printed.items() if value in names}


def _caption(averages: pd.DataFrame, config: Config, part: str) -> str:
    """Describe the metrics, the data, the protocol and the marks."""
    metrics = ", ".join(map(_describe, averages["metric"].unique()))
    ours = averages[averages["n"] > 0]
    counts = ", ".join(str(count) for count in sorted(ours["n"].unique())) or "0"
    protocols = ", ".join(sorted(ours["protocol"].unique())) or "none"
    level = f"{100 * config.statistics.confidence:g} %"
    noise = f", {noise_name(config.noise)}" if is_reference(config.noise) else ""
    text = (
        f"{part_name(part).capitalize()}: {metrics}. Data set {config.parts[part].data.name}, "
        f"n = {counts} images{_units(ours)}, protocol {protocols}{noise}. In brackets: {level} "
        "interval over test images"
    )
    seeds = max(ours["seeds"], default=0)
    planned = experiments(config, part, config.parts[part].sigmas[0])
    trainings = {"denoiser": seeds, "task network": max(one.draws(config).task for one in planned)}
    if several := [f"{count} of each {what}" for what, count in trainings.items() if count > 1]:
        text += f" and trainings, {' and '.join(several)}"
    if seeds > 1:
        text += ". ±: standard deviation over trainings of the denoiser"
    text += ". Bold: best; underlined: second."
    if ceilings := [label_of(m) for m in config.parts[part].methods if m in _UNRANKED]:
        text += f" Not ranked: {', '.join(ceilings)}."
    if len(ours) < len(averages):
        text += f" n.m. or failed: not measured, see status in table{table_number(part)}.csv."
    return text


def _describe(metric: str) -> str:
    """Name a metric with its unit, and its best value if it is not the highest."""
    text = f"{UNITS[metric].title} in {UNITS[metric].symbol}".removesuffix(" in ")
    if metric in TARGET:
        return f"{text} (best: {TARGET[metric]:g}, as the clean image)"
    return text if DIRECTION[metric] > 0 else f"{text} (lower is better)"


def _units(ours: pd.DataFrame) -> str:
    """Say what the images are cut from, if they are not independent."""
    fewer = ours[ours["units"] < ours["n"]]
    return "" if fewer.empty else f" of {int(fewer['units'].min())} {fewer['unit'].iloc[0]}"


def _legend(config: Config, part: str, paper: PublishedTable) -> str:
    """Explain the columns of the paper, or why there are none."""
    shared = [sigma for sigma in config.parts[part].sigmas if sigma in paper.sigmas]
    known = f"Table {TABLES[base_of(part)]} of Liu et al. 2018 ({_PAPER_DATA[base_of(part)]})"
    if not shared:
        levels = ", ".join(map(format_sigma, paper.sigmas))
        return f"{known} has sigma {levels}: none of these was run here." if levels else ""
    absent = [m for m in paper.methods if m not in config.parts[part].methods]
    others = f" Rows of it that were not run: {', '.join(absent)}." if absent else ""
    return (
        f"Columns named paper: {known}, on its images, which may differ from ours. "
        f"n.t.: not transcribed; dash, or no such column: not in the paper.{others}"
    )
