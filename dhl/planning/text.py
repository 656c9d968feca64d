"""A plan as a table for people, or as JSON for machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from dhl.planning.plan import Plan, Row

# From the largest unit to the smallest.
FLOPS = {"E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6}
HOURS = {"h": 1, "min": 1 / 60, "s": 1 / 3600}
BYTES = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}


def to_json(plan: Plan) -> str:
    """Write a plan for machines."""
    content: dict[str, Any] = {
        "run": plan.run,
        "device": asdict(plan.device),
        "warnings": plan.warnings,
        "jobs": plan.jobs,
        "totals": plan.totals,
        "download_bytes": plan.download_bytes,
        "checkpoint_bytes": plan.checkpoint_bytes,
        "rows": [asdict(row) for row in plan.rows],
    }
    return json.dumps(content, indent=1)


def to_text(plan: Plan) -> str:
    """Write a plan for people: an aligned table, and what its estimates rest on."""
    head = ("rule", "what", "jobs", "work", "one takes", "FLOP", "device", "CPU", "disk")
    total = Row("total", "", sum(plan.jobs.values()), **plan.totals)
    cells = [head, *(_cells(row) for row in (*plan.rows, total))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    words = {0, 1, 3}
    lines = [
        "  ".join(
            cell.ljust(width) if column in words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([f"{plan.run}: {total.jobs:,} jobs", "", *lines, "", *_notes(plan)])


def _cells(row: Row) -> tuple[str, ...]:
    """Write a row; what is nothing is left empty."""
    return (
        row.rule, row.what, f"{row.jobs:,}", row.work, _quantity(row.flops_each, FLOPS),
        _quantity(row.flops, FLOPS), _quantity(row.device_hours, HOURS),
        _quantity(row.cpu_hours, HOURS), _quantity(row.disk_bytes, BYTES),
    )  # fmt: skip


def _quantity(value: float, units: dict[str, float]) -> str:
    """Write a value in the largest unit that it has one of."""
    if not value:
        return ""
    unit = next((unit for unit, size in units.items() if value >= size), list(units)[-1])
    scaled = value / units[unit]
    return f"{scaled:,.0f} {unit}" if scaled >= 100 else f"{scaled:.3g} {unit}"


def _notes(plan: Plan) -> list[str]:
    """Say what the estimates rest on."""
    device = plan.device
    training, evaluation = (rate * device.share for rate in (device.training, device.evaluation))
    longest = max(plan.rows, key=lambda row: row.job_hours)
    return [
        "One takes: operations of a training step, or of all methods on a test image; convolutions "
        "and matrix products.",
        f"Device: {device.label}; {training:.3g} TFLOPS in training ({device.format}) and "
        f"{evaluation:.3g} in evaluation (float32), {device.share:.0%} of the peak, "
        f"at least {1000 * device.step_seconds:g} ms a training step; {device.source}.",
        "CPU: one core. CBM3D is spread over jobs by `evaluation.baseline_shards`.",
        f"Longest job: {longest.rule} {longest.what}, {_quantity(longest.job_hours, HOURS)}.",
        f"Beside its model, a training keeps up to {_quantity(plan.checkpoint_bytes, BYTES)} to "
        "resume from.",
        f"To download: {_quantity(plan.download_bytes, BYTES) or 'nothing'}.",
        *(f"Warning: {warning}" for warning in plan.warnings),
    ]
