"""How the report prints values: units, decimals, signs, intervals and durations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import yaml

from dhl.analysis.scores import TARGET, comparative
from dhl.analysis.units import UNITS, signed
from dhl.config.methods import label_of, part_name
from dhl.report.content import variant
from dhl.sigma import format_sigma
from dhl.words import listed

NONE = "–"


def format_value(value: float, metric: str) -> str:
    """Print a value in the metric's unit and precision."""
    return NONE if pd.isna(value) else UNITS[metric].value(value)


def format_number(value: float, metric: str) -> str:
    """Print a value in the metric's precision, without its unit."""
    return NONE if pd.isna(value) else UNITS[metric].number(value)


def format_difference(value: float, metric: str) -> str:
    """Print a difference with its sign; fractions in percentage points."""
    return NONE if pd.isna(value) else UNITS[metric].difference(value)


def format_interval(row: dict[str, Any], metric: str, kind: str = "") -> str:
    """Print the interval of a difference: all sources of error, or `units_`, `seed_`, ..."""
    low, high = row[f"{kind}low"], row[f"{kind}high"]
    known = math.isfinite(low) and math.isfinite(high)
    return UNITS[metric].interval(low, high) if known else "unknown"


def format_share(value: float) -> str:
    """Print a share in percent."""
    return f"{100 * value:.0f} %" if math.isfinite(value) else NONE


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
    "bounds": lambda low, high, metric: UNITS[metric].interval(low, high),
    "signed_number": lambda value, metric: UNITS[metric].signed(value) if pd.notna(value) else NONE,
    "share": format_share,
    "short_claim": short_claim,
    "listed": listed,
    "p_value": format_p,
    "count": lambda number: f"{number:,.0f}" if pd.notna(number) else NONE,
    "plain_signed": lambda number: signed(number, 2) if pd.notna(number) else NONE,
    "sigma": format_sigma,
    "duration": format_duration,
    "number": format_number,
    "metric_name": lambda metric: UNITS[metric].title,
    "target": TARGET.get,
    "method_label": label_of,
    "part_name": part_name,
    "variant": variant,
    "slug": lambda text: str(text).replace(" ", "-"),
    "upper_first": lambda text: text[:1].upper() + text[1:],
    "to_yaml": lambda values: yaml.safe_dump(values, sort_keys=False),
}
