"""Noise levels: sigma on the 0-255 scale, and the standard deviation on [0, 1]."""

from __future__ import annotations

from dhl.errors import ConfigError, UserError

GAUSSIAN = "gaussian"


def noise_std(sigma: float) -> float:
    """Convert a sigma on the 0-255 scale to a standard deviation on [0, 1].

    Raises
    ------
    UserError
        If `sigma` is negative, above 255, or looks like a [0, 1]-scale value (0 < sigma < 1).
    """
    if not (sigma == 0 or 1 <= sigma <= 255):
        raise UserError(
            f"Sigma {sigma:g} is not on the 0-255 scale.",
            came=f"sigma {sigma:g}",
            do="multiply a [0, 1]-scale value by 255; the paper uses 15 to 60.",
        )
    return sigma / 255.0


def format_sigma(sigma: float) -> str:
    """Format sigma as in file names: `15`, `25.5`; exact for a sigma of a configuration."""
    return f"{sigma:g}"


def six_digits(number: float) -> float:
    """Return the number if `%g` writes it exactly, because file names contain it.

    Raises
    ------
    ConfigError
        If `%g` writes another number.
    """
    if float(f"{number:g}") != number:
        raise ConfigError(
            f"The number {number!r} has more than six digits.",
            came=f"{number!r}; it is part of the names of files",
            do=f"write {number:g}.",
        )
    return number
