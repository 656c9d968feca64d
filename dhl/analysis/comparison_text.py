"""The comparison of two runs as aligned text for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import pandas as pd

from dhl.analysis.compare import (
    MOVED,
    ONLY_A,
    ONLY_B,
    SAME,
    WITHIN_CHANCE,
    Comparison,
    Place,
    VerdictKey,
)
from dhl.analysis.tables import UNITS
from dhl.config.methods import TASKS, is_trained
from dhl.sigma import format_sigma

ALL = (MOVED, WITHIN_CHANCE, SAME)

_WIDTH = 100
_SETTINGS = 12  # so many are written out: two runs of other configurations differ in hundreds
_WORDS = {0, 2, 3, 9}  # columns that begin at the left


def to_text(comparison: Comparison, shown: tuple[str, ...] = (MOVED,)) -> str:
    """Write a comparison for people.

    Parameters
    ----------
    comparison : Comparison
    shown : tuple of str
        Cells with these verdicts are rows; of the others their number is said.

    Returns
    -------
    str
        A is the first run and B the second; what differs around them, the cells, what one run alone
        has, the verdicts that changed, and how all was tested.
    """
    blocks = [
        [f"A: {comparison.name_a}", f"B: {comparison.name_b}"],
        [_settings(comparison)],
        _table(comparison, shown),
        [_counts(comparison)],
        _alone(comparison),
        _verdicts(comparison),
        _how(comparison),
        _trainings(comparison.cells),
    ]
    return "\n\n".join("\n".join(_wrapped(line) for line in lines) for lines in blocks if lines)


def _wrapped(line: str) -> str:
    """Break a sentence into lines; rows of the table, which begin with two spaces, stay whole."""
    if line.startswith("  "):
        return line
    return textwrap.fill(line, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _settings(comparison: Comparison) -> str:
    """Say in a paragraph what the manifests say differently."""
    if not comparison.settings:
        return "Code, versions, hardware and configuration are the same."
    texts = [f"{_short(name)} {a} / {b}" for name, a, b in comparison.settings[:_SETTINGS]]
    more = len(comparison.settings) - len(texts)
    return f"Different (A / B): {'; '.join(texts)}{f'; and {more} more' if more else ''}."


def _short(name: str) -> str:
    """Name a setting without its section of the manifest."""
    if name == "dirty":
        return "uncommitted changes"
    section, _, rest = name.partition(".")
    return rest if section in ("versions", "hardware", "configuration") else name


def _table(comparison: Comparison, shown: tuple[str, ...]) -> list[str]:
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
    name, factor, decimals, unit, _ = UNITS[cell["metric"]]
    low, high = (_signed(factor * cell[end], decimals) for end in ("ci_low", "ci_high"))
    return (
        cell["part"], format_sigma(cell["sigma"]), cell["method"],
        f"{name} ({unit})" if unit else name,
        f"{factor * cell['value_a']:.{decimals}f}", f"{factor * cell['value_b']:.{decimals}f}",
        _signed(factor * cell["difference"], decimals), f"{low} to {high}",
        _p_value(cell["p_adjusted"]), cell["verdict"],
    )  # fmt: skip


def _signed(value: float, decimals: int) -> str:
    """Print a number with its sign, and no negative zero."""
    text = f"{value:+.{decimals}f}"
    return f"{0:.{decimals}f}" if float(text) == 0 else text


def _p_value(value: float) -> str:
    """Print a p-value to four decimals."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _counts(comparison: Comparison) -> str:
    """Count the cells by verdict."""
    counts = comparison.cells["verdict"].value_counts()
    texts = [f"{counts.get(verdict, 0)} {verdict}" for verdict in ALL]
    compared = sum(counts.get(verdict, 0) for verdict in ALL)
    return f"Of {compared} cells: {', '.join(texts)}."


def _alone(comparison: Comparison) -> list[str]:
    """Name what one run alone has, as coarsely as it can be named."""
    lines = []
    cells = comparison.cells
    for verdict, name in ((ONLY_A, "A"), (ONLY_B, "B")):
        other = cells[cells["verdict"] != verdict]
        has = {
            width: set(other[columns].itertuples(index=False, name=None))
            for width, columns in _LEVELS.items()
        }
        names = dict.fromkeys(
            _place_of(cell, has) for cell in cells[cells["verdict"] == verdict].to_dict("records")
        )
        lines += [f"Only in {name}: {'; '.join(names)}."] if names else []
    return lines


# From the coarsest to the finest: what a run may lack as a whole.
_LEVELS = {
    "part": ["part"],
    "sigma": ["part", "sigma"],
    "method": ["part", "method"],
    "cell": ["part", "sigma", "method", "metric"],
}


