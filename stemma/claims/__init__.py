"""Claims, evidence, verdicts: ONE rule engine for all papers.

The engine itself, which needs scipy, is loaded at the first verdict, so that reading the catalog
stays quick.
"""

from collections.abc import Mapping

from stemma.claims.results import (
    CellResult,
    ClaimResult,
    Evidence,
    Outcome,
    Samples,
    Setting,
    Verdict,
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


def judge(claim: str, rule: Rule, cells: Mapping[str, Samples], setting: Setting) -> ClaimResult:
    """Judge one claim from the evidence of its cells; see `stemma.claims.engine.judge`."""
    from stemma.claims import engine

    return engine.judge(claim, rule, cells, setting)


def check_samples(rule: Rule, samples: Samples) -> None:
    """Raise EvidenceError unless ``samples`` are what the rule reads: names, shapes, finite."""
    from stemma.claims import engine

    engine.check_samples(rule, samples)
