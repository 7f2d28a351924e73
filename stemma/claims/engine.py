"""Evidence in, verdict out: one engine for every paper."""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple, assert_never

import numpy as np
from pydantic import BaseModel, ConfigDict

from stemma import stats
from stemma.claims import rules as r
from stemma.errors import EvidenceError
from stemma.stats import Array, Interval

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


class _Reading(NamedTuple):
    """An interval and the region it must lie in, for one cell."""

    interval: Interval
    region: r.Region
    n: int
    method: str
    note: str = ""

    @property
    def inside(self) -> bool:
        return self.region.low < self.interval.low and self.interval.high < self.region.high

    @property
    def outside(self) -> bool:
        return self.interval.high <= self.region.low or self.interval.low >= self.region.high


def check_samples(rule: r.Rule, samples: Samples) -> None:
    """Raise EvidenceError unless ``samples`` are what the rule reads, finite and non-empty."""
    needed = r.samples_needed(rule)
    if set(samples) != set(needed):
        raise EvidenceError(
            f"a `{rule.kind}` rule reads the samples {', '.join(needed)};"
            f" got {', '.join(sorted(samples)) or 'none'}"
        )
    for name, values in samples.items():
        array = np.asarray(values, dtype=float)
        if array.size == 0 or not np.isfinite(array).all():
            raise EvidenceError(f"sample `{name}` is empty or holds NaN or infinite values")


def judge(
    claim: str, rule: r.Rule, cells: Mapping[str, Samples], setting: Setting
) -> ClaimResult:
    """Judge one claim from the evidence of its cells.

    Every cell must hold (or ``rule.at_least`` of them). "All cells hold" is an
    intersection-union test and needs no correction (Berger 1982); contradictions, and
    ``at_least``, use intervals widened by Bonferroni over the cells.

    Raises:
        EvidenceError: if samples are missing, misnamed or not finite.
    """
    if not cells:
        return ClaimResult(
            claim=claim, verdict=Verdict.INCONCLUSIVE, reason="no evidence was recorded"
        )
    wide = 1 - (1 - rule.confidence) / len(cells)
    results = [_judge_cell(rule, name, samples, wide) for name, samples in cells.items()]
    held = sum(c.outcome is Outcome.HOLDS for c in results)
    against = sum(c.outcome is Outcome.CONTRADICTED for c in results)
    needed = rule.at_least or len(results)
    if held >= needed:
        verdict = Verdict.REPRODUCED if setting == "full" else Verdict.TREND_HOLDS
    elif against > len(results) - needed:
        verdict = Verdict.CONTRADICTED
    else:
        verdict = Verdict.INCONCLUSIVE
    reason = _reason(results, held, against, needed)
    return ClaimResult(claim=claim, verdict=verdict, reason=reason, cells=tuple(results))


def _reason(results: Sequence[CellResult], held: int, against: int, needed: int) -> str:
    if len(results) == 1:
        return results[0].note or f"the interval {_WORDS[results[0].outcome]}"
    text = f"{held} of {len(results)} cells hold ({needed} needed)"
    return text + (f", {against} contradicted" if against else "")


_WORDS = {
    Outcome.HOLDS: "lies where the claim puts it",
    Outcome.CONTRADICTED: "lies on the wrong side",
    Outcome.INCONCLUSIVE: "includes the null",
}


def _judge_cell(rule: r.Rule, cell: str, samples: Samples, wide: float) -> CellResult:
    check_samples(rule, samples)
    arrays = {name: np.asarray(values, dtype=float) for name, values in samples.items()}
    if isinstance(rule, r.Identity):
        return _judge_identity(rule, cell, arrays["deviation"].ravel())
    if isinstance(rule, r.Bound) and rule.statistic == "each":
        return _judge_each(rule, cell, arrays)
    n = _count(rule, arrays)
    too_few = _too_few(rule, n)
    if too_few:
        return CellResult(
            cell=cell,
            outcome=Outcome.INCONCLUSIVE,
            estimate=None,
            low=None,
            high=None,
            n=n,
            confidence=rule.confidence,
            method=_method(rule),
            note=too_few,
        )
    shown = wide if rule.at_least else rule.confidence
    try:
        reading = _read(rule, arrays, shown, n)
        widened = reading if wide == shown else _read(rule, arrays, wide, n)
    except ValueError as error:
        raise EvidenceError(f"cell `{cell}`: {error}" if cell else str(error)) from None
    if isinstance(rule, r.Ordering):
        outcome = _ordering_outcome(rule, arrays, shown, wide)
    elif _two_sided_nonzero(rule):
        excludes = reading.interval.low > 0 or reading.interval.high < 0
        outcome = Outcome.HOLDS if excludes else Outcome.INCONCLUSIVE
    elif rule.consistency:
        outcome = Outcome.CONTRADICTED if widened.outside else Outcome.HOLDS
    elif reading.inside:
        outcome = Outcome.HOLDS
    else:
        outcome = Outcome.CONTRADICTED if widened.outside else Outcome.INCONCLUSIVE
    return CellResult(
        cell=cell,
        outcome=outcome,
        estimate=reading.interval.estimate,
        low=_finite(reading.interval.low),
        high=_finite(reading.interval.high),
        n=n,
        confidence=shown,
        method=reading.method,
        note=reading.note,
    )


