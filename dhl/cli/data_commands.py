"""The commands that download, make and check data, one function each.

Their docstrings are the help texts of the command line.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dhl.errors import UserError

if TYPE_CHECKING:
    from dhl.config.schema import Config
    from dhl.run.folder import RunFolder

Arguments = argparse.Namespace


def run_data_make(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Make or read the clean images of a part."""
    from dhl.data.prepare import write_data
    from dhl.run.downloads import downloads_of

    fetch_missing(config, downloads_of(config, arguments.part))
    write_data(config, arguments.part, folder)


def run_data_download(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Download data sets and weights: the given ones, or all that the configuration needs."""
    from dhl.data.download import fetch, write_receipt
    from dhl.data.locations import data_root
    from dhl.run.downloads import mirrors_of, needed_sets

    root, needed = data_root(config), needed_sets(config)
    for name in arguments.sets or needed:
        fetch(name, root=root, mirrors=mirrors_of(config))
        if name in needed:  # another set is no file of the run
            write_receipt(name, root=root, path=folder.download(name))


def fetch_missing(config: Config, names: Iterable[str]) -> None:
    """Download sets whose folder is missing.

    Snakemake does not repeat a download that has a receipt.
    """
    from dhl.data.download import fetch
    from dhl.data.locations import data_root
    from dhl.run.downloads import mirrors_of

    root = data_root(config)
    for name in names:
        if not (root / name).is_dir():
            fetch(name, root=root, mirrors=mirrors_of(config))


def run_data_check(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Check that data and packages of a configuration are complete: a run can start with them.

    The data is read as the run reads it; nothing is downloaded or written.
    """
    from dhl.data.check import check_data

    findings = []
    for finding in check_data(config, decode=arguments.decode):
        print(finding, flush=True)
        findings.append(finding)
    if not findings:
        print(
            f"{config.run}: the data comes from installed packages; there is nothing to download."
        )
    if bad := [finding for finding in findings if finding.to_do]:
        raise UserError(
            f"{len(bad)} of {len(findings)} checks found something missing, damaged or unusable.",
            came=", ".join(finding.name for finding in bad),
            do="; ".join(dict.fromkeys(finding.to_do for finding in bad)),
        )


def run_noise(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Record the noise of a part's test images."""
    from dhl.data.prepare import write_noise

    write_noise(config, arguments.part, arguments.sigma, folder)
