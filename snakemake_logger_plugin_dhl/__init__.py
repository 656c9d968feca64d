"""The live view as a plug-in of Snakemake: `snakemake --logger dhl`."""

from dhl.cli.live_view import LogHandler

__all__ = ["LogHandler"]
