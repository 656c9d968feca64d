"""A method over a data set at a sigma: one row an image, and arrays for pooled metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
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
from dhl.run.evaluated import evaluated_models, failed_methods, measured_methods
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
    """Measure every method of a part at a sigma and write rows and arrays.

    Parameters
    ----------
    config : Config
    part : {"denoising", "classification", "segmentation"}
    sigma : float
        On the 0-255 scale.
    folder : RunFolder
        Must hold data, noise, the untrained methods' images and the models.
    seed : int
        Number of the training, up to `config.seeds`. After the first, what is not trained is not
        measured again, and no example images are kept.

    Raises
    ------
    UserError
        If a model is of another configuration, the noise is not the recorded one, or a batch does
        not fit the device's memory.
    """
    test_images = read_noisy_images(config, folder, part, sigma)
    bench = MethodBench(config, part, sigma, folder, seed=seed, ids=test_images.clean.ids)
    examples = EXAMPLES[part] if seed == 1 else 0
    measure_all(config, test_images, bench, folder.evaluation(part, sigma, seed), examples=examples)


@dataclass(frozen=True)
class NoisyImages:
    """The clean test images of a part, and the record of their noise at a sigma.

    `model` is the noise's: `gaussian`, or the user's own code.
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
            images = np.stack(clean.images[place])
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
    """What a method made of a batch.

    Attributes
    ----------
    name : str
        What the rows are found by.
    images : ndarray of float32, shape (N, H, W, 3), on the [0, 1] scale, unclipped
        What the task network read, neither clipped nor rounded.
    logits : ndarray or None
        Of the task network, classes second.
    denoised : bool
        Whether the images are an estimate of the clean ones, and have a PSNR.
    """

    name: str
    images: np.ndarray
    logits: np.ndarray | None
    denoised: bool = True


class Bench:
    """The networks of a measurement, on the CPU until they are moved; `names` are its outputs'."""

    names: Sequence[str]

    def __init__(self):
        self.device = torch.device("cpu")
        self.networks: dict[str, nn.Module] = {}

    def move(self, device: torch.device) -> None:
        """Move the networks to a device."""
        self.device = device
        for network in self.networks.values():
            network.to(device)

    def outputs(self, batch: Batch) -> Iterator[Output]:
        """Yield what each name makes of a batch."""
        raise NotImplementedError

    def images(self, source: str, batch: Batch) -> np.ndarray:
        """Return raw images (N, H, W, 3): `clean`, `noisy`, or by the denoiser of this name."""
        if source == "clean":
            return batch.clean.astype(np.float32) / 255
        if source == "noisy":
            return batch.noisy
        return forward(self.networks[source], batch.noisy, self.device).transpose(0, 2, 3, 1)


def measure_all(
    config: Config, test_images: NoisyImages, bench: Bench, path: Path, *, examples: int
) -> None:
    """Measure all outputs of a bench, and write a row an image to `path`, arrays beside it."""
    frames, arrays = [], Arrays(test_images.part, test_images.clean, examples=examples)
    protocol = config.evaluation.protocol
    with (
        reserved_device(config) as device,
        Progress(
            f"{test_images.part}, sigma {test_images.sigma:g}", len(test_images.clean)
        ) as progress,
    ):
        bench.move(device)
        for batch in test_images.batches(config.evaluation.batch):
            for output in bench.outputs(batch):
                frames.append(_measure(output, batch, protocol))
                arrays.add(output, batch)
            progress.advance(len(batch.ids))
    frame = pd.concat(frames, ignore_index=True)
    frame = frame.assign(part=test_images.part, sigma=test_images.sigma, protocol=protocol)
    frame["dataset"] = config.parts[test_images.part].data.name
    seeds = dict(zip(test_images.noise["image_id"], test_images.noise["seed"]))
    frame["noise_seed"] = frame["image_id"].map(seeds)
    order = list(bench.names).index
    frame = frame.sort_values("method", key=lambda names: names.map(order), kind="stable")
    with atomic_path(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays.content())
    write_csv(frame, path, IMAGE_COLUMNS)


