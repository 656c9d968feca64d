"""What tables and claims read: the measurements of one part at one sigma, checked.

With several trainings a metric is the average over them, and a comparison of two methods pairs
trainings of the same number: `joint` and `separate-matched` of one share batches and noise.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dhl.analysis.scores import SCORES, confusion_margins
from dhl.analysis.statistics import bootstrap_means
from dhl.config.methods import METRICS
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.run.evaluations import evaluated_seeds, experiments, failed_experiments
from dhl.run.failures import failure_of
from dhl.run.folder import RunFolder
from dhl.run.results import IMAGE_COLUMNS, edited_by_hand, read_csv
from dhl.seeding import numpy_generator

Key = tuple[str, str]  # method, metric


@dataclass(frozen=True)
class Measured:
    """The measurements of one part at one sigma.

    Attributes
    ----------
    part : str
    sigma : float
        On the 0-255 scale.
    source : str
        The file of the first training, relative to the run's folder.
    image_ids : tuple of str
        Sorted; the images of every method.
    protocols : dict of str to str
        Per method that was measured; one without rows of any of its trainings is absent.
    features : dict of (method, metric) to ndarray of shape (n, s, k)
        Per image and training: the value itself (k = 1), or the margins of its confusion matrix.
        A method that is not trained has s = 1.
    failures : dict of str to str
        Why methods were not measured, where that is known.
    """

    part: str
    sigma: float
    source: str
    image_ids: tuple[str, ...]
    protocols: dict[str, str]
    features: dict[Key, np.ndarray]
    failures: dict[str, str] = field(default_factory=dict)

    def score(self, method: str, metric: str) -> float:
        """Return a metric over all images and trainings; NaN if it was not measured."""
        return float(self.seed_scores(method, metric).mean())

    def summary(self, method: str, metric: str) -> dict[str, float | int | str | None]:
        """Return a metric's columns in tables: value, images, trainings and their spread."""
        of_trainings = self.seed_scores(method, metric)
        return {
            "value": of_trainings.mean(),
            "n": len(self.image_ids),
            "seeds": len(of_trainings),
            "seed_std": of_trainings.std(ddof=1) if len(of_trainings) > 1 else np.nan,
            "protocol": self.protocols.get(method),
        }

    def seed_scores(self, method: str, metric: str) -> np.ndarray:
        """Return a metric over all images, of each training (s,); NaN if it was not measured."""
        if (method, metric) not in self.features:
            return np.array([np.nan])
        return SCORES[metric](self.features[method, metric].mean(axis=0))


def read_measured(
    config: Config, folder: RunFolder, part: str, sigma: float, names: Iterable[str] | None = None
) -> Measured:
    """Read the evaluation of one part at one sigma.

    Parameters
    ----------
    config : Config
    folder : RunFolder
    part : {"denoising", "classification", "segmentation"}
    sigma : float
        One of the part's sigmas.
    names : iterable of str, optional
        The experiments to read; by default the methods of the table.

    Raises
    ------
    UserError
        If a file is missing, or its rows cannot be what the program wrote for this configuration.
    """
    chosen = set(config.parts[part].methods if names is None else names)
    trainings: list[Measured] = []
    failures: dict[str, str] = {}
    for seed in evaluated_seeds(config, part, sigma):
        legal = tuple(one.name for one in experiments(config, part, sigma, seed))
        trainings.append(_read_training(folder, part, (sigma, seed), legal, chosen))
        failures = failed_experiments(config, folder, part, sigma, seed) | failures
    first = trainings[0]
    whole = [one for one in trainings if one.image_ids]  # the others failed
    for other in whole[1:]:
        if other.image_ids != whole[0].image_ids:
            source = folder.root / other.source
            raise edited_by_hand(source, f"other images than {whole[0].source}")
    trained = {one.name for one in experiments(config, part, sigma, seed=2)}
    features = {}
    for key in first.features:
        own = trainings if key[0] in trained else trainings[:1]
        if all(key in one.features for one in own):
            features[key] = np.stack([one.features[key] for one in own], axis=1)
    measured = {method for method, _ in features}
    protocols = {name: value for name, value in first.protocols.items() if name in measured}
    failures = {name: reason for name, reason in failures.items() if name in chosen}
    return replace(first, protocols=protocols, features=features, failures=failures)


def _read_training(
    folder: RunFolder,
    part: str,
    place: tuple[float, int],
    legal: tuple[str, ...],
    chosen: set[str],
) -> Measured:
    """Read the evaluation of one training; features have shape (n, k)."""
    sigma, seed = place
    path = folder.evaluation(part, sigma, seed)
    source = path.relative_to(folder.root).as_posix()
    if failure_of(path) is not None:
        return Measured(part, sigma, source, (), {}, {})
    frame = read_csv(path, IMAGE_COLUMNS)
    _check_rows(frame, path, part=part, sigma=sigma, methods=legal)
    ids = sorted(frame["image_id"].unique())
    features: dict[Key, np.ndarray] = {}
    protocols = {}
    for method, rows in frame[frame["method"].isin(chosen)].groupby("method", sort=False):
        if len(rows) != len(ids):
            raise edited_by_hand(
                path, f"{len(rows)} of {len(ids)} images for the method `{method}`"
            )
        rows = rows.set_index("image_id").loc[ids]
        protocols[method] = _only_value(rows, "protocol", path)
        for metric, values in _values(rows, part, path).items():
            features[method, metric] = values[:, None]
    if part == "segmentation" and protocols:
        features |= _read_margins(path.with_suffix(".npz"), tuple(protocols), ids)
    return Measured(part, sigma, source, tuple(ids), protocols, features)


