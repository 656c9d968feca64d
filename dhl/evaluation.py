"""A method over a data set at a sigma: one row an image, and arrays for pooled metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from dhl import checkpoint
from dhl.baselines import DenoisedImages
from dhl.config import Config
from dhl.data.image_set import ImageSet, load_split
from dhl.device import reserved_device
from dhl.errors import UserError
from dhl.lineage import evaluated_models, failed_methods, fingerprint, measured_methods
from dhl.methods import is_baseline
from dhl.metrics import clean_reference, confusion_matrix, finish, psnr, ssim, top_k
from dhl.noise import recorded_noisy_image
from dhl.progress import Progress
from dhl.results import IMAGE_COLUMNS, NOISE_COLUMNS, RunFolder, atomic_path, read_csv, write_csv
from dhl.shards import shards

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
    clean = load_split(folder.data(part), "test")
    noise = read_csv(folder.noise(part, sigma), NOISE_COLUMNS)
    methods = measured_methods(config, part, seed)
    frames, arrays = [], Arrays(part, clean, examples=EXAMPLES[part] if seed == 1 else 0)
    bench = Bench(config, part, sigma, folder, seed=seed, ids=clean.ids)
    methods = bench.working(methods)
    with (
        reserved_device(config) as device,
        Progress(f"{part}, sigma {sigma:g}", len(clean)) as progress,
    ):
        bench.move(device)
        for batch in _batches(config, clean, noise, sigma):
            for method in methods:
                images, logits = bench.apply(method, batch)
                frames.append(_measure(method, batch, images, logits, config.evaluation.protocol))
                arrays.add(method, batch, images, logits)
            progress.advance(len(batch.ids))
    frame = pd.concat(frames, ignore_index=True)
    frame = frame.assign(part=part, sigma=sigma, protocol=config.evaluation.protocol)
    frame["dataset"] = getattr(config.data, part).name
    frame["noise_seed"] = frame["image_id"].map(dict(zip(noise["image_id"], noise["seed"])))
    frame = frame.sort_values("method", key=lambda names: names.map(methods.index), kind="stable")
    path = folder.evaluation(part, sigma, seed)
    with atomic_path(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays.content())
    write_csv(frame, path, IMAGE_COLUMNS)


def _batches(config: Config, clean: ImageSet, noise: pd.DataFrame, sigma: float) -> Iterator[Batch]:
    """Read the test images batch by batch, with their recorded noise."""
    records = list(noise.itertuples())
    for place in clean.batches(config.evaluation.batch):
        images = np.stack(clean.images[place])
        noisy = [
            recorded_noisy_image(image, sigma=sigma, record=record, model=config.noise)
            for image, record in zip(images, records[place], strict=True)
        ]
        targets = None if clean.targets is None else np.asarray(clean.targets[place])
        yield Batch(place, clean.ids[place], images, np.stack(noisy), targets)


class Bench:
    """The models and denoised images that one evaluation needs; on the CPU until they are moved."""

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
        self.device = torch.device("cpu")
        self.networks, self.denoised = {}, {}
        self.failed = failed_methods(config, folder, part, sigma, seed)
        for method, key in evaluated_models(config, part, sigma, seed).items():
            if method not in self.failed:
                network, _ = checkpoint.load_model(
                    folder.model(key), fingerprint=fingerprint(config, key)
                )
                self.networks[method] = network.to(memory_format=torch.channels_last)
        parts = shards(getattr(config.evaluation.baseline_shards, part))
        for method in measured_methods(config, part, seed):
            if is_baseline(method) and method not in self.failed:
                files = (folder.baseline(part, method, sigma, one) for one in parts)
                self.denoised[method] = DenoisedImages(files, ids)

    def working(self, methods: Sequence[str]) -> list[str]:
        """Return the methods that did not fail.

        Raises
        ------
        UserError
            If none is left.
        """
        left = [method for method in methods if method not in self.failed]
        if not left:
            raise UserError(
                "an evaluation has a method that did not fail.",
                came="; ".join(f"{method}: {why}" for method, why in self.failed.items()),
                do="mend the cause of that, and run the same command again.",
            )
        return left

    def move(self, device: torch.device) -> None:
        """Move the networks to a device."""
        self.device = device
        for network in self.networks.values():
            network.to(device)

    def apply(self, method: str, batch: Batch) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a method's raw images (N, H, W, 3) of a batch, and the task network's logits.

        The task network reads the images neither clipped nor rounded.
        """
        if method == "clean":
            images = batch.clean.astype(np.float32) / 255
        elif method in ("noisy", "retrained"):
            images = batch.noisy
        elif method in self.denoised:
            images = np.stack([self.denoised[method][name] for name in batch.ids])
        else:
            images = self._run(self.networks[method], batch.noisy).transpose(0, 2, 3, 1)
        reader = self.networks.get("task-network" if method != "retrained" else method)
        return images, None if reader is None else self._run(reader, images)

    @torch.inference_mode()
    def _run(self, network: Callable, images: np.ndarray) -> np.ndarray:
        """Run a network in float32 on images (N, H, W, 3)."""
        try:
            batch = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
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


def _measure(
    method: str, batch: Batch, images: np.ndarray, logits: np.ndarray | None, protocol: str
) -> pd.DataFrame:
    """Measure one method on one batch: a row an image."""
    columns: dict[str, Any] = {"method": method, "image_id": batch.ids}
    if method not in ("clean", "retrained"):
        truth = clean_reference(batch.clean, protocol=protocol)
        finished = finish(images, protocol=protocol)
        columns["psnr"] = psnr(clean=truth, denoised=finished)
        if batch.targets is None:
            columns["ssim"] = [
                ssim(clean=one, denoised=other) for one, other in zip(truth, finished, strict=True)
            ]
    if batch.targets is not None and batch.targets.ndim == 1:
        for k in (1, 5):
            columns[f"top{k}"] = top_k(logits=logits, target=batch.targets, k=k).astype(float)
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

    def add(self, method: str, batch: Batch, images: np.ndarray, logits: np.ndarray | None) -> None:
        """Take over one batch of one method."""
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
        """Return all arrays by name, as `dhl.figures` and `dhl.statistics` read them."""
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
