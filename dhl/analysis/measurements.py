"""The measurements of one part at one sigma, read from the evaluation and checked.

A metric is averaged over trainings. A comparison of two methods pairs the trainings of one seed, in
which `joint` and `separate-matched` see the same batches and noise, and those of one task network.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dhl.analysis.scores import BOUNDS, SCORES, known_features, known_margins, known_score
from dhl.analysis.statistics import Estimate, estimate, infer
from dhl.config.methods import FURTHER_METRICS, METRICS, base_of
from dhl.config.schema import Config
from dhl.data.groups import GROUPS, check_groups, group_names
from dhl.data.image_set import read_ids, read_origins
from dhl.errors import UserError
from dhl.run.evaluations import evaluated_draws, experiments, failed_experiments
from dhl.run.failures import failure_of
from dhl.run.folder import RunFolder
from dhl.run.results import edited_by_hand, open_arrays, read_image_rows
from dhl.seeding import FIRST, Draw

Key = tuple[str, str]  # method, metric

# Part and metric of which some images have no value: no labelled pixel, no gradient.
_WITH_GAPS = (("segmentation", "cross_entropy"), ("denoising", "gradient"))
_ROUNDING = 1e-6  # of a value at the end of its range


@dataclass(frozen=True)
class Measurements:
    """The measurements of one part at one sigma.

    Attributes
    ----------
    part : str
    sigma : float
        On the 0-255 scale.
    source : str
        The file of the first training, relative to the run's folder.
    image_ids : tuple of str
        Sorted; the same for every method.
    protocols : dict of str to str
        By method; a method without results in some training is absent.
    features : dict of (method, metric) to ndarray of shape (n, s, t, k)
        Per image, training of the denoiser and training of the task network: the value itself
        (k = 1), the value and whether the image has one (k = 2), or the margins of its confusion
        matrix. An untrained method has s = 1; without a task network, t = 1.
    failures : dict of str to str
        The reason of each failed method.
    units : dict of str to ndarray of shape (n,)
        From `read_units`.
    """

    part: str
    sigma: float
    source: str
    image_ids: tuple[str, ...]
    protocols: dict[str, str]
    features: dict[Key, np.ndarray]
    failures: dict[str, str] = field(default_factory=dict)
    units: dict[str, np.ndarray] = field(default_factory=dict)

    def score(self, method: str, metric: str) -> float:
        """Return a metric over all images and trainings; NaN if it was not measured."""
        return float(self.seed_scores(method, metric).mean())

    def summary(self, method: str, metric: str) -> dict[str, float | int | str | None]:
        """Return a metric's columns in tables: value, images, their units, trainings, spread."""
        of_trainings = self.seed_scores(method, metric)
        return {
            "value": of_trainings.mean(),
            "n": self._count(method, metric),
            **dict(zip(("unit", "units"), self.fewest_units, strict=True)),
            "seeds": len(of_trainings),
            "seed_std": of_trainings.std(ddof=1) if len(of_trainings) > 1 else np.nan,
            "protocol": self.protocols.get(method),
        }

    @property
    def fewest_units(self) -> tuple[str, int]:
        """The kind of unit of which there are fewest, and how many: `photographs` and 11."""
        counts = {kind: len(np.unique(of)) for kind, of in self.units.items()}
        if not counts:
            return "images", len(self.image_ids)
        kind = min(counts, key=counts.__getitem__)
        return kind, counts[kind]

    def _count(self, method: str, metric: str) -> int:
        """Return the number of images that have a value."""
        if SCORES[metric] is known_score and (method, metric) in self.features:
            return int(self.features[method, metric][:, 0, 0, 1].sum())
        return len(self.image_ids)

    def seed_scores(self, method: str, metric: str) -> np.ndarray:
        """Return a metric over all images per training, (s,); NaN if it was not measured."""
        if (method, metric) not in self.features:
            return np.array([np.nan])
        return SCORES[metric](self.features[method, metric].mean(axis=0)).mean(axis=1)

    def interval(self, method: str, metric: str, *, confidence: float) -> tuple[float, float]:
        """Return the interval of a metric with all sources of error, cut at its bounds.

        NaN if no error is known, as with a single image.
        """
        found = infer(self.estimate(method, metric), self.units, confidence=confidence)
        return tuple(np.clip((found.low, found.high), *BOUNDS[metric]).tolist())

    def estimate(self, method: str, metric: str) -> Estimate:
        """Return a metric with the contributions to its error; it must have been measured."""
        return estimate(self.features[method, metric], metric)