class MethodBench(Bench):
    """The models and denoised images of a part's methods."""

    def __init__(
        self,
        config: Config,
        part: str,
        sigma: float,
        folder: RunFolder,
        *,
        seed: int = 1,
        ids: Sequence[str] = (),
    ):
        super().__init__()
        self.denoised = {}
        failed = failed_methods(config, folder, part, sigma, seed)
        for method, key in evaluated_models(config, part, sigma, seed).items():
            if method not in failed:
                self.networks[method] = load_network(config, folder, key)
        self.names = working(measured_methods(config, part, seed), failed)
        parts = shards(config.parts[part].shards)
        for method in self.names:
            if is_baseline(method):
                files = (folder.baseline(part, method, sigma, one) for one in parts)
                self.denoised[method] = DenoisedImages(files, ids)

    def outputs(self, batch: Batch) -> Iterator[Output]:
        """Yield what each method makes of a batch."""
        for method in self.names:
            images = self._images(method, batch)
            reader = self.networks.get("task-network" if method != "retrained" else method)
            logits = None if reader is None else forward(reader, images, self.device)
            yield Output(method, images, logits, denoised=method not in ("clean", "retrained"))

    def _images(self, method: str, batch: Batch) -> np.ndarray:
        """Return a method's raw images (N, H, W, 3) of a batch."""
        if method in self.denoised:
            return np.stack([self.denoised[method][name] for name in batch.ids])
        return self.images("noisy" if method == "retrained" else method, batch)


def working(names: Sequence[str], failed: dict[str, str]) -> list[str]:
    """Return the names that did not fail.

    Raises
    ------
    UserError
        If none is left.
    """
    left = [name for name in names if name not in failed]
    if not left:
        raise UserError(
            "an evaluation has a method that did not fail.",
            came="; ".join(f"{name}: {why}" for name, why in failed.items()),
            do="mend the cause of that, and run the same command again.",
        )
    return left


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
    columns: dict[str, Any] = {"method": output.name, "image_id": batch.ids}
    if output.denoised:
        truth = clean_reference(batch.clean, protocol=protocol)
        finished = finish(output.images, protocol=protocol)
        columns["psnr"] = psnr(clean=truth, denoised=finished)
        if batch.targets is None:
            columns["ssim"] = [
                ssim(clean=one, denoised=other) for one, other in zip(truth, finished, strict=True)
            ]
    if batch.targets is not None and batch.targets.ndim == 1:
        for k in (1, 5):
            right = top_k(logits=output.logits, target=batch.targets, k=k)
            columns[f"top{k}"] = right.astype(float)
    return pd.DataFrame(columns)


class Arrays:
    """Collects what rows cannot hold: confusion matrices, and examples for the figures."""

    def __init__(self, part: str, clean: ImageSet, *, examples: int):
        self.part, self.clean = part, clean
        count = min(examples, len(clean))
        # Spread over the set, so that the examples are not of one photograph.
        self.examples = np.linspace(0, len(clean) - 1, count).astype(int).tolist()
        self.arrays: dict[str, Any] = {}
        self.confusions: dict[str, list[np.ndarray]] = {}

    def add(self, output: Output, batch: Batch) -> None:
        """Take over one batch of one method."""
        method, images, logits = output.name, output.images, output.logits
        predicted = None
        if self.part == "segmentation":
            predicted = logits.argmax(1).astype(np.uint8)
            self.confusions.setdefault(method, []).extend(
                confusion_matrix(target=target, predicted=one, classes=logits.shape[1])
                for target, one in zip(batch.targets, predicted, strict=True)
            )
        for number, index in enumerate(self.examples):
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

    def content(self) -> dict[str, np.ndarray]:
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
