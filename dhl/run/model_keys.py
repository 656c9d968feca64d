"""The keys of models, `<name>/<variant>`; `dhl.run.model_graph` explains them."""

from __future__ import annotations

from dhl.config.methods import TASK_NETWORKS, TASK_OF_NETWORK
from dhl.config.schema import Config
from dhl.seeding import Draw, seed_suffix
from dhl.sigma import format_sigma

# Models that depend on a task network: they are trained once for each of its trainings.
TASK_DEPENDENT = ("joint", "permuted", "perceptual", "retrained")


def sigma_key(name: str, sigma: float, *, factor: float = 1) -> str:
    """Return the key of a model for one sigma, in its first training.

    `factor` multiplies the task weight of a joint training.
    """
    return f"{name}/sigma{format_sigma(sigma)}{times_suffix(factor)}"


def key_in_draw(config: Config, key: str, draw: Draw) -> str:
    """Return the key of another training of a model; `key` is that of its first training.

    A task network that the run does not train is the same in every draw.
    """
    kind, _, task = key.partition("/")[0].partition("-")
    if kind in TASK_OF_NETWORK:
        trained = is_trained_here(config, TASK_OF_NETWORK[kind])
        return key + seed_suffix(draw.task if trained else 1)
    if kind in TASK_DEPENDENT and is_trained_here(config, task.partition("-")[0]):
        return key + draw.suffix
    return key + seed_suffix(draw.seed)


def is_trained_here(config: Config, task: str) -> bool:
    """Tell whether the run trains a task's network, rather than uses published weights."""
    return task in config.parts and config.parts[task].training.task_network is not None


def times_suffix(factor: float) -> str:
    """Return the suffix of a model with `factor` times its recipe's task weight."""
    return "" if factor == 1 else f"-times{factor:g}"


def task_network_key(task: str, label: str = "") -> str:
    """Return the key of a task network on clean images; `label` names a further network."""
    return f"{with_label(TASK_NETWORKS[task], label)}/clean"


def with_label(name: str, label: str) -> str:
    """Add the short name of a further task network to the name of a model."""
    return f"{name}-{label}" if label else name
