"""How the values and differences of each metric are printed: unit, decimals and sign."""

from __future__ import annotations

from typing import NamedTuple


def signed(value: float, decimals: int) -> str:
    """Print a number with its sign; a number that rounds to zero has none."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


class Unit(NamedTuple):
    """How a metric is printed.

    Attributes
    ----------
    title : str
        The metric's name.
    factor : int
        A stored value times this is the printed one: fractions are printed in percent.
    decimals : int
    symbol, difference_symbol : str
        The unit of a value and of a difference; empty if there is none.
    """

    title: str
    factor: int
    decimals: int
    symbol: str = ""
    difference_symbol: str = ""

    def number(self, value: float) -> str:
        """Print a value without its unit."""
        return f"{self.factor * value:.{self.decimals}f}"

    def value(self, value: float) -> str:
        """Print a value with its unit."""
        return f"{self.number(value)} {self.symbol}".rstrip()

    def signed(self, difference: float) -> str:
        """Print a difference without its unit."""
        return signed(self.factor * difference, self.decimals)

    def difference(self, difference: float) -> str:
        """Print a difference with its unit."""
        return f"{self.signed(difference)} {self.difference_symbol}".rstrip()

    def interval(self, low: float, high: float) -> str:
        """Print the interval of a difference."""
        return f"{self.signed(low)} to {self.signed(high)}"


UNITS = {
    "psnr": Unit("PSNR", 1, 2, "dB", "dB"),
    "ssim": Unit("SSIM", 1, 4),
    "top1": Unit("Top-1 accuracy", 100, 1, "%", "points"),
    "top5": Unit("Top-5 accuracy", 100, 1, "%", "points"),
    "miou": Unit("mIoU", 100, 1, "%", "points"),
    "cross_entropy": Unit("Cross-entropy", 1, 3, "nat", "nat"),
    "gmsd": Unit("GMSD", 1, 4),
    "gradient": Unit("Relative gradient", 1, 3),
}
