"""The comparison of two runs as aligned text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import pandas as pd

from dhl.analysis.compare import MOVED, ONLY_A, ONLY_B, SAME, WITHIN_CHANCE, RunComparison
from dhl.analysis.units import UNITS
from dhl.config.methods import TASKS, is_trained
from dhl.sigma import format_sigma

ALL = (MOVED, WITHIN_CHANCE, SAME)

_WIDTH = 100
_SETTINGS = 12  # settings to list: different configurations can differ in hundreds
_WORDS = {0, 2, 3, 9}  # left-aligned columns
# What a run may lack as a whole, from the coarsest level to the finest.
_LEVELS = (
    ["part"], ["part", "sigma"], ["part", "method"], ["part", "metric"],
    ["part", "sigma", "method", "metric"],
)  # fmt: skip


def to_text(comparison: RunComparison, shown: tuple[str, ...] = (MOVED,)) -> str:
    """Format a comparison, with a row for each cell whose verdict is in `shown`."""
    counts = {verdict: int((comparison.cells["verdict"] == verdict).sum()) for verdict in ALL}
    blocks = [
        [f"A: {comparison.name_a}", f"B: {comparison.name_b}"],
        [_settings(comparison)],
        _table(comparison, shown),
        [f"Of {sum(counts.values())} cells: {', '.join(f'{counts[v]} {v}' for v in ALL)}."],
        _alone(comparison.cells),
        _verdicts(comparison),
        _tests(comparison),
        _trainings(comparison.cells),
    ]
    fill = textwrap.TextWrapper(_WIDTH, break_long_words=False, break_on_hyphens=False).fill
    return "\n\n".join(
        # A row of the table begins with two spaces and stays one line.
        "\n".join(line if line.startswith("  ") else fill(line) for line in lines)
        for lines in blocks
        if lines
    )


def _settings(comparison: RunComparison) -> str:
    """Write the differences between the manifests in a paragraph."""
    if not comparison.settings:
        return "Code, versions, hardware and configuration are the same."
    texts = []
    for name, a, b in comparison.settings[:_SETTINGS]:
        section, _, rest = name.partition(".")
        short = rest if section in ("versions", "hardware", "configuration") else name
        texts.append(f"{'uncommitted changes' if name == 'dirty' else short} {a} / {b}")
    more = len(comparison.settings) - len(texts)
    return f"Different (A / B): {'; '.join(texts)}{f'; and {more} more' if more else ''}."


def _table(comparison: RunComparison, shown: tuple[str, ...]) -> list[str]:
    """Write the cells with the verdicts that are shown, aligned."""
    cells = comparison.cells[comparison.cells["verdict"].isin(shown)]
    if cells.empty:
        return []
    level = f"{100 * comparison.confidence:g} % interval"
    head = ("part", "sigma", "method", "metric", "A", "B", "B - A", level, "p (Holm)", "verdict")
    rows = [head, *(_row(cell) for cell in cells.to_dict("records"))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            text.ljust(width) if column in _WORDS else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _row(cell: dict) -> tuple[str, ...]:
    """Write a cell in the metric's unit and precision."""
    unit, p_value = UNITS[cell["metric"]], cell["p_adjusted"]
    return (
        cell["part"], format_sigma(cell["sigma"]), cell["method"],
        f"{unit.title} ({unit.symbol})".removesuffix(" ()"),
        unit.number(cell["value_a"]), unit.number(cell["value_b"]),
        unit.signed(cell["difference"]), unit.interval(cell["ci_low"], cell["ci_high"]),
        "< 0.0001" if p_value < 0.0001 else f"{p_value:.4f}", cell["verdict"],
    )  # fmt: skip


def _alone(cells: pd.DataFrame) -> list[str]:
    """List the cells of only one run, each by the coarsest level that the other lacks."""
    lines = []
    for verdict in (ONLY_A, ONLY_B):
        alone = cells["verdict"] == verdict
        names: dict[str, None] = {}
        for cell in cells[alone].to_dict("records"):
            level = next(
                columns
                for columns in _LEVELS
                if (cells.loc[~alone, columns] != [cell[name] for name in columns])
                .any(axis=1)
                .all()
            )
            texts = cell | {
                "sigma": f"sigma {format_sigma(cell['sigma'])}",
                "metric": UNITS[cell["metric"]].title,
            }
            names[", ".join(texts[name] for name in level)] = None
        lines += [f"Only in {verdict[-1].upper()}: {'; '.join(names)}."] if names else []
    return lines


