"""What models are called: `<name>/<variant>`; see `dhl.run.model_graph` for what each is."""

from __future__ import annotations

from dhl.config.methods import TASK_NETWORKS
from dhl.seeding import seed_suffix
from dhl.sigma import format_sigma


def sigma_key(name: str, sigma: float, seed: int = 1, *, factor: float = 1) -> str:
    """Return the key of the model of one sigma, of the training with this number.

    `factor` multiplies the task weight of a joint training.
    """
    return f"{name}/sigma{format_sigma(sigma)}{times_suffix(factor)}{seed_suffix(seed)}"


def times_suffix(factor: float) -> str:
    """Return what marks a model that was trained with a multiple of its recipe's task weight."""
    return "" if factor == 1 else f"-times{factor:g}"


def task_network_key(task: str, label: str = "") -> str:
    """Return the key of a task network trained on clean images: the run's, or a further one."""
    return f"{with_label(TASK_NETWORKS[task], label)}/clean"


def with_label(name: str, label: str) -> str:
    """Add the short name of a further task network to the name of a model."""
    return f"{name}-{label}" if label else name