def _two_sided_nonzero(rule: r.Rule) -> bool:
    return isinstance(rule, r.Correlation) and rule.direction == "two-sided"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _method(rule: r.Rule) -> str:
    return str(getattr(rule, "method", "exact"))


def _count(rule: r.Rule, arrays: Mapping[str, Array]) -> int:
    """Number of independent samples that a cell rests on."""
    if isinstance(rule, r.Proportion):
        return int(arrays["trials"])
    if isinstance(rule, r.Trend):
        return int(np.atleast_2d(arrays["y"]).shape[0])
    return min(a.size for name, a in arrays.items() if name != "bound")


def _too_few(rule: r.Rule, n: int) -> str:
    if n < rule.min_samples:
        return f"too few samples: {n} < {rule.min_samples}"
    if _method(rule) == "bca" and n < stats.BCA_MIN_SAMPLES:
        return f"BCa needs at least {stats.BCA_MIN_SAMPLES} samples, got {n}"
    if _method(rule) in ("t", "permutation") and n < 2:
        return "one sample has no interval"
    return ""


def _side(direction: str, null: float) -> r.Region:
    return r.Region(null, r.INF) if direction == "greater" else r.Region(-r.INF, null)


def _read(rule: r.Rule, a: Mapping[str, Array], confidence: float, n: int) -> _Reading:  # noqa: PLR0911
    match rule:
        case r.Value():
            ci = stats.mean_interval(a["ours"], confidence, rule.method)
            region = r.Region(rule.target - rule.tolerance, rule.target + rule.tolerance)
            return _Reading(ci, region, n, rule.method)
        case r.Difference():
            ci = stats.difference_interval(
                a["ours"], a["baseline"], confidence, rule.method, paired=rule.paired
            )
            return _Reading(ci, _side(rule.direction, rule.null), n, _paired(rule))
        case r.Ratio():
            ci = stats.ratio_interval(
                a["ours"], a["baseline"], confidence, rule.method, paired=rule.paired
            )
            return _Reading(ci, _side(rule.direction, rule.null), n, _paired(rule))
        case r.Ordering():
            return _tightest_step(rule, a, confidence, n)
        case r.Trend():
            return _read_trend(rule, a, confidence, n)
        case r.Correlation():
            ci = stats.correlation_interval(a["x"], a["y"], confidence, rule.method, rule.statistic)
            direction = "greater" if rule.direction == "two-sided" else rule.direction
            return _Reading(ci, _side(direction, 0.0), n, f"{rule.statistic}, {rule.method}")
        case r.Proportion():
            ci = stats.proportion_interval(int(a["successes"]), n, confidence, rule.method)
            threshold = float(a["threshold"]) if rule.threshold is None else rule.threshold
            return _Reading(ci, _side(rule.direction, threshold), n, rule.method)
        case r.Equivalence():
            ci = stats.difference_interval(
                a["ours"], a["baseline"], confidence, rule.method, paired=rule.paired
            )
            return _Reading(ci, r.Region(-rule.margin, rule.margin), n, _paired(rule))
        case r.NonInferiority():
            ours, baseline = (
                ("ours", "baseline") if rule.better == "greater" else ("baseline", "ours")
            )
            ci = stats.difference_interval(
                a[ours], a[baseline], confidence, rule.method, paired=rule.paired
            )
            return _Reading(ci, r.Region(-rule.margin, r.INF), n, _paired(rule))
        case r.Bound():
            ci = stats.mean_interval(a["ours"], confidence, rule.method)
            return _Reading(ci, _bound_region(rule, a), n, rule.method)
        case r.Identity():
            raise AssertionError("an identity has no interval")
        case _:
            assert_never(rule)


