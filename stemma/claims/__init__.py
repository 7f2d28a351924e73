"""Claims, evidence, verdicts: ONE rule engine for all papers."""

from stemma.claims.engine import (
    CellResult,
    ClaimResult,
    Evidence,
    Outcome,
    Samples,
    Setting,
    Verdict,
    check_samples,
    judge,
)
from stemma.claims.rules import Rule, samples_needed

__all__ = [
    "CellResult",
    "ClaimResult",
    "Evidence",
    "Outcome",
    "Rule",
    "Samples",
    "Setting",
    "Verdict",
    "check_samples",
    "judge",
    "samples_needed",
]
