"""The evaluation of a part at a sigma: one row per image, and arrays for pooled metrics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from dhl.config.methods import is_baseline
from dhl.config.schema import Config
from dhl.data.image_set import ImageSet, load_split
from dhl.data.noise import recorded_noisy_image
from dhl.errors import UserError
from dhl.evaluation.metrics import clean_reference, confusion_matrix, finish, psnr, ssim, top_k
from dhl.evaluation.untrained import DenoisedImages
from dhl.files import atomic_path
from dhl.models import checkpoint
from dhl.progress import Progress
from dhl.run.evaluations import Experiment, experiments, failed_experiments
from dhl.run.fingerprints import fingerprint
from dhl.run.folder import RunFolder
from dhl.run.results import IMAGE_COLUMNS, NOISE_COLUMNS, read_csv, write_csv
from dhl.run.shards import shards
from dhl.training.device import reserved_device

EXAMPLES = {"denoising": 4, "classification": 12, "segmentation": 6}


@dataclass(frozen=True)
class Batch:
    """Neighbours of one size, read once for all methods.

    Attributes
    ----------
    place : slice
        Where they stand in the data set.
    ids : sequence of str
    clean : ndarray of uint8, shape (N, H, W, 3)
    noisy : ndarray of float32, shape (N, H, W, 3), on the [0, 1] scale, unclipped
    targets : ndarray or None
        Classes (N,), or label maps (N, H, W).
    """

    place: slice
    ids: Sequence[str]
    clean: np.ndarray
    noisy: np.ndarray
    targets: np.ndarray | None


def evaluate(config: Config, part: str, sigma: float, folder: RunFolder, *, seed: int = 1) -> None:
    """Evaluate every experiment of a part at a sigma, and write rows and arrays.

    Parameters
    ----------
    config : Config
    part : {"denoising", "classification", "segmentation"}
    sigma : float
        On the 0-255 scale.
    folder : RunFolder
        Must hold data, noise, the untrained methods' images and the models.
    seed : int
        Number of the training, up to `config.seeds`. Untrained experiments are evaluated once, with
        seed 1, which also keeps example images of the methods.

    Raises
    ------
    UserError
        If all experiments failed, a model is of another configuration, the noise is not the
        recorded one, or a batch does not fit into the device's memory.
    """
    test_images = read_noisy_images(config, folder, part, sigma)
    bench = Bench(config, part, sigma, folder, seed=seed, ids=test_images.clean.ids)
    examples = EXAMPLES[part] if seed == 1 else 0
    arrays = Arrays(test_images, config.parts[part].methods, examples=examples)
    frames, protocol = [], config.evaluation.protocol
    title = f"{part}, sigma {sigma:g}"
    with reserved_device(config) as device, Progress(title, len(test_images.clean)) as progress:
        bench.move(device)
        for batch in test_images.batches(config.evaluation.batch):
            for output in bench.outputs(batch):
                frames.append(_measure(output, batch, protocol))
                arrays.add(output, batch)
            progress.advance(len(batch.ids))
    path = folder.evaluation(part, sigma, seed)
    with atomic_path(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays.content())
    order = [one.name for one in bench.experiments]
    write_csv(_rows(config, test_images, frames, order), path, IMAGE_COLUMNS)


def _rows(
    config: Config, test_images: NoisyImages, frames: list[pd.DataFrame], order: list[str]
) -> pd.DataFrame:
    """Join the measurements of all batches, experiment by experiment."""
    frame = pd.concat(frames, ignore_index=True).assign(
        part=test_images.part, sigma=test_images.sigma, protocol=config.evaluation.protocol,
        dataset=config.parts[test_images.part].data.name,
    )  # fmt: skip
    seeds = dict(zip(test_images.noise["image_id"], test_images.noise["seed"], strict=True))
    frame["noise_seed"] = frame["image_id"].map(seeds)
    return frame.sort_values("method", key=lambda names: names.map(order.index), kind="stable")


@dataclass(frozen=True)
class NoisyImages:
    """The clean test images of a part, and the record of their noise at a sigma.

    `model` is the noise's: `gaussian`, or a plug-in.
    """

    part: str
    sigma: float
    clean: ImageSet
    noise: pd.DataFrame
    model: str

    def batches(self, size: int) -> Iterator[Batch]:
        """Read the images batch by batch, with their recorded noise."""
        records = list(self.noise.itertuples())
        clean = self.clean
        for place in clean.batches(size):
            images = np.stack(list(clean.images[place]))
            noisy = [
                recorded_noisy_image(image, sigma=self.sigma, record=record, model=self.model)
                for image, record in zip(images, records[place], strict=True)
            ]
            targets = None if clean.targets is None else np.asarray(clean.targets[place])
            yield Batch(place, clean.ids[place], images, np.stack(noisy), targets)


def read_noisy_images(config: Config, folder: RunFolder, part: str, sigma: float) -> NoisyImages:
    """Read what a part is tested on at a sigma."""
    clean = load_split(folder.data(part), "test")
    noise = read_csv(folder.noise(part, sigma), NOISE_COLUMNS)
    return NoisyImages(part, sigma, clean, noise, config.noise)


@dataclass(frozen=True)
class Output:
    """What an experiment made of a batch.

    Attributes
    ----------
    experiment : Experiment
    images : ndarray of float32, shape (N, H, W, 3), on the [0, 1] scale
        The input of the task network, neither clipped nor rounded.
    logits : ndarray or None
        Of the task network, classes second.
    """

    experiment: Experiment
    images: np.ndarray
    logits: np.ndarray | None


class Bench:
    """The experiments of an evaluation, with their models and the untrained methods' images."""

    def __init__(
        self,
        config: Config,
        part: str,
        sigma: float,
        folder: RunFolder,
        *,
        seed: int,
        ids: Sequence[str],
    ):
        self.seed, self.device = seed, torch.device("cpu")
        failed = failed_experiments(config, folder, part, sigma, seed)
        planned = experiments(config, part, sigma, seed)
        self.experiments = [one for one in planned if one.name not in failed]
        if not self.experiments:
            raise UserError(
                f"Every method of {part} at sigma {sigma:g} failed.",
                came="; ".join(f"{name}: {why}" for name, why in failed.items()),
                do="correct the cause, and run the same command again.",
            )
        keys = dict.fromkeys(key for one in self.experiments for key in one.models(seed))
        self.networks = {key: load_network(config, folder, key) for key in keys}
        self.denoised = {}
        parts = shards(config.parts[part].shards)
        for source in dict.fromkeys(one.source for one in self.experiments):
            if "/" not in source and is_baseline(source):
                files = (folder.baseline(part, source, sigma, shard) for shard in parts)
                self.denoised[source] = DenoisedImages(files, ids)

    def move(self, device: torch.device) -> None:
        """Move the networks to a device."""
        self.device = device
        for network in self.networks.values():
            network.to(device)

    def outputs(self, batch: Batch) -> Iterator[Output]:
        """Yield the output of each experiment; a denoiser runs once for all task networks."""
        by_source = sorted(self.experiments, key=lambda one: one.source)
        for source, group in itertools.groupby(by_source, lambda one: one.source):
            images = self._images(source, batch)
            for one in group:
                reader = one.task_network_of(self.seed)
                logits = forward(self.networks[reader], images, self.device) if reader else None
                yield Output(one, images, logits)

    def _images(self, source: str, batch: Batch) -> np.ndarray:
        """Return the images (N, H, W, 3) of a source."""
        if source == "clean":
            return batch.clean.astype(np.float32) / 255
        if source == "noisy":
            return batch.noisy
        if source in self.denoised:
            return np.stack([self.denoised[source][name] for name in batch.ids])
        key = next(one for one in self.experiments if one.source == source).source_of(self.seed)
        return forward(self.networks[key], batch.noisy, self.device).transpose(0, 2, 3, 1)