def _paired(rule: r.Difference | r.Ratio | r.Equivalence | r.NonInferiority) -> str:
    return f"{'paired' if rule.paired else 'unpaired'} {rule.method}"


def _bound_region(rule: r.Bound, a: Mapping[str, Array]) -> r.Region:
    bound = float(a["bound"]) if rule.bound is None else rule.bound
    # The bound itself is allowed: "stays under" a theorem's bound means at most.
    edge = np.nextafter(bound, r.INF if rule.side == "below" else -r.INF)
    return r.Region(-r.INF, float(edge)) if rule.side == "below" else r.Region(float(edge), r.INF)


def _steps(rule: r.Ordering, a: Mapping[str, Array], confidence: float) -> list[Interval]:
    return [
        stats.difference_interval(a[up], a[down], confidence, rule.method, paired=rule.paired)
        for up, down in zip(rule.order, rule.order[1:], strict=False)
    ]


def _tightest_step(
    rule: r.Ordering, a: Mapping[str, Array], confidence: float, n: int
) -> _Reading:
    steps = _steps(rule, a, confidence)
    worst = min(range(len(steps)), key=lambda i: steps[i].low)
    note = f"smallest step: {rule.order[worst]} over {rule.order[worst + 1]}"
    kind = "paired" if rule.paired else "unpaired"
    return _Reading(steps[worst], r.Region(0.0, r.INF), n, f"{kind} {rule.method}", note)


def _ordering_outcome(
    rule: r.Ordering, a: Mapping[str, Array], shown: float, wide: float
) -> Outcome:
    if all(step.low > 0 for step in _steps(rule, a, shown)):
        return Outcome.HOLDS
    wider = 1 - (1 - wide) / (len(rule.order) - 1)
    if any(step.high < 0 for step in _steps(rule, a, wider)):
        return Outcome.CONTRADICTED
    return Outcome.INCONCLUSIVE


def _read_trend(rule: r.Trend, a: Mapping[str, Array], confidence: float, n: int) -> _Reading:
    y = np.atleast_2d(a["y"])
    if y.shape[1] != a["x"].size or a["x"].size < 2:
        raise ValueError(f"y has shape {y.shape}, x {a['x'].shape}: one column of y a level of x")
    per_replicate = [_trend_statistic(rule.statistic, a["x"], row) for row in y]
    ci = stats.mean_interval(per_replicate, confidence, rule.method)
    return _Reading(ci, _side(rule.direction, 0.0), n, f"{rule.statistic}, {rule.method}")


def _trend_statistic(statistic: str, x: Array, y: Array) -> float:
    if np.ptp(y) == 0:
        return 0.0
    if statistic == "slope":
        return float(np.polyfit(x, y, 1)[0])
    return stats.correlation_interval(x, y, 0.95, "fisher", "spearman").estimate


def _judge_identity(rule: r.Identity, cell: str, deviation: Array) -> CellResult:
    worst = float(np.abs(deviation).max())
    bad = int((np.abs(deviation) > rule.tolerance).sum())
    outcome = Outcome.CONTRADICTED if bad else Outcome.HOLDS
    if deviation.size < rule.min_samples:
        outcome = Outcome.INCONCLUSIVE
    return CellResult(
        cell=cell,
        outcome=outcome,
        estimate=worst,
        low=None,
        high=None,
        n=int(deviation.size),
        confidence=rule.confidence,
        method="exact",
        note=f"{bad} of {deviation.size} beyond {rule.tolerance:g}",
    )


def _judge_each(rule: r.Bound, cell: str, arrays: Mapping[str, Array]) -> CellResult:
    ours = arrays["ours"].ravel()
    region = _bound_region(rule, arrays)
    bad = int(((ours <= region.low) | (ours >= region.high)).sum())
    worst = float(ours.max() if rule.side == "below" else ours.min())
    outcome = Outcome(rule.violation) if bad else Outcome.HOLDS
    if ours.size < rule.min_samples:
        outcome = Outcome.INCONCLUSIVE
    return CellResult(
        cell=cell,
        outcome=outcome,
        estimate=worst,
        low=float(ours.min()),
        high=float(ours.max()),
        n=int(ours.size),
        confidence=rule.confidence,
        method="each value",
        note=f"{bad} of {ours.size} values violate the bound",
    )
