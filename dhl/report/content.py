"""The content of the report, read from a run's files, without layout and HTML."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from dhl.analysis.run_results import check_verdicts
from dhl.analysis.sensitivity import denoiser_label, reader_label
from dhl.config.methods import model_of
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.run.evaluations import studies
from dhl.run.failures import failure_of
from dhl.run.folder import RunFolder
from dhl.run.model_keys import sigma_key
from dhl.run.outputs import complete_run
from dhl.run.results import (
    AVERAGE,
    CLAIM_COLUMNS,
    SENSITIVITY_COLUMNS,
    SKIPPED_COLUMNS,
    TABLE_COLUMNS,
    TRAINING_COLUMNS,
    open_arrays,
    read_benchmarks,
    read_csv,
)
from dhl.sigma import format_sigma

ORIGINS = ("paper", "control", "beyond", "own")
_SIZE = ["parameters", "receptive_field"]


class ImageCounts(NamedTuple):
    """Numbers of images of a part for training and test, and what was left out of its folders."""

    train: int
    test: int
    damaged: int
    left_out: list[str]  # names that are no images


def stored_image_counts(config: Config, folder: RunFolder) -> dict[str, ImageCounts]:
    """Count the images of each part, except embedded data, whose numbers are configured."""
    counts = {}
    for part in config.parts:
        if config.parts[part].data.kind == "photo-digits":
            continue
        with open_arrays(folder.data(part)) as arrays:
            splits = [f"{split}/ids" for split in ("train", "test")]
            train, test = (len(arrays[ids]) if ids in arrays else 0 for ids in splits)
            left_out = arrays["left_out"].tolist() if "left_out" in arrays else []
        damaged = len(read_csv(folder.skipped(part), SKIPPED_COLUMNS))
        counts[part] = ImageCounts(train, test, damaged, left_out)
    return counts


def read_claims(folder: RunFolder) -> list[dict[str, Any]]:
    """Read the verdicts.

    Returns
    -------
    list of dict
        Per claim, the row over all sigmas, keyed by `dhl.run.results.CLAIM_COLUMNS`; `rows` has the
        row of each sigma.
    """
    frame = read_csv(folder.claims, CLAIM_COLUMNS)
    check_verdicts(frame, folder.claims)
    texts = ["over", "reason", "unit", "largest_unit"]
    frame[texts] = frame[texts].astype(object).fillna("")
    claims = []
    for name, rows in frame.groupby("claim", sort=False):
        summaries = rows[rows["sigma"].isna()].to_dict("records")
        if len(summaries) != 1:
            raise UserError(
                f"The claim {name} does not have one verdict over all sigmas.",
                came=f"{len(summaries)} rows with an empty sigma in {folder.claims}",
                do=f"delete the file and run {complete_run(folder.root)}.",
            )
        claims.append(summaries[0] | {"rows": rows[rows["sigma"].notna()].to_dict("records")})
    return claims


def read_studies(config: Config, folder: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """Read the rows of each study beyond the paper, with the labels of networks."""
    names = studies(config)
    if not names:
        return {}
    frame = read_csv(folder.sensitivity, SENSITIVITY_COLUMNS)
    return {name: study_rows(config, frame[frame["experiment"] == name]) for name in names}


def study_rows(config: Config, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows of studies with `denoiser_label`, `reference_label` and `reader_label`."""
    labels = {"denoiser": denoiser_label, "reference": denoiser_label, "reader": reader_label}
    rows = frame.to_dict("records")
    for row in rows:
        for side, label in labels.items():
            row[f"{side}_label"] = label(config, row[side]) if pd.notna(row[side]) else ""
    return rows


def variant(row: dict[str, Any]) -> str:
    """Return the label of a row's denoiser, with the setting that its experiment varies."""
    if row["experiment"] == "task-weight":
        return f"{row['denoiser_label']}, weight {row['task_weight']:g}"
    if row["experiment"] == "sigma-mismatch":
        return f"{row['denoiser_label']}, trained for sigma {format_sigma(row['trained_sigma'])}"
    return row["denoiser_label"]


def group_claims(claims: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Group the claims by their origin, without the origins that no claim has."""
    groups = {origin: [one for one in claims if one["origin"] == origin] for origin in ORIGINS}
    return {origin: group for origin, group in groups.items() if group}


def per_image_psnr(folder: RunFolder) -> dict[float, pd.DataFrame]:
    """Read Table 1 image by image.

    Returns
    -------
    dict of float to DataFrame
        Per sigma: rows are images, columns are methods, values in dB.
    """
    table = read_csv(folder.table(1), TABLE_COLUMNS)
    rows = table[(table["metric"] == "psnr") & (table["image_id"] != AVERAGE)]
    methods = list(dict.fromkeys(rows["method"]))
    return {
        float(sigma): group.pivot(index="image_id", columns="method", values="value")[methods]
        for sigma, group in rows.groupby("sigma")
    }


def read_networks(config: Config, folder: RunFolder) -> list[dict[str, Any]]:
    """Read the sizes of the denoisers of Table 1, of their first trainings.

    Returns
    -------
    list of dict
        Per size: its `methods`, number of `parameters`, and `receptive_field` in px, NaN if it is
        unknown or unlimited.
    """
    part, rows = config.parts.denoising, []
    for method in part.methods:
        if (model := model_of(method, "denoising")) is None:
            continue
        keys = (sigma_key(model, sigma) for sigma in part.sigmas)
        key = next((one for one in keys if failure_of(folder.training(one)) is None), None)
        if key is not None:
            rows.append({"methods": method, **_size(folder, key)})
    sizes = pd.DataFrame(rows, columns=["methods", *_SIZE]).groupby(_SIZE, sort=False, dropna=False)
    return sizes["methods"].agg(list).reset_index().to_dict("records")


def _size(folder: RunFolder, key: str) -> dict[str, Any]:
    """Read the size of a denoiser from its training curve, or from its model if it has none."""
    curve = read_csv(folder.training(key), TRAINING_COLUMNS)
    if len(curve):
        return curve[_SIZE].iloc[-1].to_dict()
    # Published weights were not trained.
    from dhl.models.checkpoint import load_model
    from dhl.models.receptive_field import network_size

    network, content = load_model(folder.model(key))
    return network_size(network, content["role"])


def read_costs(config: Config, folder: RunFolder) -> list[dict[str, Any]]:
    """Sum Snakemake's benchmark files by rule.

    Returns
    -------
    list of dict
        `rule`, number of `jobs`, `seconds` of all jobs and of the `longest`, and `peak_mib`, the
        highest memory in MiB; empty without benchmark files.
    """
    costs = read_benchmarks(config, folder).groupby("rule").agg(
        jobs=("s", "size"), seconds=("s", "sum"), longest=("s", "max"), peak_mib=("max_rss", "max")
    )  # fmt: skip
    costs = costs.sort_values("seconds", ascending=False, kind="stable")
    return costs.reset_index().to_dict("records")
