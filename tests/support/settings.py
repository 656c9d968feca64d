"""Configurations of tests: a tiny run, and changes of it."""

from __future__ import annotations

import copy

import yaml

from dhl.config.schema import Config
from dhl.files import PROJECT

SIGMA = 30
IMAGES = {
    "denoising": {"train": 12, "validation": 2, "test": 4, "size": 40},
    "classification": {"train": 24, "validation": 2, "test": 12, "size": 32},
    "segmentation": {"train": 12, "validation": 2, "test": 6, "size": 48},
}
STEPS = {"steps": 5, "batch": 4, "checkpoint_every": 2}


def changed(content: dict, path: str, value) -> dict:
    """Return settings with one value changed; `del` takes the key out."""
    content = copy.deepcopy(content)
    *keys, last = path.split(".")
    node = content
    for key in keys:
        node = node[key]
    if value == "del":
        del node[last]
    else:
        node[last] = value
    return content


def with_parts(config: Config, **changes: dict | None) -> Config:
    """Return a configuration with changed parts, not checked; None removes a part."""
    parts = {
        part: None if change is None else config.parts[part].model_copy(update=change)
        for part, change in changes.items()
    }
    return config.model_copy(update={"parts": config.parts.model_copy(update=parts)})


def tiny_settings() -> dict:
    """Return `mini.yaml` with a handful of images, 8 channels, 5 steps and one sigma."""
    content = yaml.safe_load((PROJECT / "config/mini.yaml").read_text())
    content |= {"run": "tiny", "device": "cpu", "precision": "float32", "threads": 1}
    content = copy.deepcopy(content)  # YAML's aliases share mappings
    for part, counts in IMAGES.items():
        content["parts"][part] |= {"data": {"kind": "photo-digits", **counts}, "sigmas": [SIGMA]}
    for part in ("classification", "segmentation"):
        settings = content["parts"][part]
        settings["methods"] = [
            "clean", "noisy", "separate", "separate-matched", "joint", "cross", "retrained",
        ]  # fmt: skip
        settings["task_network"]["width"] = 8
        settings["training"] = {name: recipe | STEPS
                                for name, recipe in settings["training"].items()}  # fmt: skip
    denoising = content["parts"]["denoising"]
    denoising["denoiser"]["width"] = denoising["dncnn"]["width"] = 8
    denoising["dncnn"]["depth"] = 4
    denoising["training"] = {name: denoising["training"][name] | STEPS | {"patch": 24}
                             for name in ("warm_start", "separate")}  # fmt: skip
    content["sensitivity"] = None
    return copy.deepcopy(content)
