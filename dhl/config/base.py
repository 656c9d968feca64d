"""The strict base model of the configuration, and its number types with their bounds."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dhl.errors import ConfigError
from dhl.sigma import six_digits

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Sigma = Annotated[float, Field(ge=1, le=255), AfterValidator(six_digits)]


def _countable(number: int) -> int:
    """Refuse a slip such as a number typed twice, which no run could count to."""
    if number > 10**9:
        raise ConfigError(
            "The number is too large.", came=str(number)[:40], do="write at most 1000000000."
        )
    return number


def _path(text: str) -> str:
    """Refuse what no system accepts as a path."""
    if not text or "\0" in text or len(text) > 1000:
        raise ConfigError(
            "A path must have 1 to 1000 characters, without the null character.",
            came=f"{text[:40]!r}, {len(text)} characters",
            do="write the path of a file or folder.",
        )
    return text


Count = Annotated[int, Field(ge=1), AfterValidator(_countable)]
# `~` is the user's home.
UserPath = Annotated[str, AfterValidator(_path), AfterValidator(os.path.expanduser)]


class Frozen(BaseModel):
    """A pydantic model that refuses unknown keys, wrong types, NaN, infinity and later changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def nearest(
    word: str, legal: Iterable[str], *, otherwise: str = "name one of them.", cutoff: float = 0.6
) -> str:
    """Suggest the most similar legal word, if its similarity (0 to 1) reaches `cutoff`."""
    close = difflib.get_close_matches(word, list(legal), n=1, cutoff=cutoff)
    return f"write `{close[0]}`." if close else otherwise


def matching(pattern: str, *, mistake: str, do: str) -> AfterValidator:
    """Check a text against a regular expression; a mismatch is a `ConfigError`."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ConfigError(mistake, came=f"`{text[:80]}`", do=do)
        return text

    return AfterValidator(check)
