"""The strict base model of the configuration, and its number types with their bounds."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dhl.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Sigma = Annotated[float, Field(ge=1, le=255)]
UserPath = Annotated[str, AfterValidator(os.path.expanduser)]  # `~` is the user's home


class Frozen(BaseModel):
    """A pydantic model that refuses unknown keys, wrong types and later changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def nearest(
    word: str, legal: Iterable[str], *, otherwise: str = "name one of them.", cutoff: float = 0.6
) -> str:
    """Suggest the most similar legal word, if its similarity (0 to 1) reaches `cutoff`."""
    close = difflib.get_close_matches(word, list(legal), n=1, cutoff=cutoff)
    return f"write `{close[0]}`." if close else otherwise


def spelt(pattern: str, *, mistake: str, do: str) -> AfterValidator:
    """Check a text against a regular expression; a mismatch is a `ConfigError`."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ConfigError(mistake, came=f"`{text}`", do=do)
        return text

    return AfterValidator(check)
