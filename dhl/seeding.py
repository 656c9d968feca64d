"""Seeds from hashed names, so that no random draw depends on the order of the draws."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(*names: object) -> int:
    """Hash a sequence of names to a seed.

    Parameters
    ----------
    *names : str, int or float
        The names of the draw, from general to specific: base seed, data set, image, sigma. A
        whole float gives the same seed as the integer (30.0 and 30).

    Returns
    -------
    int
        In [0, 2**63); equal names give equal seeds on every machine.
    """
    plain = (f"{name:.10g}" if isinstance(name, float) else str(name) for name in names)
    text = "\x1f".join(plain)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_suffix(seed: int) -> str:
    """Return the file-name suffix of a training: empty for seed 1, else like `-seed2`."""
    return "" if seed == 1 else f"-seed{seed}"


def numpy_generator(*names: object) -> np.random.Generator:
    """Return a NumPy generator (PCG64), seeded from these names."""
    return np.random.default_rng(derive_seed(*names))


def torch_generator(*names: object, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator on `device`, seeded from these names."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(*names))
