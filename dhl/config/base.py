"""What every model of the configuration shares: strictness, and types with their bounds."""

from __future__ import annotations

import os
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dhl.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Sigma = Annotated[float, Field(ge=1, le=255)]
Place = Annotated[str, AfterValidator(os.path.expanduser)]  # a path; `~` is the user's home


class Frozen(BaseModel):
    """A model that refuses unknown keys, wrong types and later changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def spelt(pattern: str, *, rule: str, do: str) -> AfterValidator:
    """Check a text by a pattern, and say in words what it looks like."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ConfigError(rule, came=f"`{text}`", do=do)
        return text

    return AfterValidator(check)
