"""A plan as a table for people, or as JSON for machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from dhl.planning.plan import Plan, Row

# From the largest unit to the smallest.
FLOPS = {"E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6}
SECONDS = {"days": 2 * 86400, "h": 3600, "min": 60, "s": 1, "ms": 1e-3}
BYTES = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}


def to_json(plan: Plan) -> str:
    """Write a plan for machines."""
    content: dict[str, Any] = {
        "run": plan.run,
        "machine": asdict(plan.machine),
        "jobs": plan.job_counts,
        "wall_seconds": plan.wall_seconds,
        "disk_bytes": plan.disk_bytes,
        "download_bytes": plan.download_bytes,
        "checkpoint_bytes": plan.checkpoint_bytes,
        "unknown": plan.unknown,
        "warnings": plan.warnings,
        "rows": [asdict(row) for row in plan.rows(by_subject=True)],
    }
    return json.dumps(content, indent=1)


def to_text(plan: Plan) -> str:
    """Write a plan for people: an aligned table, and what its estimates rest on."""
    cells = [("rule", "jobs", "work", "FLOP", "job time", "disk"), *map(_cells, plan.rows())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([f"{plan.run}: {len(plan.jobs):,} jobs", "", *lines, "", *_notes(plan)])


def _cells(row: Row) -> tuple[str, ...]:
    """Write a row; a zero is left empty."""
    unit = "steps" if row.rule == "train" else "images"
    return (
        row.rule, f"{row.jobs:,}", f"{row.amount:,} {unit}" if row.amount else "",
        _quantity(row.flops, FLOPS), _quantity(row.seconds, SECONDS),
        _quantity(row.disk_bytes, BYTES),
    )  # fmt: skip


def _quantity(value: float, units: dict[str, float]) -> str:
    """Write a value in the largest unit that does not exceed it."""
    if not value:
        return ""
    unit = next((unit for unit, size in units.items() if value >= size), list(units)[-1])
    scaled = value / (86400 if unit == "days" else units[unit])
    return f"{scaled:,.0f} {unit}" if scaled >= 100 else f"{scaled:.3g} {unit}"


def _notes(plan: Plan) -> list[str]:
    """Say how long the run takes and what else it needs."""
    machine = plan.machine
    name, longest = max(plan.jobs.items(), key=lambda item: item[1].seconds)
    networks = (
        "training steps, a forward pass"
        if machine.source == "measured"
        else f"a given rate of {machine.training_flops / 1e12:.3g} TFLOPS for networks"
    )
    return [
        f"Wall time: {_quantity(plan.wall_seconds, SECONDS)} on {machine.device}, "
        f"{machine.cores} core{'s' * (machine.cores > 1)}; from {networks}, CBM3D and the start "
        f"of a job ({machine.start_seconds:.2g} s), measured here.",
        f"Longest job: {name}, {_quantity(longest.seconds, SECONDS)}.",
        "Largest checkpoint of an unfinished training: "
        f"{_quantity(plan.checkpoint_bytes, BYTES) or 'none'}.",
        f"To download: {_quantity(plan.download_bytes, BYTES) or 'nothing'} (time not counted).",
        *([f"Not counted, unknown time: {', '.join(plan.unknown)}."] if plan.unknown else []),
        *(f"Warning: {warning}" for warning in plan.warnings),
    ]
