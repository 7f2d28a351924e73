"""What the engine reads and gives: samples, evidence, verdicts. Loads no numerical library."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

Number = float | int
Samples = Mapping[str, "Number | Sequence[Number] | Sequence[Sequence[Number]]"]
Evidence = Mapping[str, Mapping[str, Samples]]
"""Claim id -> cell name -> sample name -> numbers. A claim without cells uses the cell ``""``."""

Setting = Literal["full", "reduced"]


class Verdict(StrEnum):
    """What a run says about a claim."""

    REPRODUCED = "reproduced"
    TREND_HOLDS = "trend holds"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTED = "not tested"


class Outcome(StrEnum):
    """What one cell says about a rule."""

    HOLDS = "holds"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"

    def verdict(self, setting: Setting) -> Verdict:
        """Return the outcome in the words of a verdict; ``setting`` says which one holding is."""
        if self is Outcome.HOLDS:
            return Verdict.REPRODUCED if setting == "full" else Verdict.TREND_HOLDS
        return Verdict(self.value)


class CellResult(BaseModel):
    """One cell of a claim, judged.

    ``low`` and ``high`` bound the estimate at ``confidence``; None stands for "no interval" and,
    at one end, for "unbounded".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    outcome: Outcome
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    confidence: float
    method: str
    note: str = ""


class ClaimResult(BaseModel):
    """A claim's verdict at one scale, with the cells that it rests on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str
    verdict: Verdict
    reason: str
    cells: tuple[CellResult, ...] = ()
