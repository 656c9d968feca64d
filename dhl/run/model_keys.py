"""The keys of models, `<name>/<variant>`; `dhl.run.model_graph` explains them."""

from __future__ import annotations

from dhl.config.methods import TASK_NETWORKS
from dhl.seeding import Draw, seed_suffix
from dhl.sigma import format_sigma

# Models that depend on a task network: they are trained once for each of its trainings.
TASK_DEPENDENT = ("joint", "permuted", "perceptual", "retrained")


def sigma_key(name: str, sigma: float, *, factor: float = 1) -> str:
    """Return the key of a model for one sigma, in its first training.

    `factor` multiplies the task weight of a joint training.
    """
    return f"{name}/sigma{format_sigma(sigma)}{times_suffix(factor)}"


def key_in_draw(key: str, draw: Draw) -> str:
    """Return the key of another training of a model; `key` is that of its first training."""
    name, _, variant = key.partition("/")
    if variant == "clean":
        return key + seed_suffix(draw.task)
    dependent = name.partition("-")[0] in TASK_DEPENDENT
    return key + (draw.suffix if dependent else seed_suffix(draw.seed))


def times_suffix(factor: float) -> str:
    """Return the suffix of a model with `factor` times its recipe's task weight."""
    return "" if factor == 1 else f"-times{factor:g}"


def task_network_key(task: str, label: str = "") -> str:
    """Return the key of a task network on clean images; `label` names a further network."""
    return f"{with_label(TASK_NETWORKS[task], label)}/clean"


def with_label(name: str, label: str) -> str:
    """Add the short name of a further task network to the name of a model."""
    return f"{name}-{label}" if label else name
