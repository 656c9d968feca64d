"""The report: one HTML file that opens offline, made from the result files of a run."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from dhl.analysis.claims_file import read_claims_file
from dhl.analysis.reach import is_trial
from dhl.analysis.sensitivity import main_metric
from dhl.analysis.tables import FAILED
from dhl.analysis.units import UNITS
from dhl.config.methods import METHODS, TASKS, Method, label_of, table_number
from dhl.config.plugins import is_reference, load_plugin, noise_name
from dhl.config.schema import Config
from dhl.report import content, facts
from dhl.report.answers import read_answers
from dhl.report.deviations import read_deviations
from dhl.report.example_figures import example_sigma, read_examples
from dhl.report.figures import read_curves
from dhl.report.formats import FILTERS, format_value
from dhl.report.images import browse_images, share_images
from dhl.report.numbers import Tracer, main_table, read_numbers
from dhl.report.published_values import count_untranscribed, read_comparison
from dhl.report.sensitivity_figures import read_study
from dhl.report.sigma_figures import (
    PLOTTED,
    REFERENCE,
    overview_metrics,
    read_averages,
)
from dhl.report.strip import read_strip
from dhl.report.templates import data_url, environment, read_asset, webp_url
from dhl.report.texts import fill_in, read_yaml
from dhl.run.evaluations import studies
from dhl.run.failures import NothingToShow
from dhl.run.folder import RunFolder
from dhl.run.manifest import read_manifest
from dhl.run.outputs import FIGURE_PARTS, STUDY_FIGURES, figure_names
from dhl.run.results import result_path
from dhl.sigma import format_sigma

EXAMPLES = {name: part for name, part in FIGURE_PARTS.items() if name.startswith("example_")}
SCRIPTS = (
    "vendor/datatables.net/dataTables.min.js",
    "vendor/panzoom/panzoom.min.js",
    "assets/report.js",
)


def write_report(
    config: Config, folder: RunFolder, *, templates: str | Path, published: str | Path
) -> None:
    """Write the report of a run to `folder.report`.

    Parameters
    ----------
    config : Config
    folder : RunFolder
        With tables, claims, figures and manifest; benchmarks may be missing.
    templates : str or Path
        The folder with `templates/`, `assets/`, `vendor/` and the report's YAML files.
    published : str or Path
        The CSV file of published values.

    Raises
    ------
    UserError
        If a file that the report shows is missing or was edited by hand.
    """
    page = render_report(config, folder, templates=Path(templates), published=Path(published))
    with result_path(folder.report) as temporary:
        temporary.write_text(page, "utf-8")


def render_report(config: Config, folder: RunFolder, *, templates: Path, published: Path) -> str:
    """Return the report as HTML; the parameters are those of `write_report`."""
    claims, manifest = content.read_claims(folder), read_manifest(folder)
    file = read_claims_file(templates / "claims.yaml")
    numbers, tracer = read_numbers(config, folder), Tracer(config, folder, manifest)
    parts = browse_images(config, folder)
    figures, deviations = _figures(config, folder, templates), templates / "deviations.yaml"
    context = {
        "config": config,
        "manifest": manifest,
        "tested_on": facts.tested_on(config, folder),
        "at_sigma": facts.at_sigma(config),
        "trial": is_trial(config, file.limits.steps),
        "limits": [
            *facts.limits(config, file, claims, deviations),
            *facts.absent_classes(config, folder),
        ],
        "answers": read_answers(file, claims),
        "claims_file": file,
        "trained_task_networks": facts.trained_task_networks(config),
        "strip": read_strip(config, folder),
        "image_counts": content.stored_image_counts(config, folder),
        "css": Markup(read_asset(templates / "assets" / "report.css").decode()),
        "scripts": [Markup(read_asset(templates / name).decode()) for name in SCRIPTS],
        "claims": claims,
        "groups": content.group_claims(claims),
        # `dhl.analysis.tables` has escaped the text of its tables.
        "tables": {
            part: Markup(read_asset(folder.table(table_number(part), "html")).decode())
            for part in config.parts
        },
        "table_numbers": {part: table_number(part) for part in config.parts},
        "main_tables": {part: main_table(config, numbers, part) for part in config.parts},
        "per_image": content.per_image_psnr(folder),
        "numbers": numbers,
        "failed": [number for number in numbers if number["status"].startswith(FAILED)],
        "origins_of_numbers": tracer.origins(),
        "has_images": bool(parts),
        "browser": _as_json(share_images(parts)),
        "figures": {one["name"]: one for one in figures},
        "experiment_figures": {one["experiment"]: one for one in figures if one["experiment"]},
        "experiments": content.read_studies(config, folder),
        "origins_of_experiments": tracer.studies(),
        "methods": _methods(config),
        "noise_summary": load_plugin(config.noise).summary if is_reference(config.noise) else None,
        "noise_name": noise_name(config.noise),
        "used_methods": {name for part in config.parts for name in config.parts[part].methods},
        "joint_recipes": [
            (task, recipe)
            for task in TASKS
            if task in config.parts and (recipe := config.parts[task].training.joint)
        ],
        "published": read_comparison(published),
        "untranscribed": count_untranscribed(published),
        "networks": content.read_networks(config, folder),
        "deviations": read_deviations(config, deviations),
        "sources": _sources(config, templates),
        "photographs": _photographs(config),
        "costs": content.read_costs(config, folder),
    }
    return environment(templates, FILTERS).get_template("index.html.j2").render(context)


def _methods(config: Config) -> dict[str, Method]:
    """Return all methods; a plug-in is explained by its docstring."""
    plugins = {}
    for name, reference in config.plugin_methods.items():
        summary = load_plugin(reference).summary or "It has no docstring."
        plugins[name] = Method(label_of(name), f"Plug-in, {reference}: {summary}")
    return METHODS | plugins


def _as_json(value: Any) -> Markup:
    """Write JSON for a script element; escaped, so that no text can close the element."""
    return Markup(json.dumps(value, ensure_ascii=True).replace("<", "\\u003c"))


def _figures(config: Config, folder: RunFolder, templates: Path) -> list[dict[str, str | None]]:
    """Read the figures as data URLs, with captions, alternative texts and their numbers."""
    texts = read_yaml(templates / "figures.yaml")
    figures = []
    for name in figure_names(config.parts, studies(config)):
        values = {"confidence": f"{100 * config.statistics.confidence:g} %", "sigma": ""}
        permuted = any("joint-permuted" in config.parts[part].methods for part in config.parts)
        values["left_out"] = "Permuted labels, far below, are not drawn." if permuted else ""
        if name in STUDY_FIGURES and config.sensitivity:
            values["sigma"] = format_sigma(config.sensitivity.sigma)
        if name in EXAMPLES:
            values["sigma"] = format_sigma(example_sigma(config.parts[EXAMPLES[name]].sigmas))
        figures.append(
            {
                "name": name,
                "experiment": STUDY_FIGURES.get(name),
                "title": fill_in(texts[name]["title"], values),
                "caption": fill_in(texts[name]["caption"], values),
                "alt": _alternative_text(config, folder, name),
                "url": _picture(folder, name),
                "data": data_url("text/csv", read_asset(folder.figures / f"{name}.csv")),
            }
        )
    return figures


def _picture(folder: RunFolder, name: str) -> str:
    """Return a figure as a data URL: plots as SVG, examples in the smaller WebP."""
    if name not in EXAMPLES:
        return data_url("image/svg+xml", read_asset(folder.figures / f"{name}.svg"))
    with Image.open(io.BytesIO(read_asset(folder.figures / f"{name}.png"))) as image:
        return webp_url(image.convert("RGB"), quality=75, method=4)


def _alternative_text(config: Config, folder: RunFolder, name: str) -> str:
    """Describe a figure in words, from its data."""
    try:
        if name in EXAMPLES:
            examples = read_examples(config, folder, EXAMPLES[name])
            labels = ", ".join(label_of(method) for method in examples.methods)
            images = ", ".join(examples.ids)
            return f"{EXAMPLES[name]} at sigma {examples.sigma:g}, images {images}: {labels}."
        if name in STUDY_FIGURES:
            return _describe_study(config, folder, STUDY_FIGURES[name])
        if name == "overview":
            plotted = [_describe_plot(config, folder, *one) for one in overview_metrics(config)]
            return (
                f"{' '.join(plotted)} Below, the differences of denoisers to {label_of(REFERENCE)}."
            )
        if name in PLOTTED:
            return _describe_plot(config, folder, *PLOTTED[name])
        curves = read_curves(config, folder)
        count = sum(map(len, curves.values()))
        return f"Training loss over steps of {count} trainings: {', '.join(curves)}."
    except NothingToShow as nothing:
        return f"Nothing to show: {nothing}."


def _describe_plot(config: Config, folder: RunFolder, part: str, metric: str) -> str:
    """List the values of a metric over sigma."""
    lines = []
    for method, rows in read_averages(config, folder, part, metric).groupby("method", sort=False):
        points = [
            f"{format_value(value, metric)} at sigma {sigma:g}"
            for sigma, value in zip(rows["sigma"], rows["value"], strict=True)
        ]
        lines.append(f"{label_of(str(method))}: {', '.join(points)}")
    return f"{UNITS[metric].title} over sigma. {'; '.join(lines)}."


def _describe_study(config: Config, folder: RunFolder, name: str) -> str:
    """List the values of a study in the main metric of each part."""
    lines = []
    for row in content.study_rows(config, read_study(folder, name)):
        if row["metric"] == main_metric(row["part"]):
            value = format_value(row["value"], row["metric"])
            noise = format_sigma(row["sigma"])
            reader = f" with {row['reader_label']}" if row["reader_label"] else ""
            denoiser = content.variant(row)
            lines.append(f"{row['part']} at sigma {noise}, {denoiser}{reader}: {value}")
    return f"{'; '.join(lines)}."


def _sources(config: Config, templates: Path) -> list[dict[str, str]]:
    """List the sources, with licences, of the configured data."""
    texts = read_yaml(templates / "sources.yaml")
    names = [name for part in config.parts for name in config.parts[part].data.sources]
    methods = {method for part in config.parts for method in config.parts[part].methods}
    names += ["bm3d"] if methods & {"cbm3d-package", "cbm3d-2020"} else []
    return [source for name in dict.fromkeys(names) for source in texts[name]]


def _photographs(config: Config) -> list[Any]:
    """List the photographs of photo-digits, if the run uses it."""
    from dhl.data.photo_digits import PHOTOGRAPHS

    kinds = {config.parts[part].data.kind for part in config.parts}
    return list(PHOTOGRAPHS) if "photo-digits" in kinds else []