def read_measurements(
    config: Config, folder: RunFolder, part: str, sigma: float, names: Iterable[str] | None = None
) -> Measurements:
    """Read the evaluations of one part at one sigma.

    `names` are the experiments of the studies to read, all with the first training of the task
    networks; by default the methods of the table are read, with all trainings.

    Raises
    ------
    UserError
        If a file is missing or does not fit the configuration.
    """
    chosen = set(config.parts[part].methods if names is None else names)
    trainings: dict[Draw, Measurements] = {}
    failures: dict[str, str] = {}
    if names is not None:
        config = config.model_copy(update={"task_seeds": 1})
    for draw in evaluated_draws(config, part, sigma):
        legal = tuple(one.name for one in experiments(config, part, sigma, draw))
        path = folder.evaluation(part, sigma, draw)
        source = path.relative_to(folder.root).as_posix()
        empty = Measurements(part, sigma, source, (), {}, {})
        failed = failure_of(path) is not None
        trainings[draw] = empty if failed else _read_training(empty, path, legal, chosen)
        failures = failed_experiments(config, folder, part, sigma, draw) | failures
    first = trainings[FIRST]
    complete = [one for one in trainings.values() if one.image_ids]  # the others failed
    for other in complete[1:]:
        if other.image_ids != complete[0].image_ids:
            came = f"other images than {complete[0].source}"
            raise edited_by_hand(folder.root / other.source, came)
    counts = {one.name: one.draws(config) for one in experiments(config, part, sigma)}
    features = {
        key: array
        for key in first.features
        if (array := _over_draws(trainings, key, counts[key[0]])) is not None
    }
    measurements = {method for method, _ in features}
    protocols = {name: value for name, value in first.protocols.items() if name in measurements}
    failures = {name: reason for name, reason in failures.items() if name in chosen}
    units = read_units(config, folder, part, complete[0].image_ids) if complete else {}
    return replace(first, protocols=protocols, features=features, failures=failures, units=units)


def _over_draws(trainings: dict[Draw, Measurements], key: Key, counts: Draw) -> np.ndarray | None:
    """Stack the features (n, k) of all draws to (n, s, t, k); None if a draw lacks them."""
    grid = [
        [trainings[Draw(task, seed)].features.get(key) for task in range(1, counts.task + 1)]
        for seed in range(1, counts.seed + 1)
    ]
    rows = [[one for one in row if one is not None] for row in grid]
    if sum(map(len, rows)) < counts.seed * counts.task:
        return None
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def _read_training(
    empty: Measurements, path: Path, legal: tuple[str, ...], chosen: set[str]
) -> Measurements:
    """Read the evaluation of one training; features have shape (n, k)."""
    frame = read_image_rows(path)
    _check_rows(frame, path, part=empty.part, sigma=empty.sigma, methods=legal)
    ids = sorted(frame["image_id"].unique())
    features: dict[Key, np.ndarray] = {}
    protocols = {}
    for method, rows in frame[frame["method"].isin(chosen)].groupby("method", sort=False):
        if len(rows) != len(ids):
            came = f"{len(rows)} of {len(ids)} images for the method `{method}`"
            raise edited_by_hand(path, came)
        rows = rows.set_index("image_id").loc[ids]
        if rows["protocol"].nunique(dropna=False) != 1 or rows["protocol"].isna().any():
            raise edited_by_hand(path, "several or no values of `protocol` for one method")
        protocols[method] = str(rows["protocol"].iloc[0])
        for metric, values in _values(rows, empty.part, path).items():
            with_gaps = SCORES[metric] is known_score
            features[method, metric] = known_features(values) if with_gaps else values[:, None]
    if empty.part == "segmentation" and protocols:
        features |= _read_margins(path.with_suffix(".npz"), tuple(protocols), ids)
        _check_labelled(features, path)
    return replace(empty, image_ids=tuple(ids), protocols=protocols, features=features)


