"""Configurations of tests: the shipped ones, a tiny run, and changes of them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.errors import UserError
from dhl.files import PROJECT

PUBLISHED = PROJECT / "config/published.csv"
SIGMA, OTHER_SIGMA = 30, 45
IMAGES = {
    "denoising": {"train": 12, "validation": 2, "test": 4, "size": 40},
    "classification": {"train": 24, "validation": 2, "test": 12, "size": 32},
    "segmentation": {"train": 12, "validation": 2, "test": 6, "size": 48},
}
SENSITIVITY = {
    "sigma": SIGMA,
    "weight_factors": [10, 0.0001],
    "mismatch": ["denoising"],
    "classifiers": {"resnet": {"name": "small-resnet", "width": 8}},
    "segmenters": {"unet": {"name": "small-unet", "width": 8}},
}
# Made-up results draw the numbers of one method after the other: more methods change them.
CONTROLS = (
    "joint-permuted", "joint-perceptual", "cross-matched", "matched-classification",
    "matched-segmentation",
)  # fmt: skip
STEPS = {"steps": 5, "batch": 4, "checkpoint_every": 2}


def shipped(name: str, **sections: object) -> dict:
    """Return the settings of `config/<name>.yaml`; `sections` replaces keys of the top level."""
    return yaml.safe_load((PROJECT / f"config/{name}.yaml").read_text()) | sections


def write_settings(path: Path, content: dict) -> str:
    """Write settings to a YAML file and return its path as text."""
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def refused(content: dict) -> UserError:
    """Return the error that a configuration raises."""
    with pytest.raises(UserError) as caught:
        parse_config(content, source="mine.yaml")
    return caught.value


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


def with_sensitivity(content: dict, **section: object) -> dict:
    """Return settings that ask for all studies, with denoising at a second sigma."""
    content = copy.deepcopy(content)
    content["sensitivity"] = SENSITIVITY | section
    content["parts"]["denoising"]["sigmas"] = [SIGMA, OTHER_SIGMA]
    return content


def laboratory_config(settings_of: dict[str, dict] | None = None, **sections: object) -> Config:
    """Return `laboratory.yaml` without studies and with few controls.

    `settings_of` replaces settings of parts, and `sections` keys of the top level.
    """
    content = shipped("laboratory", **{"sensitivity": None} | sections)
    for settings in content["parts"].values():
        settings["methods"] = [name for name in settings["methods"] if name not in CONTROLS]
    for part, settings in (settings_of or {}).items():
        content["parts"][part] |= settings
    return parse_config(content, source="laboratory, changed")


def tiny_settings() -> dict:
    """Return `laboratory.yaml` with a handful of images, 8 channels, 5 steps and one sigma."""
    content = shipped("laboratory", run="tiny", device="cpu", precision="float32", threads=1)
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
