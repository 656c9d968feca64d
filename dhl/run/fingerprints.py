"""Digests of settings and models, which decide what must be computed again."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from dhl.config.architectures import PUBLISHED, entry_of
from dhl.config.schema import Config
from dhl.run.code_digest import code_digest
from dhl.run.folder import RunFolder
from dhl.run.model_graph import model_spec
from dhl.run.results import file_digest, open_arrays


def fingerprint(config: Config, key: str, folder: RunFolder) -> str:
    """Digest all that decides a model's weights, in its run: settings, training images, parents.

    Where the images and the given weights are, and what the data set is called, does not count.
    """
    spec = model_spec(config, key)
    content = {
        "settings": settings_fingerprint(config, key),
        "images": spec.recipe and split_digest(folder.data(spec.part), "train"),
        "weights": spec.given_weights and file_digest(spec.given_weights),
        "parents": [fingerprint(config, parent, folder) for parent in spec.parents],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def settings_fingerprint(config: Config, key: str) -> str:
    """Digest what the configuration and the code decide of a model's weights."""
    spec = model_spec(config, key)
    network = spec.network.model_dump(exclude={"name", "weights"})
    content = {
        "network": network | {"published": spec.network.weights == PUBLISHED[spec.role]},
        "builder": entry_of(spec.role, spec.network.name).builder.rpartition(":")[2],
        "objective": spec.objective,
        "recipe": spec.recipe and spec.recipe.model_dump(exclude={"checkpoint_every"}),
        "sigma": spec.sigma,
        # Of a plug-in, the function; its text is part of the code.
        "noise": spec.noise.rpartition(":")[2] if spec.sigma is not None else None,
        "classes": spec.classes,
        "crop": spec.crop,
        "seed": [config.base_seed, spec.seed_name],
        "arithmetic": [
            config.device,
            config.precision,
            config.threads,
            config.compile,
        ],
        "code": code_digest(*spec.code),
        "parents": [settings_fingerprint(config, parent) for parent in spec.parents],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def split_digest(path: Path, split: str) -> str:
    """Digest the pixels and targets of a split, or the bytes of its files, in their order.

    Names, folders and origins do not count.
    """
    state = path.stat() if path.exists() else None
    return _split_digest(path, split, state and (state.st_mtime_ns, state.st_size, state.st_ino))


@functools.lru_cache
def _split_digest(path: Path, split: str, state: tuple | None) -> str:
    """Digest a split; `state` changes with the file."""
    digest = hashlib.sha256()
    with open_arrays(path) as arrays:
        for name in sorted(arrays):
            place, _, kind = name.partition("/")
            if place == split and kind.partition("/")[0] in _DECISIVE:
                values = arrays[name]
                digest.update(f"{kind} {values.dtype} {values.shape}".encode())
                digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


# Arrays of `dhl.data.image_set` that decide a training.
_DECISIVE = ("images", "targets", "sizes", "resize", "crop", "content", "void")


def settings_digest(*settings: Any) -> str:
    """Digest configuration values; equal values have equal digests."""
    plain = [
        value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for value in settings
    ]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
