"""The data sets and weights that a configuration downloads, or reads from installed packages."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec

from dhl.config.architectures import PUBLISHED, entry_of
from dhl.config.catalogue import CATALOGUE
from dhl.config.methods import PEERS, TASK_NETWORKS
from dhl.config.networks import Network
from dhl.config.schema import Config
from dhl.errors import missing_extra, without_secrets

SECRETS = "DHL_SECRETS"  # environment variable for the jobs of a run: mirrors with their secrets


def needed_sets(config: Config) -> tuple[str, ...]:
    """Return the catalogue names of a configuration's data sets and weights, each once."""
    names = [name for part in config.parts for name in downloads_of(config, part)]
    names += [name for one in _networks(config) if (name := downloaded_weights(*one))]
    return tuple(dict.fromkeys(names))


def check_packages(config: Config) -> None:
    """Check that the packages are installed that networks and their weights need.

    Raises
    ------
    UserError
        If one is missing in the environment of this process.
    """
    missing = [
        (package, extra)
        for role, network in _networks(config)
        for package, extra in _packages(role, network)
        if find_spec(package) is None
    ]
    if missing:
        packages, extras = (",".join(dict.fromkeys(names)) for names in zip(*missing))
        raise missing_extra(packages, extras)


def _packages(role: str, network: Network) -> Iterator[tuple[str, str]]:
    """Yield each package that a network or its weights need, and the extra with this package."""
    entry = entry_of(role, network.name)
    weights = network.weights or ""
    of_weights = entry.weight_packages if weights == PUBLISHED[role] else ()
    for package in (*entry.packages, *of_weights):
        yield package, entry.extra or ""
    if weights.endswith(".mat"):
        yield "h5py", "calibration"


def _networks(config: Config) -> Iterator[tuple[str, Network]]:
    """Yield the role and the settings of each network of a configuration."""
    for name in ("denoiser", *PEERS):
        yield "denoiser", getattr(config.parts.denoising, name)
    for task, role in TASK_NETWORKS.items():
        if task in config.parts:
            yield from ((role, network) for network in config.task_networks(task))


def downloads_of(config: Config, part: str) -> tuple[str, ...]:
    """Return the catalogue names of the data sets of a part."""
    return config.parts[part].data.downloads


def mirrors_of(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the addresses and folders to try before the official addresses, by set."""
    secrets = json.loads(os.environ.get(SECRETS, "{}"))
    mirrors = {
        name: tuple(secrets.get(source, source) for source in sources)
        for name, sources in config.downloads.mirrors.items()
    }
    for part in config.parts:
        spec = config.parts[part].data
        if spec.kind == "ilsvrc2012":
            mirrors[spec.kind] = (*mirrors.get(spec.kind, ()), spec.path)
    return mirrors


def secrets_of(config: Config) -> str:
    """Return JSON that maps each mirror's address without its secret to the full address.

    Mirrors without secrets are left out. No file of a run has a secret: jobs, which read a written
    configuration, get the secrets in the variable `SECRETS`.
    """
    sources = [source for every in config.downloads.mirrors.values() for source in every]
    public = {without_secrets(source): source for source in sources}
    return json.dumps({short: full for short, full in public.items() if short != full})


def downloaded_weights(role: str, network: Network) -> str | None:
    """Return the catalogue name of the weights that a network needs; None if it needs none."""
    name = entry_of(role, network.name).pretrained
    return name if network.weights == PUBLISHED[role] and name in CATALOGUE else None
