"""A run folder with made-up results in the true layout."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from settings import PUBLISHED

from dhl.analysis.claims import write_claims
from dhl.analysis.tables import write_table
from dhl.config.methods import model_of
from dhl.config.schema import Config
from dhl.run.evaluations import Experiment, evaluations, experiments
from dhl.run.folder import RunFolder
from dhl.run.model_keys import sigma_key
from dhl.run.results import IMAGE_COLUMNS, NOISE_COLUMNS, TRAINING_COLUMNS, write_csv
from dhl.seeding import FIRST

# The quality of a made-up method, from 0 (useless) to 1.
QUALITY = {
    "clean": 0.95, "noisy": 0.30, "cbm3d": 0.70, "dncnn": 0.72, "separate": 0.74,
    "separate-matched": 0.75, "joint": 0.80, "cross": 0.79, "retrained": 0.82,
    "cross-matched": 0.75, "joint-permuted": 0.74, "joint-perceptual": 0.77,
    "joint-classification": 0.72, "joint-segmentation": 0.71,
    "matched-classification": 0.75, "matched-segmentation": 0.75,
}  # fmt: skip


def write_synthetic_run(
    config: Config, root: Path, *, images: int = 60, draw: int = 0
) -> RunFolder:
    """Write evaluations and training curves of a run; `draw` is the seed of chance."""
    folder = RunFolder(root)
    rng = np.random.default_rng(draw)
    for part, sigma, trainings in evaluations(config):
        write_noise(folder, part, sigma, images)
        write_evaluation(config, folder, (part, sigma, trainings), rng, images)
    for part in config.parts:
        models = {model_of(method, part) for method in config.parts[part].methods} - {None}
        for model, sigma in itertools.product(models, config.parts[part].sigmas):
            write_curve(folder, sigma_key(model, sigma))
    return folder


def write_results(config: Config, folder: RunFolder, *, claims: bool = True) -> None:
    """Write the tables of a run and, with `claims`, its verdicts."""
    for part in config.parts:
        write_table(config, part, folder, PUBLISHED)
    if claims:
        write_claims(config, folder)


def drop_method(path: Path, method: str) -> None:
    """Delete the rows of a method from an evaluation."""
    frame = pd.read_csv(path)
    frame[frame["method"] != method].to_csv(path, index=False)


def write_noise(folder, part, sigma, images) -> None:
    """Write the record of the noise, which is the same in every run."""
    ids = [f"test-{i:04d}" for i in range(images)]
    digests = [hashlib.sha256(f"{part} {sigma} {name}".encode()).hexdigest() for name in ids]
    frame = pd.DataFrame({"image_id": ids, "seed": range(images), "sha256": digests})
    write_csv(frame, folder.noise(part, sigma), NOISE_COLUMNS)


def quality_of(experiment: Experiment, sigma: float) -> float:
    """Return the quality of an experiment; in a study it is that of its denoiser."""
    kind = experiment.source.partition("/")[0].partition("-")[0]
    kind = "separate-matched" if kind == "matched" else kind
    return QUALITY.get(experiment.name, QUALITY.get(kind, 0.5)) - sigma / 300


def write_evaluation(config, folder, level, rng, images) -> None:
    """Write per-image rows, and arrays of two example images of the first training."""
    part, sigma, draw = level
    difficulty = rng.random(images)
    ids = np.array([f"test-{i:04d}" for i in range(images)])
    examples = 2 if draw == FIRST else 0
    frames, arrays = [], {"image_ids": ids, "example_ids": ids[:examples]}
    for i in range(examples):
        coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)  # noise would not compress
        arrays[f"clean/{i}"] = coarse.repeat(4, axis=0).repeat(4, axis=1)
        shape = (64, 64) if part == "segmentation" else ()
        arrays[f"labels/{i}"] = rng.integers(0, 10, shape, dtype=np.uint8)
    for experiment in experiments(config, part, sigma, draw):
        method, quality = experiment.name, quality_of(experiment, sigma)
        has_psnr, classifies = experiment.has_psnr, part == "classification"
        frames.append(pd.DataFrame({
            "dataset": "photo-digits", "part": part, "sigma": sigma, "method": method,
            "image_id": ids, "noise_seed": range(images), "protocol": "authors",
            "psnr": 20 + 10 * quality + rng.normal(size=images) if has_psnr else np.nan,
            "ssim": quality if part == "denoising" else np.nan,
            "top1": (difficulty < quality).astype(float) if classifies else np.nan,
            "top5": 1.0 if classifies else np.nan,
            "cross_entropy": np.nan if part == "denoising" else 2 - quality + difficulty / 9,
            "gmsd": 0.2 * (1 - quality) if part == "denoising" else np.nan,
            "gradient": quality + difficulty / 9 if part == "denoising" else np.nan,
        }))  # fmt: skip
        for i in range(examples if method in config.parts[part].methods else 0):
            arrays[f"image/{method}/{i}"] = arrays[f"clean/{i}"]
            arrays[f"prediction/{method}/{i}"] = arrays[f"labels/{i}"]
            arrays[f"probability/{method}/{i}"] = np.full(10, 0.1, np.float32)
        if part == "segmentation":
            arrays[f"confusion/{method}"] = confusions(rng, quality, images)
    path = folder.evaluation(part, sigma, draw)
    write_csv(pd.concat(frames), path, IMAGE_COLUMNS)
    np.savez(path.with_suffix(".npz"), **arrays)


def confusions(rng, quality: float, images: int) -> np.ndarray:
    """Return (images, 11, 11) counts, rows truth, with `quality` of each row on the diagonal."""
    total = np.random.default_rng(0).integers(200, 400, (images, 11))  # the same for every method
    hit = rng.binomial(total, quality)
    matrix = np.zeros((images, 11, 11), np.int64)
    matrix[:, np.arange(11), np.arange(11)] = hit
    matrix[:, np.arange(11), (np.arange(11) + 1) % 11] = total - hit
    return matrix


def write_curve(folder: RunFolder, key: str) -> None:
    """Write a falling training curve."""
    step = np.arange(50, 501, 50)
    frame = pd.DataFrame({"step": step, "lr": 1e-3, "loss": 1 / step})
    frame["reconstruction_loss"] = frame["loss"]
    frame = frame.assign(device="abacus", precision="float32")
    frame = frame.assign(parameters=261_235, receptive_field=39)
    write_csv(frame, folder.training(key), TRAINING_COLUMNS)
