"""Names on axes."""

from __future__ import annotations

from dhl.config.plugins import noise_name
from dhl.config.schema import Config


def sigma_axis(config: Config) -> str:
    """Return the label of an axis of noise levels, with the name of the noise."""
    return f"Sigma, {noise_name(config.noise)}"
