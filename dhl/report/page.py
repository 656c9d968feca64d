"""The report: one HTML file that opens offline, made from a run's result files alone."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from dhl.analysis.published import read_literature, read_published
from dhl.analysis.sensitivity import main_metric
from dhl.analysis.tables import FAILED, UNITS
from dhl.config.methods import METHODS, TABLES, TASKS, Method, label_of
from dhl.config.plugins import is_reference, load_plugin
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.files import atomic_path
from dhl.report import content
from dhl.report.example_figures import read_examples, strip_sigma
from dhl.report.figure_data import columns_of, figure_data
from dhl.report.figures import PLOTTED, read_averages, read_curves
from dhl.report.images import browse_images
from dhl.report.numbers import read_numbers, trace_origins, trace_studies
from dhl.report.sensitivity_figures import read_experiment
from dhl.run.evaluations import studies
from dhl.run.export import describe_scope
from dhl.run.failures import NothingToShow
from dhl.run.folder import RunFolder
from dhl.run.manifest import read_manifest
from dhl.run.outputs import EXPERIMENT_FIGURES, FIGURE_PARTS, command_for, figure_names, how_to_make
from dhl.sigma import format_sigma

STRIPS = {name: part for name, part in FIGURE_PARTS.items() if name.startswith("example_")}
SCRIPTS = (
    "vendor/datatables.net/dataTables.min.js",
    "vendor/panzoom/panzoom.min.js",
    "assets/report.js",
)
NONE = "–"


def write_report(
    config: Config,
    folder: RunFolder,
    *,
    templates: str | Path,
    published: str | Path,
) -> None:
    """Write the report of a finished run to `folder.report`.

    Parameters
    ----------
    config : Config
    folder : RunFolder
        With tables, claims, figures and manifest; benchmarks may be missing.
    templates : str or Path
        The folder with `templates/`, `assets/`, `vendor/` and the report's YAML files.
    published : str or Path
        The file of published figures.

    Raises
    ------
    UserError
        If something that the report shows is missing or was edited by hand.
    """
    page = render_report(config, folder, templates=Path(templates), published=Path(published))
    with atomic_path(folder.report) as temporary:
        temporary.write_text(page, "utf-8")


def render_report(config: Config, folder: RunFolder, *, templates: Path, published: Path) -> str:
    """Return the report as HTML; the parameters are those of `write_report`."""
    claims, manifest = content.read_claims(folder), read_manifest(folder)
    numbers = read_numbers(config, folder)
    environment = _environment(templates)
    context = {
        "config": config,
        "manifest": manifest,
        "scope": describe_scope(config),
        "image_counts": content.count_images(config, folder),
        "css": Markup(_read(templates / "assets" / "report.css")),
        "scripts": [Markup(_read(templates / name)) for name in SCRIPTS],
        "claims": claims,
        "origins": content.ORIGINS,
        "verdict_counts": content.count_verdicts(claims),
        "tables": _tables(config, folder),
        "per_image": content.per_image_psnr(folder) if "denoising" in config.parts else {},
        "numbers": numbers,
        "failed": [number for number in numbers if number.status.startswith(FAILED)],
        "origins_of_numbers": trace_origins(config, folder, manifest),
        "browser": _as_json(browse_images(config, folder)),
        "figures": _figures(config, folder, templates),
        "experiments": content.read_experiments(config, folder),
        "origins_of_experiments": trace_studies(config, folder, manifest),
        "methods": _methods(config),
        "noise_summary": load_plugin(config.noise).summary if is_reference(config.noise) else None,
        "used_methods": {name for part in config.parts for name in config.parts[part].methods},
        "joint_recipes": [
            (task, recipe)
            for task in TASKS
            if task in config.parts and (recipe := config.parts[task].training.joint)
        ],
        "literature": _literature(published),
        "untranscribed": _untranscribed(published),
        "deviations": content.read_deviations(config, templates / "deviations.yaml"),
        "sources": _sources(config, templates),
        "photographs": _photographs(config),
        "costs": content.read_costs(folder),
    }
    return environment.get_template("index.html.j2").render(context)


def _methods(config: Config) -> dict[str, Method]:
    """Return all methods; plug-ins are explained by their docstrings."""
    plugins = {}
    for name, reference in config.plugin_methods.items():
        said = load_plugin(reference).summary or "No docstring says what it does."
        plugins[name] = Method(label_of(name), f"Plug-in, {reference}: {said}", in_paper=False)
    return METHODS | plugins


def _environment(templates: Path) -> jinja2.Environment:
    """Make the template environment: everything is escaped, nothing undefined is ignored."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "measure": format_value,
        "signed": format_difference,
        "interval": format_interval,
        "p_value": format_p,
        "count": lambda number: f"{number:,.0f}" if pd.notna(number) else NONE,
        "plain_signed": lambda number: _signed(number, 2) if pd.notna(number) else NONE,
        "sigma": format_sigma,
        "sigmas": lambda grid: ", ".join(map(format_sigma, grid)),
        "duration": format_duration,
        "number": format_number,
        "metric_name": lambda metric: UNITS[metric][0],
        "method_label": label_of,
        "variant": content.variant,
        "slug": lambda text: str(text).replace(" ", "-"),
        "upper_first": lambda text: text[:1].upper() + text[1:],
        "to_yaml": lambda values: yaml.safe_dump(values, sort_keys=False),
    }
    environment.tests["known"] = pd.notna
    return environment


