"""The studies beyond the paper as one tidy table."""

from __future__ import annotations

import pandas as pd

from dhl.analysis.measurements import Measurements, read_measurements
from dhl.analysis.statistics import infer
from dhl.analysis.tables import FAILED, NOT_MEASURED
from dhl.config.methods import METRICS, TASKS, label_of
from dhl.config.schema import Config
from dhl.run.evaluations import STUDIES, StudyPair, comparisons, studied
from dhl.run.folder import RunFolder
from dhl.run.model_graph import model_spec
from dhl.run.results import SENSITIVITY_COLUMNS, write_csv


def build_sensitivity(config: Config, folder: RunFolder) -> pd.DataFrame:
    """Make the tidy table of all experiments.

    Returns
    -------
    DataFrame with `dhl.run.results.SENSITIVITY_COLUMNS`
        A row per comparison and metric. `denoiser` and `reader` (the task network) are keys of
        models; the difference is `denoiser` - `reference`, with the same reader. Accuracy and mIoU
        are fractions, PSNR is in dB. The intervals `ci_*` (value) and `difference_*` have all
        sources of error. `seed_std` is the standard deviation of the value over trainings.

    Raises
    ------
    UserError
        If a result is missing or was edited by hand.
    """
    rows = []
    for part, sigma in studied(config):
        compared = comparisons(config, part, sigma)
        names = {one.name for pair in compared for one in (pair.experiment, pair.reference) if one}
        measurements = read_measurements(config, folder, part, sigma, names)
        for comparison in compared:
            # In a task, PSNR is measured too if the experiment denoises.
            fidelity = part in TASKS and comparison.experiment.source != "clean"
            for metric in (*(["psnr"] if fidelity else []), *METRICS[part]):
                rows.append(_row(config, comparison, metric, measurements))
    frame = pd.DataFrame(rows, columns=list(SENSITIVITY_COLUMNS))
    return frame.sort_values(
        "experiment", key=lambda names: names.map(STUDIES.index), kind="stable",
        ignore_index=True,
    )  # fmt: skip


def write_sensitivity(config: Config, folder: RunFolder) -> None:
    """Write the table of all experiments to `folder.sensitivity`."""
    write_csv(build_sensitivity(config, folder), folder.sensitivity, SENSITIVITY_COLUMNS)


def _row(config: Config, comparison: StudyPair, metric: str, measurements: Measurements) -> dict:
    """Return the row of a comparison in a metric."""
    experiment, reference = comparison.experiment, comparison.reference
    row: dict = {
        "experiment": comparison.study, "part": measurements.part, "sigma": measurements.sigma,
        "denoiser": experiment.source, "trained_sigma": comparison.trained_sigma,
        "task_weight": comparison.task_weight, "reader": experiment.task_network,
        "metric": metric, "reference": reference and reference.source, "n": 0, "seeds": 0,
    }  # fmt: skip
    key = experiment.name, metric
    if key not in measurements.features:
        why = measurements.failures.get(experiment.name)
        return row | {"status": f"{FAILED}: {why}" if why else NOT_MEASURED}
    confidence = config.statistics.confidence
    low, high = measurements.interval(*key, confidence=confidence)
    row |= measurements.summary(*key) | {"ci_low": low, "ci_high": high}
    if pd.isna(row["value"]):
        return row | {"n": 0, "status": NOT_MEASURED}
    if reference is None or (reference.name, metric) not in measurements.features:
        return row
    gap = measurements.estimate(*key) - measurements.estimate(reference.name, metric)
    found = infer(gap, measurements.units, confidence=confidence)
    return row | {
        "difference": found.value, "difference_low": found.low, "difference_high": found.high,
    }  # fmt: skip


def main_metric(part: str) -> str:
    """Return the main metric of a part: PSNR, top-1 accuracy or mIoU."""
    return METRICS[part][0]


def denoiser_label(config: Config, key: str) -> str:
    """Return the label of a denoiser; a guided one is named after its task network."""
    if "/" not in key:
        return label_of(key)
    if guide := model_spec(config, key).frozen:
        return f"Joint with {reader_label(config, guide)}"
    kind = key.partition("/")[0].partition("-")[0]
    return label_of("separate-matched" if kind == "matched" else kind)


def reader_label(config: Config, key: str) -> str:
    """Return the label of a task network: its architecture, or the function of a plug-in.

    If several networks of a task share it, their key in the configuration is added.
    """
    spec = model_spec(config, key)
    names = [network.name.rpartition(":")[2] for network in config.task_networks(spec.part)]
    name = spec.network.name.rpartition(":")[2]
    label = key.partition("/")[0].partition("-")[2]
    return f"{name} ({label})" if label and names.count(name) > 1 else name