def bootstrap_scores(config: Config, measured: Measured) -> dict[Key, np.ndarray]:
    """Resample the images and score every method on each resample, averaged over its trainings.

    Parameters
    ----------
    config : Config
        Gives the number of draws, and the base seed. The indices depend on it, the part and the
        number of images alone, so they are shared by all methods and all sigmas.
    measured : Measured

    Returns
    -------
    dict of (method, metric) to ndarray of shape (draws,)
    """
    if not measured.features:
        return {}
    flat = [features.reshape(len(features), -1) for features in measured.features.values()]
    means = bootstrap_means(
        np.concatenate(flat, axis=1),
        draws=config.statistics.bootstrap,
        generator=numpy_generator(config.base_seed, "bootstrap", measured.part),
    )
    blocks = np.split(means, np.cumsum([one.shape[1] for one in flat])[:-1], axis=1)
    scores = {}
    for (key, features), block in zip(measured.features.items(), blocks, strict=True):
        of_trainings = block.reshape(len(block), *features.shape[1:])
        scores[key] = SCORES[key[1]](of_trainings).mean(axis=-1)
    return scores


def _check_rows(
    frame: pd.DataFrame, path: Path, *, part: str, sigma: float, methods: tuple[str, ...]
) -> None:
    """Raise if rows are doubled or belong to another part, sigma or configuration."""
    for column, legal in (("part", (part,)), ("sigma", (sigma,)), ("method", methods)):
        strange = frame.loc[~frame[column].isin(legal), column]
        if len(strange):
            expected = ", ".join(map(str, legal))
            raise edited_by_hand(
                path, f"{column} `{strange.iloc[0]}` where there can be {expected}"
            )
    if frame["image_id"].isna().any():
        raise edited_by_hand(path, "a row without image_id")
    doubled = frame[frame.duplicated(["method", "image_id"])]
    if len(doubled):
        first = doubled.iloc[0]
        raise edited_by_hand(
            path, f"two rows of `{first['method']}` for the image `{first['image_id']}`"
        )


def _only_value(rows: pd.DataFrame, column: str, path: Path) -> str:
    """Return the one value that a column has for a method."""
    values = rows[column].unique()
    if len(values) != 1 or pd.isna(values[0]):
        raise edited_by_hand(path, f"several or no values of `{column}` for one method")
    return str(values[0])


def _values(rows: pd.DataFrame, part: str, path: Path) -> dict[str, np.ndarray]:
    """Return the checked per-image columns of one method; in a task, PSNR may be absent."""
    required = [metric for metric in METRICS[part] if metric != "miou"]
    optional = [] if "psnr" in required or rows["psnr"].isna().all() else ["psnr"]
    values = {metric: rows[metric].to_numpy(float) for metric in [*required, *optional]}
    method = rows["method"].iloc[0]
    for metric, column in values.items():
        if np.isnan(column).any():
            raise edited_by_hand(path, f"a missing `{metric}` of the method `{method}`")
        if np.isinf(column).any():
            raise UserError(
                f"a mean of `{metric}` needs finite values.",
                came=f"{path}: `{rows.index[np.isinf(column)][0]}` after `{method}` is infinite",
                do="take this image out of the test images: the output equals the truth exactly.",
            )
        if metric in ("top1", "top5") and not np.isin(column, (0, 1)).all():
            raise edited_by_hand(
                path, f"a `{metric}` of the method `{method}` that is neither 0 nor 1"
            )
    return values


def _read_margins(path: Path, methods: tuple[str, ...], ids: list[str]) -> dict[Key, np.ndarray]:
    """Read the confusion matrices of the methods, in the order of `ids`, and reduce them."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = [str(image_id) for image_id in arrays["image_ids"]]
            confusions = {method: arrays[f"confusion/{method}"] for method in methods}
    except FileNotFoundError:
        raise UserError(
            "a step finds the results of the steps before it.",
            came=f"no file {path}",
            do="delete the CSV file of the same name and run again.",
        ) from None
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise edited_by_hand(path, str(error)) from None
    if sorted(stored) != ids:
        raise edited_by_hand(path, "other image_ids than in the CSV file beside it")
    order = np.argsort(stored)
    for method, counts in confusions.items():
        shape = counts.shape
        if len(shape) != 3 or shape[0] != len(ids) or shape[1] != shape[2] or (counts < 0).any():
            raise edited_by_hand(
                path, f"`confusion/{method}` of shape {shape} for {len(ids)} images"
            )
    return {
        (method, "miou"): confusion_margins(counts)[order] for method, counts in confusions.items()
    }