def format_value(value: float, metric: str) -> str:
    """Print a value in the metric's unit and precision."""
    _, factor, decimals, unit, _ = UNITS[metric]
    if pd.isna(value):
        return NONE
    return f"{factor * value:.{decimals}f} {unit}".rstrip()


def format_number(value: float, metric: str) -> str:
    """Print a value in the metric's precision, without its unit."""
    return format_value(value, metric).partition(" ")[0]


def format_difference(value: float, metric: str) -> str:
    """Print a difference with its sign; fractions in percentage points."""
    _, factor, decimals, _, unit = UNITS[metric]
    if pd.isna(value):
        return NONE
    return f"{_signed(factor * value, decimals)} {unit}".rstrip()


def format_interval(row: dict[str, Any], metric: str, kind: str = "ci") -> str:
    """Print the interval of a difference: over images (`ci`) or over trainings (`seed`)."""
    _, factor, decimals, _, _ = UNITS[metric]
    ends = [row[f"{kind}_{end}"] for end in ("low", "high")]
    if any(map(pd.isna, ends)):
        return "not computed"
    if any(map(math.isinf, ends)):
        return "unknown, because they tie"
    return " to ".join(_signed(factor * end, decimals) for end in ends)


def _signed(value: float, decimals: int) -> str:
    """Print a number with its sign, a true minus and no negative zero."""
    text = f"{value:+.{decimals}f}"
    return "0" + text[2:] if float(text) == 0 else text.replace("-", "−")


