"""Names in sentences and on axes."""

from __future__ import annotations

from collections.abc import Iterable

from dhl.config.plugins import noise_name
from dhl.config.schema import Config


def sigma_axis(config: Config) -> str:
    """Return the label of an axis of noise levels, with the name of the noise."""
    return f"Sigma, {noise_name(config.noise)}"


def listed(words: Iterable[str]) -> str:
    """Join words as in a sentence: `a, b and c`."""
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last
