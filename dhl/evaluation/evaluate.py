"""Evaluate a part at a sigma: a row per method and image, and arrays for pooled metrics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from dhl.config.methods import base_of
from dhl.config.plugins import is_reference
from dhl.config.schema import Config
from dhl.data.image_set import ImageSet, load_split
from dhl.data.noise import read_noise, recorded_noisy_image
from dhl.errors import UserError
from dhl.evaluation.baseline import DenoisedImages
from dhl.evaluation.metrics import (
    clean_reference,
    confusion_matrix,
    cross_entropy,
    finish,
    gmsd,
    gradient,
    psnr,
    ssim,
    top_k,
)
from dhl.models import checkpoint
from dhl.progress import Progress
from dhl.run.evaluations import Experiment, denoised_files, experiments, failed_experiments
from dhl.run.fingerprints import fingerprint
from dhl.run.folder import RunFolder
from dhl.run.model_graph import model_spec
from dhl.run.results import IMAGE_COLUMNS, result_path, write_csv
from dhl.seeding import FIRST, Draw
from dhl.training.device import is_out_of_memory, reserved_device

# `device` is a setting of every model: another value would train all of them again.
_MORE_MEMORY = (
    "use a device with more memory; or, with `device: auto`, hide the GPU by an empty environment "
    "variable CUDA_VISIBLE_DEVICES: the CPU then evaluates the same models"
)
EXAMPLES = {"denoising": 4, "classification": 12, "segmentation": 6}


@dataclass(frozen=True)
class Batch:
    """Consecutive images of one size, read once for all methods.

    Attributes
    ----------
    positions : slice
        Of the images in the data set.
    ids : sequence of str
    clean : ndarray of uint8, shape (N, H, W, 3)
    noisy : ndarray of float32, shape (N, H, W, 3), on the [0, 1] scale, unclipped
    targets : ndarray or None
        Classes (N,), or label maps (N, H, W).
    """

    positions: slice
    ids: Sequence[str]
    clean: np.ndarray
    noisy: np.ndarray
    targets: np.ndarray | None


def evaluate(
    config: Config, part: str, sigma: float, folder: RunFolder, *, draw: Draw = FIRST
) -> None:
    """Evaluate every experiment of a part at a sigma, and write rows and arrays.

    Parameters
    ----------
    config : Config
    part : str
        A part of the configuration, also that of a further test set, such as `denoising-mcmaster`.
    sigma : float
        On the 0-255 scale.
    folder : RunFolder
        Must hold data, noise, the untrained methods' images and the models.
    draw : Draw
        Which trainings of the networks; the first also writes example images of the methods.

    Raises
    ------
    UserError
        If all experiments failed, a model belongs to another configuration, the noise differs from
        the recorded noise, or a batch does not fit into the device's memory.
    """
    clean = load_split(folder.data(part), "test")
    noise = read_noise(folder.noise(part, sigma), clean.ids)
    bench = Bench(config, part, sigma, folder, draw=draw, ids=clean.ids)
    examples = EXAMPLES[base_of(part)] if draw == FIRST else 0
    arrays = CollectedArrays(clean, part, config.parts[part].methods, examples=examples)
    frames, protocol = [], config.evaluation.protocol
    with (
        reserved_device(config) as device,
        Progress(f"{part}, sigma {sigma:g}", len(clean)) as progress,
    ):
        bench.move(device)
        for batch in noisy_batches(config, clean, noise, sigma):
            for output in bench.outputs(batch):
                frames.append(_measure(output, batch, protocol))
                arrays.add(output, batch)
            progress.advance(len(batch.ids))
    path = folder.evaluation(part, sigma, draw)
    with result_path(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays.content())
    rows = pd.concat(frames, ignore_index=True).assign(
        part=part, sigma=sigma, protocol=protocol, dataset=config.parts[part].data.name
    )
    rows["noise_seed"] = rows["image_id"].map(noise.set_index("image_id")["seed"])
    order = [one.name for one in bench.experiments]
    rows = rows.sort_values("method", key=lambda names: names.map(order.index), kind="stable")
    write_csv(rows, path, IMAGE_COLUMNS)


def noisy_batches(
    config: Config, clean: ImageSet, noise: pd.DataFrame, sigma: float
) -> Iterator[Batch]:
    """Read test images batch by batch, and add their recorded noise of `sigma` (0-255)."""
    records = list(noise.itertuples())
    for positions in clean.batches(config.evaluation.batch):
        images = np.stack(list(clean.images[positions]))
        noisy = [
            recorded_noisy_image(image, sigma=sigma, record=record, model=config.noise)
            for image, record in zip(images, records[positions], strict=True)
        ]
        targets = None if clean.targets is None else np.asarray(clean.targets[positions])
        yield Batch(positions, clean.ids[positions], images, np.stack(noisy), targets)


@dataclass(frozen=True)
class Output:
    """The result of an experiment on a batch.

    Attributes
    ----------
    experiment : Experiment
    images : ndarray of float32, shape (N, H, W, 3), on the [0, 1] scale
        The input of the task network, if any; neither clipped nor rounded.
    logits : ndarray or None
        Output of the task network, shape (N, C) or (N, C, H, W).
    """

    experiment: Experiment
    images: np.ndarray
    logits: np.ndarray | None


class Bench:
    """The experiments of an evaluation, their models, and the untrained methods' images."""

    def __init__(
        self,
        config: Config,
        part: str,
        sigma: float,
        folder: RunFolder,
        *,
        draw: Draw,
        ids: Sequence[str],
    ):
        self.config, self.draw, self.device = config, draw, torch.device("cpu")
        failed = failed_experiments(config, folder, part, sigma, draw)
        planned = experiments(config, part, sigma, draw)
        self.experiments = [one for one in planned if one.name not in failed]
        if not self.experiments:
            raise UserError(
                f"Every method of {part} at sigma {sigma:g} failed.",
                came="; ".join(f"{name}: {reason}" for name, reason in failed.items()),
                do="correct the cause, and run the same command again.",
            )
        keys = dict.fromkeys(key for one in self.experiments for key in one.models(config, draw))
        self.networks = {key: _load_network(config, folder, key) for key in keys}
        methods = dict.fromkeys(one.source for one in self.experiments if one.is_untrained)
        self.denoised = {
            name: DenoisedImages(denoised_files(config, folder, part, sigma, name), ids)
            for name in methods
        }

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
                reader = one.task_network_in(self.config, self.draw)
                logits = self._run(reader, images, batch.ids) if reader else None
                yield Output(one, images, logits)

    def _images(self, source: str, batch: Batch) -> np.ndarray:
        """Return the images (N, H, W, 3) of a source."""
        if source == "clean":
            return batch.clean.astype(np.float32) / 255
        if source == "noisy":
            return batch.noisy
        if source in self.denoised:
            return np.stack([self.denoised[source][name] for name in batch.ids])
        first = next(one for one in self.experiments if one.source == source)
        key = first.source_in(self.config, self.draw)
        return self._run(key, batch.noisy, batch.ids).transpose(0, 2, 3, 1)

    def _run(self, key: str, images: np.ndarray, ids: Sequence[str]) -> np.ndarray:
        """Run the model of a key on images (N, H, W, 3)."""
        output = forward(self.networks[key], images, self.device)
        finite = np.isfinite(output).reshape(len(output), -1).all(axis=1)
        if not finite.all():
            raise UserError(
                f"The output of the model {key} is not finite, so it cannot be evaluated.",
                came=f"NaN or infinite numbers for the image `{ids[int(finite.argmin())]}`",
                do="look at the network for this image: it may divide by zero."
                if is_reference(model_spec(self.config, key).network.name)
                else "train the model again with a lower learning rate.",
            )
        return output


