"""What a run tested, and what it cannot tell: the lines above the answers of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dhl.analysis.claims_file import ClaimsFile
from dhl.analysis.reach import is_trial
from dhl.analysis.tables import table_averages
from dhl.config.architectures import PUBLISHED
from dhl.config.methods import TASK_NETWORKS, TASKS, label_of, part_name
from dhl.config.plugins import noise_name
from dhl.config.rules import unequal_images
from dhl.config.schema import Config
from dhl.data.groups import GROUPS
from dhl.report.deviations import read_deviations
from dhl.run.failures import failure_of
from dhl.run.folder import RunFolder
from dhl.run.model_graph import all_models, model_spec
from dhl.run.model_keys import is_trained_here
from dhl.run.results import open_arrays
from dhl.sigma import format_sigma
from dhl.words import listed

_FEW = 12  # test images


def tested_on(config: Config, folder: RunFolder) -> list[str]:
    """Say what was tested on: data, noise, test images and trainings, one phrase each."""
    parts = list(config.parts)
    by_data: dict[str, list[str]] = {}
    for part in parts:
        by_data.setdefault(config.parts[part].data.name, []).append(part)
    data = [
        f"{name}: {listed(_test_images(config, folder, part) for part in group)} test images for "
        f"{listed(map(part_name, group))}"
        for name, group in by_data.items()
    ]
    grids = {config.parts[part].sigmas for part in parts}
    levels = ", ".join(map(format_sigma, min(grids)))
    if len(grids) > 1:
        ends = [format_sigma(end(map(end, grids))) for end in (min, max)]
        levels = " to ".join(ends)
    trainings = "one training of each network"
    if (config.seeds, config.task_seeds) != (1, 1):
        plural = "s" if config.seeds > 1 else ""
        trainings = f"{config.seeds} training{plural} of each denoiser"
        if config.task_seeds > 1 and (networks := trained_task_networks(config)):
            trainings += f", {config.task_seeds} of {networks}"
    if not _trains(config):
        trainings = "no network is trained"
    noise = f"{noise_name(config.noise)}, sigma {levels}"
    return [*data, noise, *_denoiser_with_weights(config), trainings]


def _test_images(config: Config, folder: RunFolder, part: str) -> str:
    """Print the number of test images behind the averages of a part's table."""
    count = table_averages(config, part, folder)["n"].max()
    return f"{count:,.0f}" if count > 0 else "no measured"


def _denoiser_with_weights(config: Config) -> list[str]:
    """Name the denoiser if it starts from given weights."""
    network, training = config.parts.denoising.denoiser, config.parts.denoising.training
    if network.weights is None:
        return []
    verb = "is" if training.separate is None else "starts from"
    whose = "as published" if network.weights == PUBLISHED["denoiser"] else "with given weights"
    return [f"Separate {verb} {network.name} {whose}"]


def _trains(config: Config) -> bool:
    """Tell whether a run trains a network."""
    return any(model_spec(config, key).recipe for key in all_models(config))


def at_sigma(config: Config) -> str:
    """Say at which sigmas the averages of the run are."""
    levels = {sigma for part in config.parts for sigma in config.parts[part].sigmas}
    return "means over sigma" if len(levels) > 1 else f"at sigma {format_sigma(levels.pop())}"


def limits(
    config: Config, file: ClaimsFile, claims: list[dict[str, Any]], deviations: Path
) -> list[tuple[str, str]]:
    """List what the run cannot tell, as pairs of a heading and a sentence.

    Parameters
    ----------
    config : Config
    file : ClaimsFile
        `report/claims.yaml`.
    claims : list of dict
        From `dhl.report.content.read_claims`.
    deviations : Path
        `report/deviations.yaml`.
    """
    found = []
    if is_trial(config, file.limits.steps):
        text = (
            f"No training has {file.limits.steps} steps. These numbers say nothing about methods."
        )
        found.append(("A test run", text))
    found += _few_units(claims, file.limits.units)
    if _trains(config) and (once := _trained_once(config)):
        found.append(("One training", f"{once} was trained once. Other trainings may differ."))
    return [
        *found,
        *_stand_ins(config),
        *_unequal_images(config),
        *_other_images(config, deviations),
    ]


