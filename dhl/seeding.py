"""Seeds from hashed names, so that no random draw depends on the order of the draws."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Draw:
    """Which of several trainings: of the task networks, and of the denoisers.

    Attributes
    ----------
    task : int
        Number of the task networks' training, up to the configuration's `task_seeds`.
    seed : int
        Number of the denoisers' training, up to `seeds`.
    """

    task: int = 1
    seed: int = 1

    @property
    def suffix(self) -> str:
        """Suffix of a file's name, such as `-task2-seed3`; empty for the first draw."""
        task = "" if self.task == 1 else f"-task{self.task}"
        return task + seed_suffix(self.seed)


FIRST = Draw()
_SUFFIX = re.compile(r"(.*?)(?:-task([0-9]+))?(?:-seed([0-9]+))?")


def split_draw(name: str) -> tuple[str, Draw]:
    """Split the suffix of a draw from the end of a name; a name without one has the first draw."""
    found = _SUFFIX.fullmatch(name)
    assert found is not None, "the pattern fits every line"
    rest, task, seed = found.groups()
    return rest, Draw(int(task or 1), int(seed or 1))


def seed_suffix(seed: int) -> str:
    """Return the suffix of a network's training: empty for seed 1, else like `-seed2`."""
    return "" if seed == 1 else f"-seed{seed}"


def numpy_generator(*names: object) -> np.random.Generator:
    """Return a NumPy generator (PCG64), seeded from these names."""
    return np.random.default_rng(derive_seed(*names))


def torch_generator(*names: object, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator on `device`, seeded from these names."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(*names))