def _load_network(config: Config, folder: RunFolder, key: str) -> nn.Module:
    """Load a model of this configuration, in the memory layout with the fastest convolutions."""
    made_from = fingerprint(config, key, folder)
    network, _ = checkpoint.load_model(folder.model(key), fingerprint=made_from)
    return network.to(memory_format=torch.channels_last)


@torch.inference_mode()
def forward(network: Callable, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Run a network in float32 on images (N, H, W, 3), and return its output (N, C, ...).

    Raises
    ------
    UserError
        If the batch does not fit the device's memory.
    """
    try:
        batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        output = network(batch).float().cpu().numpy()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        count, height, width = images.shape[:3]
        smaller = f"set `evaluation.batch` to {count // 2}, which changes no result"
        raise UserError(
            "A batch of images does not fit the device's memory.",
            came=f"{count} images of {width} x {height} px: {str(error).splitlines()[0]}",
            do=f"{smaller if count > 1 else _MORE_MEMORY}.",
        ) from None
    return output


def _measure(output: Output, batch: Batch, protocol: str) -> pd.DataFrame:
    """Return the metrics of one output, a row per image."""
    columns: dict[str, Any] = {"method": output.experiment.name, "image_id": batch.ids}
    if output.experiment.has_psnr:
        clean = clean_reference(batch.clean, protocol=protocol)
        denoised = finish(output.images, protocol=protocol)
        columns["psnr"] = psnr(clean=clean, denoised=denoised)
        if batch.targets is None:
            pairs = zip(clean, denoised, strict=True)
            columns["ssim"] = [ssim(clean=one, denoised=other) for one, other in pairs]
            columns["gmsd"] = gmsd(clean=clean, denoised=denoised)
            columns["gradient"] = gradient(clean=clean, denoised=denoised)
    if output.logits is not None and batch.targets is not None:
        logits, target = output.logits, batch.targets
        columns["cross_entropy"] = cross_entropy(logits=logits, target=target)
        for k in (1, 5) if target.ndim == 1 else ():
            columns[f"top{k}"] = top_k(logits=logits, target=target, k=k).astype(float)
    return pd.DataFrame(columns)


class CollectedArrays:
    """Collects confusion matrices, and examples for the figures."""

    def __init__(self, clean: ImageSet, part: str, methods: Sequence[str], *, examples: int):
        self.clean, self.part, self.methods = clean, part, methods
        count = min(examples, len(clean))
        # Evenly spaced, because neighbours can be crops of one photograph.
        self.examples = np.linspace(0, len(clean) - 1, count).astype(int).tolist()
        self.arrays: dict[str, Any] = {}
        self.confusions: dict[str, list[np.ndarray]] = {}

    def add(self, output: Output, batch: Batch) -> None:
        """Add one batch of one experiment."""
        method, images, logits = output.experiment.name, output.images, output.logits
        predicted = None
        if self.part == "segmentation" and logits is not None and batch.targets is not None:
            predicted = logits.argmax(1).astype(np.uint8)
            self.confusions.setdefault(method, []).extend(
                # Half the memory of int64; an image has fewer pixels than int32 counts.
                confusion_matrix(target=target, predicted=one, classes=logits.shape[1]).astype(
                    np.int32
                )
                for target, one in zip(batch.targets, predicted, strict=True)
            )
        for number, index in enumerate(self.examples if method in self.methods else ()):
            if not batch.positions.start <= index < batch.positions.stop:
                continue
            row = index - batch.positions.start
            # In float64, as in `finish`, so that this picture has the PSNR in the table.
            levels = np.clip(images[row], 0, 1).astype(np.float64) * 255
            self.arrays[f"image/{method}/{number}"] = np.rint(levels).astype(np.uint8)
            if predicted is not None:
                self.arrays[f"prediction/{method}/{number}"] = predicted[row]
            elif logits is not None:
                exponentials = np.exp(logits[row] - logits[row].max())
                self.arrays[f"probability/{method}/{number}"] = exponentials / exponentials.sum()

    def content(self) -> dict[str, Any]:
        """Return all arrays by name; the confusion matrices are moved, not copied."""
        content = {
            "image_ids": np.array(self.clean.ids),
            "example_ids": np.array([self.clean.ids[index] for index in self.examples]),
            **self.arrays,
        }
        for number, index in enumerate(self.examples):
            content[f"clean/{number}"] = self.clean.images[index]
            if self.clean.targets is not None:
                content[f"labels/{number}"] = self.clean.targets[index]
        for method in list(self.confusions):  # never two copies of all methods
            content[f"confusion/{method}"] = np.stack(self.confusions.pop(method))
        return content