def _stand_ins(config: Config) -> list[tuple[str, str]]:
    """Name the rows and curves whose network is another one than their label says."""
    used = dict.fromkeys(method for part in config.parts for method in config.parts[part].methods)
    return [
        (f"Another network than {label_of(method)}", f"{label_of(method)} is the network {name}.")
        for method in used
        if (name := config.stand_in(method))
    ]


def _trained_once(config: Config) -> str:
    """Name the networks that were trained once; empty if none was."""
    if config.seeds == 1:
        return "Each network" if config.task_seeds == 1 else "Each denoiser"
    return "" if config.task_seeds > 1 else trained_task_networks(config).capitalize()


def trained_task_networks(config: Config) -> str:
    """Name the task networks that the run trains; empty if it trains none."""
    trained = [f"the {TASK_NETWORKS[task]}" for task in TASKS if is_trained_here(config, task)]
    return "each task network" if len(trained) == len(TASKS) else "".join(trained)


def absent_classes(config: Config, folder: RunFolder) -> list[tuple[str, str]]:
    """Name the classes that no pixel of the test label maps has: mIoU has no value of them."""
    if "segmentation" not in config.parts:
        return []
    path = folder.arrays("segmentation", config.parts["segmentation"].sigmas[0])
    if failure_of(path) is not None:
        return []
    with open_arrays(path) as arrays:
        counts = arrays[next(name for name in arrays if name.startswith("confusion/"))]
    absent = np.flatnonzero(counts.sum(axis=(0, 2)) == 0)
    if not len(absent):
        return []
    names = listed(map(str, absent))
    return [
        ("Classes without test pixels", f"No test label map has class {names} of {len(counts[0])}.")
    ]


def _unequal_images(config: Config) -> list[tuple[str, str]]:
    """Name the tasks in which the retrained network saw other numbers of images than joint."""
    unequal = unequal_images(config)
    if not unequal:
        return []
    joint, retrained = label_of("joint"), label_of("retrained")
    counts = [f"{first:,} and {second:,} for {task}" for task, (first, second) in unequal.items()]
    return [
        ("Unequal training", f"{retrained} and {joint} saw unequal numbers of training images: "
         f"{listed(counts)}.")
    ]  # fmt: skip


def _few_units(claims: list[dict[str, Any]], least: int) -> list[tuple[str, str]]:
    """Name the units of the test images if there are few, or if images are cut from them."""
    rows = [row for row in claims if row["units"] > 0]
    if not rows:
        return []
    fewest = min(rows, key=lambda row: row["units"])
    count, name = int(fewest["units"]), f"{int(fewest['units'])} test {fewest['unit']}"
    if count < least:
        return [(name, "They are too few for an interval, so nothing is tested on them.")]
    if fewest["n"] > count:
        parts = dict.fromkeys(row["part"] for row in rows if row["unit"] == fewest["unit"])
        where = listed(map(part_name, parts))
        verb = "form" if fewest["unit"] == GROUPS else "come from"
        text = f"The test images of {where} {verb} them. Tests are over {fewest['unit']}."
        return [(name, text)]
    return [(name, "Only large differences can be told from chance.")] if count < _FEW else []


def _other_images(config: Config, deviations: Path) -> list[tuple[str, str]]:
    """Name data and noise that are not those of the paper."""
    entries = read_deviations(config, deviations)
    topics = {entry["topic"] for entry in entries}
    parts = [part for part in config.parts if f"{part.capitalize()} data" in topics]
    other = [*dict.fromkeys(config.parts[part].data.name for part in parts)]
    if "Noise" in topics:
        other.append(noise_name(config.noise))
    if not other:
        return []
    kind = listed([*(["data"] if parts else []), *(["noise"] if "Noise" in topics else [])])
    return [(f"Not the paper's {kind}", f"On {listed(other)}, compare directions, not numbers.")]
