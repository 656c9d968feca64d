"""Metrics on the validation split for networks, sizes and recipes of a small run, by operations.

Trains one model per line of settings, alone and with one thread, and prints its operations, seconds
and metric as JSON: top-1, mIoU, or the PSNR at sigma 60. The test split is never read. A denoiser
of one sigma is trained without a warm start.

    python benchmarks/small_networks.py config/mini.yaml segmenter/clean \
        '{"width": 16, "steps": 800, "lr": 0.003, "batch": 16}' '{"width": 16, "steps": 1600}'
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from dhl.analysis.scores import miou
from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.data.image_set import load_split
from dhl.data.prepare import write_data
from dhl.evaluation.evaluate import forward
from dhl.evaluation.metrics import confusion_matrix, psnr, top_k
from dhl.models.checkpoint import load_model
from dhl.planning.flops import step_flops
from dhl.planning.image_counts import count_all_images
from dhl.run.folder import RunFolder
from dhl.run.model_graph import model_spec
from dhl.training.train import train_model

PARTS = {"classifier": "classification", "segmenter": "segmentation"}
SIGMA = 60
DENOISERS = ("separate", "dncnn")
MODELS = (
    *(f"{network}/clean" for network in PARTS),
    *(f"{denoiser}-start/all" for denoiser in DENOISERS),
    *(f"{denoiser}/sigma{SIGMA}" for denoiser in DENOISERS),
)


def changed(content: dict[str, Any], key: str, settings: dict[str, Any]) -> Config:
    """Return a configuration with other settings for a model: width, depth, lr, steps, batch."""
    family = key.partition("/")[0]
    name = family.removesuffix("-start")
    part = content["parts"][PARTS.get(family, "denoising")]
    training = part["training"]
    if family in PARTS:
        network, recipe = part["task_network"], training["task_network"]
    else:
        network = part["denoiser" if name == "separate" else name]
        recipes = training if name == "separate" else training[name]
        recipe = recipes["warm_start" if name != family else "separate"]
        if name == family:
            del recipes["warm_start"]
    for setting, value in settings.items():
        if setting in ("name", "width", "depth"):
            network[setting] = value
        elif setting == "lr":
            recipe["optimizer"] = recipe["optimizer"] | {"lr": value}
        else:
            recipe[setting] = value
    return parse_config(content, source="the settings")


def metric(config: Config, key: str, folder: RunFolder) -> float:
    """Return the model's metric on the validation split."""
    network, _ = load_model(folder.model(key))
    part = model_spec(config, key).part
    split = load_split(folder.data(part), "validation")
    images = np.stack(list(split.images)).astype(np.float32) / 255
    if part == "denoising":
        noise = np.random.default_rng(0).normal(0, SIGMA / 255, images.shape)
        output = forward(network, images + noise.astype(np.float32), torch.device("cpu"))
        denoised = np.clip(output.transpose(0, 2, 3, 1), 0, 1)
        return float(psnr(clean=images, denoised=denoised).mean())
    batches = np.array_split(images, max(1, len(images) // 64))
    logits = np.concatenate([forward(network, batch, torch.device("cpu")) for batch in batches])
    if part == "classification":
        return float(top_k(logits=logits, target=np.asarray(split.targets), k=1).mean())
    pairs = zip(np.stack(list(split.targets)), logits.argmax(1), strict=True)
    matrices = [confusion_matrix(target=t, predicted=p, classes=logits.shape[1]) for t, p in pairs]
    return float(miou(np.stack(matrices)))


def main() -> None:
    """Train each model in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("settings", nargs="+", type=json.loads, help='such as {"width": 16}')
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    key = arguments.model
    for settings in arguments.settings:
        content = yaml.safe_load(arguments.config.read_text())
        config = changed(content, key, settings)
        counts = count_all_images(config)
        spec = model_spec(config, key)
        steps = spec.recipe.steps if spec.recipe else 0
        with tempfile.TemporaryDirectory() as root:
            folder = RunFolder(Path(root))
            write_data(config, spec.part, folder)
            begin = time.process_time()
            train_model(config, key, folder)
            row = {
                "model": key,
                **settings,
                "tflop": round(sum(step_flops(config, counts, spec).values()) * steps / 1e12, 2),
                "cpu_seconds": round(time.process_time() - begin, 1),
                "metric": round(metric(config, key, folder), 4),
            }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    sys.exit(main())