def load_network(config: Config, folder: RunFolder, key: str) -> nn.Module:
    """Load a model of this configuration, laid out for convolutions."""
    network, _ = checkpoint.load_model(folder.model(key), fingerprint=fingerprint(config, key))
    return network.to(memory_format=torch.channels_last)


@torch.inference_mode()
def forward(network: Callable, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Run a network in float32 on images (N, H, W, 3); channels come first in what it returns.

    Raises
    ------
    UserError
        If the batch does not fit the device's memory.
    """
    try:
        batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        return network(batch).float().cpu().numpy()
    except torch.OutOfMemoryError as error:
        raise _too_large(images.shape, error) from None


def _too_large(shape: tuple[int, ...], error: torch.OutOfMemoryError) -> UserError:
    """Say that a batch does not fit the device, and what would."""
    count, height, width = shape[:3]
    half = f"set `evaluation.batch` to {count // 2}, which changes no result"
    return UserError(
        "a batch of images fits the device's memory.",
        came=f"{count} images of {width} x {height} px: {str(error).splitlines()[0]}",
        do=f"{half if count > 1 else 'use a device with more memory, or `device: cpu`'}.",
    )


def _measure(output: Output, batch: Batch, protocol: str) -> pd.DataFrame:
    """Measure one output: a row an image."""
    columns: dict[str, Any] = {"method": output.experiment.name, "image_id": batch.ids}
    if output.experiment.has_psnr:
        truth = clean_reference(batch.clean, protocol=protocol)
        finished = finish(output.images, protocol=protocol)
        columns["psnr"] = psnr(clean=truth, denoised=finished)
        if batch.targets is None:
            columns["ssim"] = [
                ssim(clean=one, denoised=other) for one, other in zip(truth, finished, strict=True)
            ]
    if output.logits is not None and batch.targets is not None and batch.targets.ndim == 1:
        for k in (1, 5):
            right = top_k(logits=output.logits, target=batch.targets, k=k)
            columns[f"top{k}"] = right.astype(float)
    return pd.DataFrame(columns)


class Arrays:
    """Collects what rows cannot hold: confusion matrices, and examples for the figures."""

    def __init__(self, test_images: NoisyImages, methods: Sequence[str], *, examples: int):
        self.part, self.clean, self.methods = test_images.part, test_images.clean, methods
        count = min(examples, len(self.clean))
        # Spread over the set, so that the examples are not of one photograph.
        self.examples = np.linspace(0, len(self.clean) - 1, count).astype(int).tolist()
        self.arrays: dict[str, Any] = {}
        self.confusions: dict[str, list[np.ndarray]] = {}

    def add(self, output: Output, batch: Batch) -> None:
        """Add one batch of one experiment."""
        method, images, logits = output.experiment.name, output.images, output.logits
        predicted = None
        if self.part == "segmentation" and logits is not None and batch.targets is not None:
            predicted = logits.argmax(1).astype(np.uint8)
            self.confusions.setdefault(method, []).extend(
                confusion_matrix(target=target, predicted=one, classes=logits.shape[1])
                for target, one in zip(batch.targets, predicted, strict=True)
            )
        for number, index in enumerate(self.examples if method in self.methods else ()):
            if not batch.place.start <= index < batch.place.stop:
                continue
            here = index - batch.place.start
            # In float64, as `finish` has it, so that the picture is the one that was measured.
            levels = np.clip(images[here], 0, 1).astype(np.float64) * 255
            shown = np.rint(levels).astype(np.uint8)
            self.arrays[f"image/{method}/{number}"] = shown
            if predicted is not None:
                self.arrays[f"prediction/{method}/{number}"] = predicted[here]
            elif logits is not None:
                exponentials = np.exp(logits[here] - logits[here].max())
                self.arrays[f"probability/{method}/{number}"] = exponentials / exponentials.sum()

    def content(self) -> dict[str, Any]:
        """Return all arrays by name, as figures and measurements read them."""
        content = {
            "image_ids": np.array(self.clean.ids),
            "example_ids": np.array([self.clean.ids[index] for index in self.examples]),
            **self.arrays,
        }
        for number, index in enumerate(self.examples):
            content[f"clean/{number}"] = self.clean.images[index]
            if self.clean.targets is not None:
                content[f"labels/{number}"] = self.clean.targets[index]
        for method, matrices in self.confusions.items():
            content[f"confusion/{method}"] = np.stack(matrices)
        return content
