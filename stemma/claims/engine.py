"""Evidence in, verdict out: one engine for every paper."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from stemma import stats
from stemma.claims import rules as r
from stemma.claims.readings import (
    Arrays,
    bound_region,
    check_arrays,
    count,
    is_each,
    method,
    readings,
)
from stemma.claims.results import CellResult, ClaimResult, Outcome, Samples, Setting, Verdict
from stemma.errors import EvidenceError
from stemma.stats import Array, Interval


def check_samples(rule: r.Rule, samples: Samples) -> None:
    """Raise EvidenceError unless ``samples`` are what the rule reads: names, shapes, finite."""
    check_arrays(rule, _arrays(samples))


def _arrays(samples: Samples) -> dict[str, Array]:
    arrays = {}
    for name, values in samples.items():
        try:
            arrays[name] = np.asarray(values, dtype=float)
        except (TypeError, ValueError):
            raise EvidenceError(f"sample `{name}` is not an array of numbers") from None
    return arrays


def judge(claim: str, rule: r.Rule, cells: Mapping[str, Samples], setting: Setting) -> ClaimResult:
    """Judge one claim from the evidence of its cells.

    Every cell must hold (or ``rule.at_least`` of them). "All cells hold" is an
    intersection-union test and needs no correction (Berger 1982); contradictions, and
    ``at_least``, use intervals widened by Bonferroni over the cells.

    Raises:
        EvidenceError: if samples are missing, misnamed, of a wrong shape or not finite.
    """
    if not cells:
        return ClaimResult(
            claim=claim, verdict=Verdict.INCONCLUSIVE, reason="no evidence was recorded"
        )
    results = tuple(_judge_cell(rule, name, samples, len(cells)) for name, samples in cells.items())
    needed = rule.at_least or len(results)
    return ClaimResult(
        claim=claim,
        verdict=_verdict(results, needed, setting),
        reason=_reason(results, needed),
        cells=results,
    )


def _verdict(cells: Sequence[CellResult], needed: int, setting: Setting) -> Verdict:
    held = sum(c.outcome is Outcome.HOLDS for c in cells)
    against = sum(c.outcome is Outcome.CONTRADICTED for c in cells)
    if held >= needed:
        return Outcome.HOLDS.verdict(setting)
    # Too few cells were measured where `needed` exceeds their number: that speaks for nothing.
    if needed <= len(cells) < needed + against:
        return Verdict.CONTRADICTED
    return Verdict.INCONCLUSIVE


def _reason(cells: Sequence[CellResult], needed: int) -> str:
    if len(cells) == needed == 1:
        return cells[0].note or f"the interval {_WORDS[cells[0].outcome]}"
    held = sum(c.outcome is Outcome.HOLDS for c in cells)
    against = sum(c.outcome is Outcome.CONTRADICTED for c in cells)
    text = f"{held} of {len(cells)} cells hold ({needed} needed)"
    return text + (f", {against} contradicted" if against else "")


_WORDS = {
    Outcome.HOLDS: "lies where the claim puts it",
    Outcome.CONTRADICTED: "lies on the wrong side",
    Outcome.INCONCLUSIVE: "includes the null",
}


def _judge_cell(rule: r.Rule, cell: str, samples: Samples, cells: int) -> CellResult:
    arrays = _arrays(samples)
    check_arrays(rule, arrays)
    if isinstance(rule, r.Identity):
        return _judge_identity(rule, cell, arrays["deviation"].ravel())
    if isinstance(rule, r.Bound) and is_each(rule):
        return _judge_each(rule, cell, arrays)
    arrays = {name: np.atleast_1d(array) for name, array in arrays.items()}
    too_few = _too_few(rule, count(rule, arrays))
    if too_few:
        return _cell_result(rule, cell, Outcome.INCONCLUSIVE, arrays, note=too_few)
    try:
        return _judge_interval(rule, cell, arrays, cells)
    except ValueError as error:
        raise EvidenceError(f"cell `{cell}`: {error}" if cell else str(error)) from None


def _judge_interval(rule: r.Rule, cell: str, arrays: Arrays, cells: int) -> CellResult:
    confidence = _bonferroni(rule.confidence, cells) if rule.at_least else rule.confidence
    shown = readings(rule, arrays, confidence)
    strict_confidence = _bonferroni(rule.confidence, cells * len(shown))
    strict = shown if strict_confidence == confidence else readings(rule, arrays, strict_confidence)
    if any(reading.outside for reading in strict):
        outcome = Outcome.CONTRADICTED
    elif rule.consistency or all(reading.inside for reading in shown):
        outcome = Outcome.HOLDS
    else:
        outcome = Outcome.INCONCLUSIVE
    weakest = min(shown, key=lambda reading: reading.interval.low)
    return _cell_result(
        rule, cell, outcome, arrays, weakest.interval, note=weakest.note, confidence=confidence
    )


def _bonferroni(confidence: float, tests: int) -> float:
    return 1 - (1 - confidence) / tests if tests > 1 else confidence


def _cell_result(
    rule: r.Rule,
    cell: str,
    outcome: Outcome,
    arrays: Arrays,
    interval: Interval | None = None,
    *,
    note: str = "",
    confidence: float | None = None,
) -> CellResult:
    return CellResult(
        cell=cell,
        outcome=outcome,
        estimate=interval.estimate if interval else None,
        low=_finite(interval.low) if interval else None,
        high=_finite(interval.high) if interval else None,
        n=count(rule, arrays),
        confidence=confidence or rule.confidence,
        method=method(rule),
        note=note,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _too_few(rule: r.Rule, n: int) -> str:
    how = getattr(rule, "method", "exact")
    if n < rule.min_samples:
        return f"too few samples: {n} < {rule.min_samples}"
    if how == "bca" and n < stats.BCA_MIN_SAMPLES:
        return f"BCa needs at least {stats.BCA_MIN_SAMPLES} samples, got {n}"
    if how in ("t", "permutation") and n < 2:
        return "one sample has no interval"
    return ""


def _judge_identity(rule: r.Identity, cell: str, deviation: Array) -> CellResult:
    bad = int((np.abs(deviation) > rule.tolerance).sum())
    outcome = Outcome.CONTRADICTED if bad else Outcome.HOLDS
    if deviation.size < rule.min_samples:
        outcome = Outcome.INCONCLUSIVE
    worst = float(np.abs(deviation).max())
    return CellResult(
        cell=cell,
        outcome=outcome,
        estimate=worst,
        low=None,
        high=None,
        n=int(deviation.size),
        confidence=rule.confidence,
        method=method(rule),
        note=f"{bad} of {deviation.size} beyond {rule.tolerance:g}",
    )


def _judge_each(rule: r.Bound, cell: str, arrays: Arrays) -> CellResult:
    ours = arrays["ours"].ravel()
    region = bound_region(rule, arrays)
    bad = int(((ours <= region.low) | (ours >= region.high)).sum())
    outcome = Outcome(rule.violation) if bad else Outcome.HOLDS
    if ours.size < rule.min_samples:
        outcome = Outcome.INCONCLUSIVE
    low, high = float(ours.min()), float(ours.max())
    note = f"{bad} of {ours.size} values violate the bound"
    worst = Interval(high if rule.side == "below" else low, low, high)
    return _cell_result(rule, cell, outcome, arrays, worst, note=note)
