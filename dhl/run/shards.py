"""Shards: contiguous slices of a part's test images, which several jobs denoise in parallel."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """One of several slices, written `2-of-3`; `number` is from 1 to `total`."""

    number: int = 1
    total: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.total:
            raise ValueError(f"a shard has a number from 1 to {self.total}, not {self.number}")

    def __str__(self) -> str:
        """Return the shard as it is written in file names."""
        return f"{self.number}-of-{self.total}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read a shard like `2-of-3`; another text is a `ValueError`."""
        if not (match := re.fullmatch(r"([0-9]+)-of-([0-9]+)", text)):
            raise ValueError(f"a shard is written like 2-of-3, not {text}")
        return cls(int(match[1]), int(match[2]))

    def of(self, count: int) -> slice:
        """Return the slice of this shard among `count` images; it may be empty."""
        return slice(count * (self.number - 1) // self.total, count * self.number // self.total)


WHOLE = Shard()


def shards(total: int) -> tuple[Shard, ...]:
    """Return all `total` shards in order."""
    return tuple(Shard(number, total) for number in range(1, total + 1))
