"""The comparisons of `report/claims.yaml`, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from dhl.config.base import Frozen
from dhl.config.methods import TASKS
from dhl.errors import UserError

Origin = Literal["paper", "control", "beyond", "own"]
PartName = Literal["denoising", "classification", "segmentation"]


@dataclass(frozen=True)
class Claim:
    """A comparison: the method `a` has a better score than the method `b`.

    If `over` names a method, the claim is that `a` keeps more than half of what `b` gains over it.
    The id is unique and begins with the part.
    """

    id: str
    origin: Origin
    part: str
    metric: str
    a: str
    b: str
    statement: str
    over: str = ""

    @property
    def methods(self) -> set[str]:
        """The methods that are compared."""
        return {name for name in (self.a, self.b, self.over) if name}


class Share(Frozen):
    """The gain of which a share is kept: that of the method `of` over the method `over`."""

    of: str
    over: str


class ClaimEntry(Frozen):
    """One entry of the file: a claim in one part, or one in each task."""

    better: str
    than: str = ""
    share: Share | None = None
    part: Literal["tasks"] | PartName = Field(alias="in")
    metric: str | None = None
    origin: Origin = "paper"
    shown: bool = True
    statement: str

    def claims(self, decides: dict[str, str]) -> tuple[Claim, ...]:
        """Return the claims of the entry; `decides` has the deciding metric of each part."""
        parts = TASKS if self.part == "tasks" else (self.part,)
        return tuple(self._claim(part, self.metric or decides[part]) for part in parts)

    def _claim(self, part: str, metric: str) -> Claim:
        name = f"{metric.replace('_', '-')}-{self.better}" if self.metric else self.better
        other, over = self.than, ""
        name += f"-over-{other}"
        if self.share:
            other, over = self.share.of, self.share.over
            name = f"{self.better}-keeps-{other}-over-{over}"
        statement = self.statement.format(task=part, Task=part.capitalize())
        return Claim(
            f"{part}-{name}", self.origin, part, metric, self.better, other, statement, over
        )


class Clause(Frozen):
    """A part of the report's sentence about a claim."""

    text: str
    comparisons: tuple[ClaimEntry, ...]


class PaperClaim(Frozen):
    """One of the paper's five claims."""

    title: str
    sentence: str
    source: str
    support: str
    clauses: tuple[Clause, ...]


class Limits(Frozen):
    """When a run cannot tell: see the comments in the file."""

    units: int
    steps: int
    pixels: float
    published: float


class Change(Frozen):
    """A dated change of the comparisons or of the rules."""

    version: int
    date: str
    change: str


class ClaimsFile(Frozen):
    """The whole file."""

    version: int
    changes: tuple[Change, ...]
    decides: dict[PartName, str]
    limits: Limits = Field(alias="not_tested")
    claims: tuple[PaperClaim, ...]
    others: tuple[ClaimEntry, ...]

    @property
    def comparisons(self) -> tuple[Claim, ...]:
        """All comparisons, in the order of the file."""
        clauses = (clause for claim in self.claims for clause in claim.clauses)
        entries = [entry for clause in clauses for entry in clause.comparisons]
        return tuple(one for entry in (*entries, *self.others) for one in self.expand(entry))

    def expand(self, entry: ClaimEntry) -> tuple[Claim, ...]:
        """Return the claims of an entry."""
        return entry.claims({str(part): metric for part, metric in self.decides.items()})


def read_claims_file(path: str | Path) -> ClaimsFile:
    """Read and check a file like `report/claims.yaml`; a mistake is a `UserError`."""
    try:
        content = yaml.safe_load(Path(path).read_text("utf-8"))
        return ClaimsFile.model_validate_json(json.dumps(content, default=str))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise UserError(
            f"The claims in {path} cannot be read.",
            came=str(error).replace("\n", " "),
            do="restore the file from the repository.",
        ) from None
