"""The numbers of each figure, as a CSV table beside it."""

from __future__ import annotations

import pandas as pd

from dhl.config.schema import Config
from dhl.data.class_names import class_namer
from dhl.report.example_figures import read_examples
from dhl.report.figures import PLOTTED, REFERENCE, read_averages, read_curves
from dhl.report.sensitivity_figures import read_experiment
from dhl.run.evaluations import studies
from dhl.run.failures import NothingToShow
from dhl.run.folder import RunFolder
from dhl.run.outputs import EXPERIMENT_FIGURES, FIGURE_PARTS, figure_names
from dhl.run.results import SENSITIVITY_COLUMNS, write_csv

COLUMNS = {
    "over_sigma": ("method", "sigma", "value", "ci_low", "ci_high", "difference"),
    "example": ("image_id", "method", "psnr", "class", "probability", "truth"),
    **dict.fromkeys(EXPERIMENT_FIGURES, SENSITIVITY_COLUMNS),
    "training_curves": ("model", "sigma", "step", "loss", "reconstruction_loss", "task_loss"),
}


def columns_of(name: str) -> tuple[str, ...]:
    """Return the columns of a figure's data."""
    return next(columns for kind, columns in COLUMNS.items() if kind in name)


def figure_data(config: Config, folder: RunFolder, name: str) -> pd.DataFrame:
    """Return the numbers of a figure as a table with `columns_of(name)`.

    Values are fractions or dB, `difference` is to the separate denoiser, and sigma is on the 0-255
    scale. The table has no rows if the results of the figure failed.
    """
    try:
        if name in PLOTTED:
            return _over_sigma(config, folder, *PLOTTED[name])
        if name == "training_curves":
            return _curves(folder)
        if name in EXPERIMENT_FIGURES:
            return read_experiment(folder, EXPERIMENT_FIGURES[name])
        return _examples(config, folder, FIGURE_PARTS[name])
    except NothingToShow:
        return pd.DataFrame(columns=list(columns_of(name)))


def write_figure_data(config: Config, folder: RunFolder) -> None:
    """Write the numbers of every figure of the run as CSV to `folder.figures`."""
    for name in figure_names(config.parts, studies(config)):
        frame = figure_data(config, folder, name)
        write_csv(frame, folder.figures / f"{name}.csv", columns_of(name))


def _over_sigma(config: Config, folder: RunFolder, part: str, metric: str) -> pd.DataFrame:
    """Return a metric of each method at each sigma."""
    rows = read_averages(config, folder, part, metric)
    reference = rows[rows["method"] == REFERENCE].set_index("sigma")["value"]
    return rows.assign(difference=rows["value"] - rows["sigma"].map(reference))


def _curves(folder: RunFolder) -> pd.DataFrame:
    curves = [
        curve.assign(model=family, sigma=sigma)
        for family, grid in read_curves(folder).items()
        for sigma, curve in sorted(grid.items(), key=lambda item: item[0] or 0)
    ]
    return pd.concat(curves, ignore_index=True)


def _examples(config: Config, folder: RunFolder, part: str) -> pd.DataFrame:
    examples, rows = read_examples(config, folder, part), []
    for index, image_id in enumerate(examples.ids):
        for method in examples.methods:
            row = {"image_id": image_id, "method": method, "psnr": examples.psnr(method, index)}
            if part == "classification":
                probability = examples.arrays[f"probability/{method}/{index}"]
                name_of = class_namer(config, part)
                guess = int(probability.argmax())
                row |= {"class": name_of(guess), "probability": float(probability[guess])}
                row["truth"] = name_of(int(examples.arrays[f"labels/{index}"]))
            rows.append(row)
    return pd.DataFrame(rows)