def _verdicts(comparison: RunComparison) -> list[str]:
    """List the claims whose verdict changed, and those that only one run has."""
    both = {key: pair for key, pair in comparison.verdicts.items() if None not in pair}
    changed = {key: pair for key, pair in both.items() if pair[0] != pair[1]}
    lines = [f"Of {len(both)} verdicts on claims, {len(changed)} changed{':' if changed else '.'}"]
    for (claim, sigma), (a, b) in changed.items():
        level = "all sigmas" if sigma is None else f"sigma {format_sigma(sigma)}"
        lines.append(f"  {claim}, {level}: {a} -> {b}")
    for side, name in ((1, "A"), (0, "B")):
        known = {claim for (claim, _), pair in comparison.verdicts.items() if pair[side]}
        alone = [key for key, pair in comparison.verdicts.items() if pair[side] is None]
        texts = list(dict.fromkeys(claim for claim, _ in alone if claim not in known))
        sigmas = [
            "all" if sigma is None else format_sigma(sigma)
            for claim, sigma in alone
            if claim in known
        ]
        if sigmas:
            levels = ", ".join(dict.fromkeys(sigmas))
            texts.append(f"{len(sigmas)} at sigma {levels} of claims that both have")
        lines += [f"Verdicts only in {name}: {'; '.join(texts)}."] if texts else []
    return lines


def _grouped(levels: Iterable[tuple[str, float]]) -> str:
    """Write parts, each with its sigmas."""
    groups: dict[str, list[str]] = {}
    for part, sigma in levels:
        groups.setdefault(part, []).append(format_sigma(sigma))
    return "; ".join(f"{part} (sigma {', '.join(sigmas)})" for part, sigmas in groups.items())


def _tests(comparison: RunComparison) -> list[str]:
    """Describe the tests of the cells."""
    cells = comparison.cells[comparison.cells["verdict"].isin(ALL)]
    levels = dict.fromkeys(zip(cells["part"], cells["sigma"], strict=True))
    paired = [level for level in levels if level not in comparison.unpaired]
    lines = [
        f"Moved: p below {1 - comparison.confidence:g} after Holm's correction for "
        f"{len(cells)} cells. Intervals are over images, and over several trainings."
    ]
    if paired:
        lines.append(f"Tested image by image: {_grouped(paired)}.")
    for reason in dict.fromkeys(comparison.unpaired.values()):
        group = [level for level, why in comparison.unpaired.items() if why == reason]
        lines.append(
            f"Tested without pairing, by the intervals of the two tables: {_grouped(group)}, "
            f"because {reason}. If the images are the same, this overlooks differences that a "
            "paired test would find."
        )
    if comparison.powerless:
        lines.append(
            f"{comparison.powerless} cells have a single test image, or no interval, and were not "
            "tested."
        )
    return lines


def _trainings(cells: pd.DataFrame) -> list[str]:
    """State which chance in the training the tests do not cover."""
    different = cells[cells["verdict"].isin([MOVED, WITHIN_CHANCE])]
    seeds = different.loc[different["method"].map(is_trained).astype(bool), ["seeds_a", "seeds_b"]]
    one, several = (seeds < 2).any(axis=1), (seeds > 1).any(axis=1)
    lines = []
    if (~several).any():
        lines.append(
            "With one training in both runs, a difference may come from chance in the training. "
            "`seeds` in the configuration adds trainings, which show this chance."
        )
    if (one & several).any():
        lines.append(
            "Where one run has one training, the spread of the other run's trainings was used for "
            "both."
        )
    if different["part"].isin(TASKS).any():
        lines.append(
            "Chance in the training of a task network shifts all methods of its task together, and "
            "no test between runs includes it."
        )
    return lines
