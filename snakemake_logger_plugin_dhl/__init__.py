"""The live view as a plug-in of Snakemake: `snakemake --logger dhl`."""

from snakemake_logger_plugin_dhl.live_view import LogHandler

__all__ = ["LogHandler"]
