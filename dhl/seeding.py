"""Seeds derived by hashing names, so that no draw depends on the order in which draws are made."""

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
        What the draw belongs to, from the general to the particular: base seed, data set, image,
        sigma. An integral float names the same draw as the integer (30.0 and 30).

    Returns
    -------
    int
        In [0, 2**63); equal names give equal seeds on every machine.
    """
    text = "\x1f".join(_canonical(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_suffix(seed: int) -> str:
    """Return what marks the files of a training by its number: nothing for the first."""
    return "" if seed == 1 else f"-seed{seed}"


def _canonical(name: object) -> str:
    """Write numbers in one way, whatever their type."""
    return f"{name:.10g}" if isinstance(name, float) else str(name)


def numpy_generator(*names: object) -> np.random.Generator:
    """Return a NumPy generator (PCG64) of the draw with these names."""
    return np.random.default_rng(derive_seed(*names))


def torch_generator(*names: object, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator of the draw with these names, living on `device`."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(*names))
