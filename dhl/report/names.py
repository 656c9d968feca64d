"""Names in sentences and on axes."""

from __future__ import annotations

from collections.abc import Iterable

from dhl.config.plugins import is_reference, load_plugin
from dhl.config.schema import Config


def noise_name(config: Config) -> str:
    """Return the name of the noise: of a plug-in, the name of its function in words."""
    if not is_reference(config.noise):
        return "white Gaussian noise"
    words = load_plugin(config.noise).name.replace("_", " ").strip()
    return words if words.endswith("noise") else f"{words} noise"


def sigma_axis(config: Config) -> str:
    """Return the label of an axis of noise levels, with the name of the noise."""
    return f"Sigma, {noise_name(config)}"


def listed(words: Iterable[str]) -> str:
    """Join words as in a sentence: `a, b and c`."""
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last
