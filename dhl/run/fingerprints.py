"""Digests of settings and models, which decide what must be computed again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from dhl.config.architectures import entry_of
from dhl.config.schema import Config
from dhl.run.code_digest import code_digest
from dhl.run.model_graph import model_spec


def fingerprint(config: Config, key: str) -> str:
    """Digest all that decides a model's weights: its spec, code, data, seed and parents."""
    spec = model_spec(config, key)
    data = config.parts[spec.part].data
    content = {
        "key": key,
        "network": spec.network.model_dump(),
        "builder": entry_of(spec.role, spec.network.name).builder.rpartition(":")[2],
        "objective": spec.objective,
        "recipe": spec.recipe and spec.recipe.model_dump(exclude={"checkpoint_every"}),
        "sigma": spec.sigma,
        "noise": spec.noise if spec.sigma is not None else None,
        "data": data.model_dump(),
        "classes": spec.classes,
        "seed": [config.base_seed, spec.seed_name],
        "arithmetic": [
            config.device,
            config.precision,
            config.threads,
            config.compile,
        ],
        "code": code_digest(*spec.code, *data.code),
        "parents": [fingerprint(config, parent) for parent in spec.parents],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def settings_digest(*settings: Any) -> str:
    """Digest configuration values; equal values have equal digests."""
    plain = [
        value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for value in settings
    ]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
