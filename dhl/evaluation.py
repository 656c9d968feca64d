"""A method over a data set at a sigma: one row an image, and arrays for pooled metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from dhl import checkpoint
from dhl.config import Config
from dhl.data.image_set import ImageSet, load_split, open_arrays
from dhl.device import prepare_device
from dhl.lineage import evaluated_models, fingerprint
from dhl.methods import CBM3D_METHODS
from dhl.metrics import clean_reference, confusion_matrix, finish, psnr, ssim, top_k
from dhl.noise import recorded_noisy_image
from dhl.progress import Progress
from dhl.results import IMAGE_COLUMNS, NOISE_COLUMNS, RunFolder, atomic_path, read_csv, write_csv

EXAMPLES = {"denoising": 4, "classification": 12, "segmentation": 6}


def evaluate(config: Config, part: str, sigma: float, folder: RunFolder) -> None:
    """Measure every method of a part at a sigma and write rows and arrays.

    Parameters
    ----------
    config : Config
    part : {"denoising", "classification", "segmentation"}
    sigma : float
        On the 0-255 scale.
    folder : RunFolder
        Must hold data, noise, CBM3D's images and the models.

    Raises
    ------
    UserError
        If a model is of another configuration, or the noise is not the recorded one.
    """
    clean = load_split(folder.data(part), "test")
    noise = read_csv(folder.noise(part, sigma), NOISE_COLUMNS)
    records = list(noise.itertuples())
    rows, arrays = [], Arrays(part, clean)
    bench = Bench(config, part, sigma, folder)
    methods = getattr(config.methods, part)
    with Progress(f"{part}, sigma {sigma:g}", len(clean)) as progress:
        for place in clean.batches(config.evaluation.batch):
            pairs = zip(clean.images[place], records[place], strict=True)
            noisy = np.stack(
                [recorded_noisy_image(image, sigma=sigma, record=one) for image, one in pairs]
            )
            for method in methods:
                images, logits = bench.apply(method, noisy, clean, place)
                rows += _rows(config, (part, sigma, method), clean, place, (images, logits))
                arrays.add(method, place, images, logits)
            progress.advance(place.stop - place.start)
    frame = pd.DataFrame(rows)
    frame["dataset"] = getattr(config.data, part).name
    frame["noise_seed"] = frame["image_id"].map(dict(zip(noise["image_id"], noise["seed"])))
    frame = frame.sort_values("method", key=lambda names: names.map(methods.index), kind="stable")
    path = folder.evaluation(part, sigma)
    with atomic_path(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays.content())
    write_csv(frame, path, IMAGE_COLUMNS)


class Bench:
    """The models that one evaluation needs, on their device."""

    def __init__(self, config: Config, part: str, sigma: float, folder: RunFolder):
        self.device = prepare_device(config)
        self.networks = {}
        for method, key in evaluated_models(config, part, sigma).items():
            network, _ = checkpoint.load_model(
                folder.model(key), fingerprint=fingerprint(config, key)
            )
            self.networks[method] = network.to(self.device, memory_format=torch.channels_last)
        self.files = {
            method: open_arrays(folder.cbm3d(part, method, sigma))
            for method in getattr(config.methods, part)
            if method in CBM3D_METHODS
        }

    def apply(
        self, method: str, noisy: np.ndarray, clean: ImageSet, place: slice
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a method's raw images (N, H, W, 3) of a batch, and the task network's logits.

        The task network reads the images neither clipped nor rounded.
        """
        if method == "clean":
            images = np.stack(clean.images[place]).astype(np.float32) / 255
        elif method in ("noisy", "retrained"):
            images = noisy
        elif method in self.files:
            images = np.stack([self.files[method][name] for name in clean.ids[place]])
        else:
            images = self._run(self.networks[method], noisy).transpose(0, 2, 3, 1)
        reader = self.networks.get("task-network" if method != "retrained" else method)
        return images, None if reader is None else self._run(reader, images)

    @torch.inference_mode()
    def _run(self, network: Callable, images: np.ndarray) -> np.ndarray:
        """Run a network in float32 on images (N, H, W, 3)."""
        batch = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        return network(batch).float().cpu().numpy()


def _rows(
    config: Config,
    names: tuple[str, float, str],
    clean: ImageSet,
    place: slice,
    outputs: tuple[np.ndarray, np.ndarray | None],
) -> list[dict[str, Any]]:
    """Measure one method on one batch."""
    part, sigma, method = names
    images, logits = outputs
    protocol = config.evaluation.protocol
    columns: dict[str, Any] = {"image_id": clean.ids[place]}
    if method not in ("clean", "retrained"):
        truth = clean_reference(np.stack(clean.images[place]), protocol=protocol)
        finished = finish(images, protocol=protocol)
        columns["psnr"] = psnr(clean=truth, denoised=finished)
        if part == "denoising":
            columns["ssim"] = [
                ssim(clean=one, denoised=other) for one, other in zip(truth, finished, strict=True)
            ]
    if part == "classification":
        for k in (1, 5):
            right = top_k(logits=logits, target=clean.targets[place], k=k)
            columns[f"top{k}"] = right.astype(float)
    frame = pd.DataFrame(columns)
    frame = frame.assign(part=part, sigma=sigma, method=method, protocol=protocol)
    return frame.to_dict("records")


class Arrays:
    """Collects what rows cannot hold: confusion matrices, and examples for the figures."""

    def __init__(self, part: str, clean: ImageSet):
        self.part, self.clean = part, clean
        count = min(EXAMPLES[part], len(clean))
        # Spread over the set, so that the examples are not of one photograph.
        self.examples = np.linspace(0, len(clean) - 1, count).astype(int)
        self.arrays: dict[str, Any] = {}
        self.confusions: dict[str, list[np.ndarray]] = {}

    def add(self, method: str, place: slice, images: np.ndarray, logits: np.ndarray | None) -> None:
        """Take over one batch of one method."""
        predicted = None
        if self.part == "segmentation":
            predicted = logits.argmax(1).astype(np.uint8)
            self.confusions.setdefault(method, []).extend(
                confusion_matrix(target=target, predicted=one, classes=self.clean.classes)
                for target, one in zip(self.clean.targets[place], predicted, strict=True)
            )
        for number, index in enumerate(self.examples):
            if not place.start <= index < place.stop:
                continue
            here = index - place.start
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