def _place_of(cell: dict, has: dict[str, set[tuple]]) -> str:
    """Name the coarsest thing around a cell that the other run lacks."""
    level = next(
        name
        for name, columns in _LEVELS.items()
        if tuple(cell[column] for column in columns) not in has[name]
    )
    texts = {
        "sigma": f"sigma {format_sigma(cell['sigma'])}",
        "metric": UNITS[cell["metric"]][0],
    }
    return ", ".join(texts.get(column, str(cell[column])) for column in _LEVELS[level])


def _verdicts(comparison: Comparison) -> list[str]:
    """List the claims whose verdict is another."""
    both = {key: pair for key, pair in comparison.verdicts.items() if None not in pair}
    changed = {key: pair for key, pair in both.items() if pair[0] != pair[1]}
    lines = [f"Of {len(both)} verdicts on claims, {len(changed)} changed{':' if changed else '.'}"]
    lines += [
        f"  {claim}, {_sigma(sigma)}: {a} -> {b}" for (claim, sigma), (a, b) in changed.items()
    ]
    for side, name in ((1, "A"), (0, "B")):
        has = [key for key, pair in comparison.verdicts.items() if pair[side] is not None]
        alone = [key for key, pair in comparison.verdicts.items() if pair[side] is None]
        if alone:
            lines.append(f"Verdicts only in {name}: {_alone_verdicts(alone, has)}.")
    return lines


def _alone_verdicts(alone: list[VerdictKey], has: list[VerdictKey]) -> str:
    """Name claims that the other run lacks, and count the verdicts that it lacks of the others."""
    known = {claim for claim, _ in has}
    texts = [claim for claim in dict.fromkeys(claim for claim, _ in alone) if claim not in known]
    sigmas = [sigma for claim, sigma in alone if claim in known]
    if sigmas:
        levels = ", ".join("all" if sigma is None else format_sigma(sigma)
                           for sigma in dict.fromkeys(sigmas))  # fmt: skip
        texts.append(f"{len(sigmas)} at sigma {levels} of claims that both have")
    return "; ".join(texts)


def _sigma(sigma: float | None) -> str:
    """Name the sigma of a verdict."""
    return "all sigmas" if sigma is None else f"sigma {format_sigma(sigma)}"


def _grouped(places: Iterable[Place]) -> str:
    """Write parts, each with its sigmas."""
    groups: dict[str, list[str]] = {}
    for part, sigma in places:
        groups.setdefault(part, []).append(format_sigma(sigma))
    return "; ".join(f"{part} (sigma {', '.join(sigmas)})" for part, sigmas in groups.items())


def _how(comparison: Comparison) -> list[str]:
    """Say how the cells were tested."""
    compared = comparison.cells[comparison.cells["verdict"].isin(ALL)]
    places = dict.fromkeys(zip(compared["part"], compared["sigma"], strict=True))
    paired = [place for place in places if place not in comparison.unpaired]
    lines = [
        f"Moved: p below {1 - comparison.confidence:g} after Holm's correction for "
        f"{len(compared)} cells. Intervals are over images."
    ]
    if paired:
        lines.append(f"Tested image by image: {_grouped(paired)}.")
    reasons: dict[str, list[Place]] = {}
    for place, reason in comparison.unpaired.items():
        reasons.setdefault(reason, []).append(place)
    lines += [
        f"Tested without pairing, by the intervals of the two tables: {_grouped(group)}, because "
        f"{reason}. If the images are the same, this overlooks differences that a test image by "
        "image would find."
        for reason, group in reasons.items()
    ]
    if comparison.powerless:
        lines.append(
            f"{comparison.powerless} cells have too few images to be found to have moved, however "
            "large their difference."
        )
    return lines


def _trainings(cells: pd.DataFrame) -> list[str]:
    """Say what the tests cannot know of the draw of the training."""
    different = cells[cells["verdict"].isin([MOVED, WITHIN_CHANCE])]
    trained = different[different["method"].map(is_trained).astype(bool)]
    fewest = trained[["seeds_a", "seeds_b"]].min(axis=1)
    most = trained[["seeds_a", "seeds_b"]].max(axis=1)
    lines = []
    if (most < 2).any():
        lines.append(
            "With one training in both runs, a difference may come from the draw of the training, "
            "which one training each cannot tell: `seeds` in the configuration trains several."
        )
    if ((fewest < 2) & (most > 1)).any():
        lines.append(
            "Where one run has one training, the spread of the other run's trainings was taken for "
            "both."
        )
    if different["part"].isin(TASKS).any():
        lines.append(
            "A task network is trained once a run, whatever `seeds` is: its draw, which moves all "
            "methods of its task together, is in no test."
        )
    return lines