def format_p(value: float) -> str:
    """Print a p-value to three decimals."""
    if pd.isna(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def format_duration(seconds: float | None) -> str:
    """Print seconds as a reader would say them."""
    if seconds is None or pd.isna(seconds):
        return "not recorded"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _as_csv_address(frame: pd.DataFrame, columns: tuple[str, ...]) -> str:
    """Encode a table as an address that holds its own data."""
    text = frame.reindex(columns=list(columns)).to_csv(index=False, lineterminator="\n")
    return f"data:text/csv;base64,{base64.b64encode(text.encode()).decode()}"


def _as_json(content: Any) -> Markup:
    """Write what a script reads; no text can end the element that holds it."""
    return Markup(json.dumps(content, ensure_ascii=True).replace("<", "\\u003c"))


def _read(path: Path) -> str:
    """Read a text that the report needs."""
    return _read_bytes(path).decode("utf-8")


def _read_bytes(path: Path) -> bytes:
    """Read a file that the report needs, or say what makes it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            "a report is made from finished tables, figures and verdicts.",
            came=f"no file {path}",
            do=how_to_make(path) if command_for(path) else "restore it from the repository.",
        ) from None


def _tables(config: Config, folder: RunFolder) -> list[dict[str, Any]]:
    """Read the tables' HTML, which `dhl.analysis.tables` has escaped."""
    return [
        {
            "number": TABLES[part],
            "part": part,
            "html": Markup(_read(folder.table(TABLES[part], "html"))),
        }
        for part in config.parts
    ]


def _figures(config: Config, folder: RunFolder, templates: Path) -> list[dict[str, str | None]]:
    """Read the figures as data addresses, with caption and alternative text."""
    texts = content.read_yaml(templates / "figures.yaml")
    figures = []
    for name in figure_names(config.parts, studies(config)):
        suffix, kind = ("png", "png") if name in STRIPS else ("svg", "svg+xml")
        data = _read_bytes(folder.figures / f"{name}.{suffix}")
        values = {"confidence": f"{100 * config.statistics.confidence:g} %", "sigma": ""}
        if name in EXPERIMENT_FIGURES and config.sensitivity:
            values["sigma"] = format_sigma(config.sensitivity.sigma)
        if name in STRIPS:
            values["sigma"] = format_sigma(strip_sigma(config.parts[STRIPS[name]].sigmas))
        figures.append(
            {
                "name": name,
                "experiment": EXPERIMENT_FIGURES.get(name),
                "title": content.interpolate(texts[name]["title"], values),
                "caption": content.interpolate(texts[name]["caption"], values),
                "alt": _alternative(config, folder, name),
                "address": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
                "data": _as_csv_address(figure_data(config, folder, name), columns_of(name)),
            }
        )
    return figures


def _alternative(config: Config, folder: RunFolder, name: str) -> str:
    """Say in words what a figure shows, from the data that it was drawn from."""
    try:
        return _in_words(config, folder, name)
    except NothingToShow as nothing:
        return f"Nothing to show: {nothing}."


def _in_words(config: Config, folder: RunFolder, name: str) -> str:
    """Say what a figure shows; `NothingToShow` if that failed."""
    if name in STRIPS:
        examples = read_examples(config, folder, STRIPS[name])
        labels = ", ".join(label_of(method) for method in examples.methods)
        images = ", ".join(examples.ids)
        return f"{STRIPS[name]} at sigma {examples.sigma:g}, images {images}: {labels}."
    if name in EXPERIMENT_FIGURES:
        return _experiment_in_words(config, folder, EXPERIMENT_FIGURES[name])
    if name not in PLOTTED:
        models = sum(len(curves) for curves in read_curves(folder).values())
        return f"Training loss over steps of {models} trainings: {', '.join(read_curves(folder))}."
    metric = PLOTTED[name][1]
    rows = read_averages(config, folder, *PLOTTED[name])
    lines = []
    for method, own in rows.groupby("method", sort=False):
        points = [
            f"{format_value(value, metric)} at sigma {sigma:g}"
            for sigma, value in zip(own["sigma"], own["value"], strict=True)
        ]
        lines.append(f"{label_of(str(method))}: {', '.join(points)}")
    return f"{UNITS[metric][0]} over sigma. {'; '.join(lines)}."


def _experiment_in_words(config: Config, folder: RunFolder, name: str) -> str:
    """Say what the figure of an experiment shows: its values in the parts' main metrics."""
    lines = []
    for row in content.experiment_rows(config, read_experiment(folder, name)):
        if row["metric"] == main_metric(row["part"]):
            value = format_value(row["value"], row["metric"])
            noise = format_sigma(row["sigma"])
            reader = f" read by {row['reader_label']}" if row["reader_label"] else ""
            lines.append(f"{row['part']} at sigma {noise}, {content.variant(row)}{reader}: {value}")
    return f"{'; '.join(lines)}."


def _literature(published: Path) -> dict[str, Any]:
    """Arrange the published figures of others: a row per method, a column per sigma."""
    rows = read_literature(published)
    sigmas = sorted(rows["sigma"].unique())
    lines = []
    for (method, source), own in rows.groupby(["method", "source"], sort=False):
        values = own.set_index("sigma")["value"]
        cells = [values.get(sigma, float("nan")) for sigma in sigmas]
        lines.append({"method": method, "source": source, "cells": cells})
    return {"sigmas": sigmas, "rows": lines}


def _untranscribed(published: Path) -> dict[str, int]:
    """Count the cells of the paper's tables, and those that nobody has copied yet."""
    cells = [
        value
        for number in TABLES.values()
        for value in read_published(number, published).cells.values()
    ]
    return {"cells": len(cells), "missing": sum(pd.isna(value) for value in cells)}


def _sources(config: Config, templates: Path) -> list[dict[str, str]]:
    """List the sources, with licences, of the configured data."""
    texts = content.read_yaml(templates / "sources.yaml")
    data = [name for part in config.parts for name in config.parts[part].data.sources]
    return [source for name in (*dict.fromkeys(data), "software") for source in texts[name]]


def _photographs(config: Config) -> list[Any]:
    """List the photographs of the embedded data set, if the run uses it."""
    from dhl.data.photo_digits import PHOTOGRAPHS

    kinds = {config.parts[part].data.kind for part in config.parts}
    return list(PHOTOGRAPHS) if "photo-digits" in kinds else []
