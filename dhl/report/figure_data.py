"""The numbers of each figure, as a CSV table beside it."""

from __future__ import annotations

import pandas as pd

from dhl.config.schema import Config
from dhl.report.example_figures import read_examples
from dhl.report.figures import read_curves
from dhl.report.sensitivity_figures import read_study
from dhl.report.sigma_figures import PLOTTED, overview_metrics, read_differences
from dhl.run.evaluations import studies
from dhl.run.failures import NothingToShow
from dhl.run.folder import RunFolder
from dhl.run.outputs import FIGURE_PARTS, STUDY_FIGURES, figure_names
from dhl.run.results import SENSITIVITY_COLUMNS, write_csv

_OVER_SIGMA = (
    "part", "metric", "method", "sigma", "value", "ci_low", "ci_high",
    "difference", "difference_low", "difference_high",
)  # fmt: skip
COLUMNS = {
    "over_sigma": _OVER_SIGMA,
    "overview": _OVER_SIGMA,
    "example": ("image_id", "method", "psnr", "class", "probability", "truth"),
    **dict.fromkeys(STUDY_FIGURES, SENSITIVITY_COLUMNS),
    "training_curves": (
        "model", "sigma", "step", "loss", "reconstruction_loss", "task_loss", "feature_loss",
    ),
}  # fmt: skip


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
            return _over_sigma(config, folder, [PLOTTED[name]])
        if name == "overview":
            return _over_sigma(config, folder, overview_metrics(config))
        if name == "training_curves":
            return _curves(config, folder)
        if name in STUDY_FIGURES:
            return read_study(folder, STUDY_FIGURES[name])
        return _examples(config, folder, FIGURE_PARTS[name])
    except NothingToShow:
        return pd.DataFrame(columns=list(columns_of(name)))


def write_figure_data(config: Config, folder: RunFolder) -> None:
    """Write the numbers of every figure of the run as CSV to `folder.figures`."""
    for name in figure_names(config.parts, studies(config)):
        frame = figure_data(config, folder, name)
        write_csv(frame, folder.figures / f"{name}.csv", columns_of(name))


def _over_sigma(config: Config, folder: RunFolder, plotted: list[tuple[str, str]]) -> pd.DataFrame:
    """Return metrics of each method at each sigma, with the differences to the reference."""
    return pd.concat(
        [
            read_differences(config, folder, part, metric).assign(part=part)
            for part, metric in plotted
        ],
        ignore_index=True,
    )


def _curves(config: Config, folder: RunFolder) -> pd.DataFrame:
    curves = [
        curve.assign(model=family, sigma=sigma)
        for family, grid in read_curves(config, folder).items()
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
                name_of = examples.name_of
                guess = int(probability.argmax())
                row |= {"class": name_of(guess), "probability": float(probability[guess])}
                row["truth"] = name_of(int(examples.arrays[f"labels/{index}"]))
            rows.append(row)
    return pd.DataFrame(rows)
