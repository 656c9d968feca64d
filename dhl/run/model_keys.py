"""The keys of models, `<name>/<variant>`; `dhl.run.model_graph` explains them."""

from __future__ import annotations

from dhl.config.methods import TASK_NETWORKS
from dhl.seeding import seed_suffix
from dhl.sigma import format_sigma


def sigma_key(name: str, sigma: float, seed: int = 1, *, factor: float = 1) -> str:
    """Return the key of a model for one sigma; `seed` is the number of its training.

    `factor` multiplies the task weight of a joint training.
    """
    return f"{name}/sigma{format_sigma(sigma)}{times_suffix(factor)}{seed_suffix(seed)}"


def times_suffix(factor: float) -> str:
    """Return the suffix of a model with `factor` times its recipe's task weight."""
    return "" if factor == 1 else f"-times{factor:g}"


def task_network_key(task: str, label: str = "") -> str:
    """Return the key of a task network on clean images; `label` names a further network."""
    return f"{with_label(TASK_NETWORKS[task], label)}/clean"


def with_label(name: str, label: str) -> str:
    """Add the short name of a further task network to the name of a model."""
    return f"{name}-{label}" if label else name
