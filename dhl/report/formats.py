"""How the report prints values: units, decimals, signs, intervals and durations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import yaml

from dhl.analysis.scores import TARGET, comparative
from dhl.analysis.tables import UNITS
from dhl.config.methods import label_of, part_name
from dhl.report.content import variant
from dhl.report.names import listed
from dhl.sigma import format_sigma

NONE = "–"


def format_value(value: float, metric: str) -> str:
    """Print a value in the metric's unit and precision."""
    _, factor, decimals, unit, _ = UNITS[metric]
    if pd.isna(value):
        return NONE
    return f"{factor * value:.{decimals}f} {unit}".rstrip()


def format_number(value: float, metric: str) -> str:
    """Print a value in the metric's precision, without its unit."""
    return format_value(value, metric).partition(" ")[0]


def format_difference(value: float, metric: str) -> str:
    """Print a difference with its sign; fractions in percentage points."""
    _, factor, decimals, _, unit = UNITS[metric]
    if pd.isna(value):
        return NONE
    return f"{_signed(factor * value, decimals)} {unit}".rstrip()


def format_bounds(low: float, high: float, metric: str) -> str:
    """Print an interval of a difference."""
    _, factor, decimals, _, _ = UNITS[metric]
    return f"{_signed(factor * low, decimals)} to {_signed(factor * high, decimals)}"


def format_interval(row: dict[str, Any], metric: str, kind: str = "") -> str:
    """Print the interval of a difference: all sources of error, or `units_`, `seed_`, ..."""
    ends = [row[f"{kind}{end}"] for end in ("low", "high")]
    if not all(map(math.isfinite, ends)):
        return "unknown"
    return format_bounds(ends[0], ends[1], metric)


def format_share(value: float) -> str:
    """Print a share in percent."""
    return f"{100 * value:.0f} %".replace("-", "−") if math.isfinite(value) else NONE


def _signed(value: float, decimals: int) -> str:
    """Print a number with its sign, a true minus and no negative zero."""
    text = f"{value:+.{decimals}f}"
    return "0" + text[2:] if float(text) == 0 else text.replace("-", "−")


def short_claim(claim: dict[str, Any]) -> str:
    """Name the methods of a row of a claim: see `name_comparison`."""
    methods = (claim["method_a"], claim["method_b"], claim["over"])
    return name_comparison(*methods, metric=claim["metric"])


def name_comparison(a: str, b: str, over: str, *, metric: str) -> str:
    """Name compared methods: `Joint above Separate`, `Cross keeps the gain of Joint over ...`."""
    if over:
        return f"{label_of(a)} keeps the gain of {label_of(b)} over {label_of(over)}"
    return f"{label_of(a)} {comparative(metric)} {label_of(b)}"


def format_p(value: float) -> str:
    """Print a p-value to three decimals."""
    if pd.isna(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def format_duration(seconds: float | None) -> str:
    """Print a duration in seconds, minutes or hours."""
    if seconds is None or pd.isna(seconds):
        return "not recorded"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


FILTERS: dict[str, Callable[..., Any]] = {
    "measure": format_value,
    "signed": format_difference,
    "interval": format_interval,
    "bounds": format_bounds,
    "signed_number": lambda value, metric: format_difference(value, metric).partition(" ")[0],
    "share": format_share,
    "short_claim": short_claim,
    "listed": listed,
    "p_value": format_p,
    "count": lambda number: f"{number:,.0f}" if pd.notna(number) else NONE,
    "plain_signed": lambda number: _signed(number, 2) if pd.notna(number) else NONE,
    "sigma": format_sigma,
    "duration": format_duration,
    "number": format_number,
    "metric_name": lambda metric: UNITS[metric][0],
    "target": TARGET.get,
    "method_label": label_of,
    "part_name": part_name,
    "variant": variant,
    "slug": lambda text: str(text).replace(" ", "-"),
    "upper_first": lambda text: text[:1].upper() + text[1:],
    "to_yaml": lambda values: yaml.safe_dump(values, sort_keys=False),
}
