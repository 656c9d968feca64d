"""Metrics on the validation split for networks, sizes and recipes of a small run, by operations.

Trains one model per line of settings, alone and with one thread, and prints its operations, seconds
and metric as JSON: top-1, mIoU, or the PSNR at sigma 60. The test split is never read. A denoiser
for a task and a retrained task network start from the models of a finished run, `--run`, and their
metric is that of the task. So does a denoiser of one sigma; without `--run` it has no warm start.
At the end, the cross-entropy of each line of settings is compared with the lowest, by image.

    python benchmarks/small_networks.py config/mini.yaml segmenter/clean \
        '{"width": 16, "steps": 800, "lr": 0.003, "batch": 16}' '{"width": 16, "steps": 1600}'
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from dhl.analysis.scores import miou
from dhl.config.methods import TASK_NETWORKS
from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.data.image_set import load_split
from dhl.data.prepare import write_data
from dhl.evaluation.evaluate import forward
from dhl.evaluation.metrics import confusion_matrix, cross_entropy, psnr, top_k
from dhl.models.checkpoint import load_model
from dhl.planning.flops import step_flops
from dhl.planning.image_counts import count_all_images
from dhl.run.folder import RunFolder
from dhl.run.model_graph import model_spec
from dhl.training.train import train_model

PARTS = {network: task for task, network in TASK_NETWORKS.items()}
SIGMA = 60
DENOISERS = ("separate", "dncnn")
# All but the last follow the recipe `joint`.
OF_A_TASK = ("joint", "matched", "permuted", "perceptual", "retrained")
MODELS = (
    *(f"{network}/clean" for network in PARTS),
    *(f"{denoiser}-start/all" for denoiser in DENOISERS),
    *(f"{denoiser}/sigma{SIGMA}" for denoiser in DENOISERS),
    *(f"{kind}-{task}/sigma{SIGMA}" for kind in OF_A_TASK for task in PARTS.values()),
)


def changed(
    content: dict[str, Any], key: str, settings: dict[str, Any], *, warm: bool = False
) -> Config:
    """Return a configuration with other settings for a model: width, depth, lr, steps, batch.

    A denoiser of one sigma keeps its warm start only if `warm` is true.
    """
    network, recipe = _sections(content, key, warm=warm)
    for setting, value in settings.items():
        if setting in ("name", "width", "depth"):
            network[setting] = value
        elif setting == "lr":
            recipe["optimizer"] = recipe["optimizer"] | {"lr": value}
        else:
            recipe[setting] = value
    return parse_config(content, source="the settings")


def _sections(
    content: dict[str, Any], key: str, *, warm: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the sections of a model's network and recipe."""
    family = key.partition("/")[0]
    if family in PARTS:
        part = content["parts"][PARTS[family]]
        return part["task_network"], part["training"]["task_network"]
    part = content["parts"]["denoising"]
    kind, _, task = family.partition("-")
    if kind in OF_A_TASK:
        recipe = "retrained" if kind == "retrained" else "joint"
        return part["denoiser"], content["parts"][task]["training"][recipe]
    recipes = part["training"] if kind == "separate" else part["training"][kind]
    network = part["denoiser" if kind == "separate" else kind]
    if task == "start":
        return network, recipes["warm_start"]
    if not warm:
        del recipes["warm_start"]
    return network, recipes["separate"]


def metric(config: Config, key: str, folder: RunFolder) -> tuple[float, np.ndarray | None]:
    """Return the model's metric on the validation split, and the cross-entropy of each image."""
    network, _ = load_model(folder.model(key))
    spec = model_spec(config, key)
    split = load_split(folder.data(spec.part), "validation")
    height, width = split.sizes.min(axis=0)  # photographs have many sizes
    images = np.stack([image[:height, :width] for image in split.images]).astype(np.float32) / 255
    clean = images
    if spec.sigma is not None:
        noise = np.random.default_rng(0).normal(0, SIGMA / 255, images.shape)
        images = images + noise.astype(np.float32)
    if spec.role == "denoiser":
        output = in_batches(network, images).transpose(0, 2, 3, 1)
        if spec.part == "denoising":
            return float(psnr(clean=clean, denoised=np.clip(output, 0, 1)).mean()), None
        images, (network, _) = output, load_model(folder.model(f"{TASK_NETWORKS[spec.part]}/clean"))
    logits = in_batches(network, images)
    targets = np.stack(list(split.targets))
    losses = cross_entropy(logits=logits, target=targets)
    if spec.part == "classification":
        return float(top_k(logits=logits, target=targets, k=1).mean()), losses
    pairs = zip(targets, logits.argmax(1), strict=True)
    matrices = [confusion_matrix(target=t, predicted=p, classes=logits.shape[1]) for t, p in pairs]
    return float(miou(np.stack(matrices))), losses


def compare(losses: list[np.ndarray]) -> list[dict[str, float]]:
    """Return each cross-entropy, its difference from the lowest and that one's standard error."""
    lowest = min(losses, key=np.nanmean)
    rows = []
    for values in losses:
        differences = (values - lowest)[~np.isnan(values)]
        error = differences.std(ddof=1) / len(differences) ** 0.5
        numbers = (np.nanmean(values), differences.mean(), error)
        names = ("cross_entropy", "above_lowest", "standard_error")
        rows.append({name: round(float(x), 4) for name, x in zip(names, numbers, strict=True)})
    return rows


def in_batches(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Apply a network to images (N, H, W, 3)."""
    batches = np.array_split(images, max(1, len(images) // 64))
    return np.concatenate([forward(network, batch, torch.device("cpu")) for batch in batches])


def main() -> None:
    """Train each model in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("settings", nargs="+", type=json.loads, help='such as {"width": 16}')
    parser.add_argument("--run", type=Path, help="a finished run, with data and models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    key = arguments.model
    losses = []
    for settings in arguments.settings:
        content = yaml.safe_load(arguments.config.read_text("utf-8"))
        config = changed(content, key, settings, warm=arguments.run is not None)
        counts = count_all_images(config)
        spec = model_spec(config, key)
        steps = spec.recipe.steps if spec.recipe else 0
        with tempfile.TemporaryDirectory() as root:
            folder = RunFolder(Path(root))
            if arguments.run is None:
                write_data(config, spec.part, folder)
            else:
                (folder.root / "data").symlink_to((arguments.run / "data").resolve())
                shutil.copytree(arguments.run / "models", folder.root / "models")
            begin = time.process_time()
            train_model(config, key, folder)
            seconds = time.process_time() - begin
            quality, values = metric(config, key, folder)
            row = {
                "model": key,
                **settings,
                "tflop": round(sum(step_flops(config, counts, spec).values()) * steps / 1e12, 2),
                "cpu_seconds": round(seconds, 1),
                "metric": round(quality, 4),
            }
        print(json.dumps(row), flush=True)
        losses += [] if values is None else [values]
    for settings, row in zip(arguments.settings, compare(losses) if losses else [], strict=False):
        print(json.dumps({"model": key, **settings, **row}))


if __name__ == "__main__":
    sys.exit(main())