def read_units(
    config: Config, folder: RunFolder, part: str, ids: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return what each test image is cut from or made of, by kind, such as `photographs`.

    It is the group by the configuration's pattern, or else what the data have recorded. Without
    both, each image is a unit of its own.
    """
    pattern = getattr(config.parts[part].data, "groups", None)
    if pattern is not None:
        names = {"train": read_ids(folder.data(part), "train"), "test": ids}
        check_groups(part, names, pattern=pattern)  # it may be newer than the data
        return {GROUPS: np.array(group_names(ids, pattern))}
    origins = read_origins(folder.data(part), "test")
    return {kind: np.array([of[name] for name in ids]) for kind, of in origins.items()} or {
        "images": np.array(ids)
    }


def _check_rows(
    frame: pd.DataFrame, path: Path, *, part: str, sigma: float, methods: tuple[str, ...]
) -> None:
    """Raise if rows are duplicated or belong to another part, sigma or configuration."""
    for column, legal in (("part", (part,)), ("sigma", (sigma,)), ("method", methods)):
        strange = frame.loc[~frame[column].isin(legal), column]
        if len(strange):
            expected = ", ".join(map(str, legal))
            raise edited_by_hand(path, f"{column} `{strange.iloc[0]}` instead of {expected}")
    if frame["image_id"].isna().any():
        raise edited_by_hand(path, "a row without image_id")
    doubled = frame[frame.duplicated(["method", "image_id"])]
    if len(doubled):
        method, image_id = doubled[["method", "image_id"]].iloc[0]
        raise edited_by_hand(path, f"two rows of `{method}` for the image `{image_id}`")


def _values(rows: pd.DataFrame, part: str, path: Path) -> dict[str, np.ndarray]:
    """Check and return the per-image metrics of one method.

    PSNR may be absent in a task, and the metrics that an older version did not measure. A task's
    PSNR that is infinite for an image, such as a black one, has no mean and is left out.
    """
    part = base_of(part)
    if part != "denoising" and np.isinf(rows["psnr"]).any():
        rows = rows.assign(psnr=np.nan)
    optional = FURTHER_METRICS if part == "denoising" else (*FURTHER_METRICS, "psnr")
    absent = {metric for metric in optional if rows[metric].isna().all()} | {"miou"}
    metrics = [one for one in dict.fromkeys((*METRICS[part], "psnr")) if one not in absent]
    values = {metric: rows[metric].to_numpy(float) for metric in metrics}
    method = rows["method"].iloc[0]
    for metric, column in values.items():
        if np.isnan(column).any() and (part, metric) not in _WITH_GAPS:
            raise edited_by_hand(path, f"a missing `{metric}` of the method `{method}`")
        if np.isinf(column).any():
            raise UserError(
                f"A `{metric}` in {path} is infinite, so it has no mean.",
                came=f"{path}: `{rows.index[np.isinf(column)][0]}` after `{method}` is infinite",
                do="remove this image from the test images: the output equals the clean image."
                if metric == "psnr"
                else "use a task network whose outputs are finite.",
            )
        low, high = BOUNDS[metric]
        if ((column < low - _ROUNDING) | (column > high + _ROUNDING)).any():
            came = f"a `{metric}` of the method `{method}` outside {low:g} to {high:g}"
            raise edited_by_hand(path, came)
        if metric in ("top1", "top5") and not np.isin(column, (0, 1)).all():
            came = f"a `{metric}` of the method `{method}` that is neither 0 nor 1"
            raise edited_by_hand(path, came)
    return values


def _read_margins(path: Path, methods: tuple[str, ...], ids: list[str]) -> dict[Key, np.ndarray]:
    """Read the confusion matrices of the methods, in the order of `ids`, and reduce them.

    The matrices of one method at a time are in memory.
    """
    margins: dict[Key, np.ndarray] = {}
    truth = None
    try:
        with open_arrays(path) as arrays:
            stored = [str(image_id) for image_id in arrays["image_ids"]]
            if sorted(stored) != ids:
                raise edited_by_hand(path, "other image_ids than in the CSV file beside it")
            order = np.argsort(stored)
            for method in methods:
                counts = arrays[f"confusion/{method}"]
                _check_confusions(counts, path, method=method, images=len(ids))
                pixels = counts.sum(axis=2)
                truth = pixels if truth is None else truth
                if not np.array_equal(pixels, truth):
                    came = f"other pixels in `confusion/{method}` than in the first"
                    raise edited_by_hand(path, came)
                margins[method, "miou"] = known_margins(counts)[order]
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise edited_by_hand(path, str(error)) from None
    return margins


def _check_confusions(counts: np.ndarray, path: Path, *, method: str, images: int) -> None:
    """Raise unless the confusion matrices of a method are counts (images, C, C)."""
    shape = counts.shape
    square = len(shape) == 3 and shape[0] == images and shape[1] == shape[2]
    if not square or counts.dtype.kind not in "iu" or (counts < 0).any():
        came = f"`confusion/{method}` of shape {shape} and {counts.dtype} for {images} images"
        raise edited_by_hand(path, came)


def _check_labelled(features: dict[Key, np.ndarray], path: Path) -> None:
    """Raise unless exactly the images with labelled pixels have a cross-entropy."""
    for (method, metric), values in features.items():
        if metric == "cross_entropy":
            labelled = np.split(features[method, "miou"], 3, axis=-1)[1].any(axis=-1)
            if not np.array_equal(values[..., 1] > 0, labelled):
                came = f"a cross-entropy of `{method}` without labelled pixels, or the reverse"
                raise edited_by_hand(path, came)
