"""A part's test images in contiguous slices, so that several jobs share what takes hours."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """One slice of several, written `2-of-3`; numbers begin at 1."""

    number: int = 1
    total: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.total:
            raise ValueError(f"a shard is one of its total, from 1, but not {self}")

    def __str__(self) -> str:
        """Write the shard as it stands in file names."""
        return f"{self.number}-of-{self.total}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read what `str` writes.

        Raises
        ------
        ValueError
            If the text is no such thing.
        """
        if not (match := re.fullmatch(r"([0-9]+)-of-([0-9]+)", text)):
            raise ValueError(f"a shard is written like 2-of-3, but not {text}")
        return cls(int(match[1]), int(match[2]))

    def of(self, count: int) -> slice:
        """Return this shard's place among `count` images; empty if there are fewer than shards."""
        return slice(count * (self.number - 1) // self.total, count * self.number // self.total)


WHOLE = Shard()


def shards(total: int) -> tuple[Shard, ...]:
    """Return all shards of a total, in order."""
    return tuple(Shard(number, total) for number in range(1, total + 1))
