"""The data sets and weights that a configuration downloads."""

from __future__ import annotations

from dhl.config.architectures import entry_of
from dhl.config.catalogue import CATALOGUE
from dhl.config.methods import TASK_NETWORKS
from dhl.config.networks import Network
from dhl.config.schema import Config


def needed_sets(config: Config) -> tuple[str, ...]:
    """Return the catalogue names of a configuration's data sets and weights, each once."""
    names = [name for part in config.parts for name in downloads_of(config, part)]
    for task, role in TASK_NETWORKS.items():
        if task in config.parts:
            weights = (downloaded_weights(role, network) for network in config.task_networks(task))
            names += [name for name in weights if name]
    return tuple(dict.fromkeys(names))


def downloads_of(config: Config, part: str) -> tuple[str, ...]:
    """Return the catalogue names of the data sets of a part."""
    return config.parts[part].data.downloads


def mirrors_of(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the addresses and folders to try before the official addresses, by set."""
    mirrors = dict(config.downloads.mirrors)
    for part in config.parts:
        spec = config.parts[part].data
        if spec.kind == "ilsvrc2012":
            mirrors[spec.kind] = (*mirrors.get(spec.kind, ()), spec.path)
    return mirrors


def downloaded_weights(role: str, network: Network) -> str | None:
    """Return the catalogue name of the weights that a network needs; None if it needs none."""
    name = entry_of(role, network.name).pretrained
    return name if network.weights == "imagenet" and name in CATALOGUE else None
