"""Lists of words in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NAMED = 5  # a message names at most this many files, and counts the others


def listed(words: Iterable[str]) -> str:
    """Join words as in a sentence: `a, b and c`."""
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last


def named(names: Sequence[str], *, separator: str = ", ") -> str:
    """Join the first names, and count the others."""
    more = f"{separator}and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return separator.join(names[:NAMED]) + more
