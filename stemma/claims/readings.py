"""From samples to intervals: what each kind of rule reads from the evidence of one cell."""

from collections.abc import Mapping
from typing import NamedTuple, assert_never

import numpy as np

from stemma import stats
from stemma.claims import rules as r
from stemma.errors import EvidenceError
from stemma.stats import Array, Interval

Arrays = Mapping[str, Array]

_SCALARS = ("successes", "trials", "threshold", "bound")


class Reading(NamedTuple):
    """An interval and the region it must lie in; an ordering has one for each of its steps."""

    interval: Interval
    region: r.Region
    note: str = ""

    @property
    def inside(self) -> bool:
        """Whether the interval lies wholly inside the region."""
        return self.region.low < self.interval.low and self.interval.high < self.region.high

    @property
    def outside(self) -> bool:
        """Whether the interval lies wholly outside; one that touches the edge does not."""
        return self.interval.high < self.region.low or self.region.high < self.interval.low


def check_arrays(rule: r.Rule, arrays: Arrays) -> None:
    """Raise EvidenceError unless ``arrays`` are what the rule reads: names, shapes, finite."""
    needed = r.samples_needed(rule)
    if set(arrays) != set(needed):
        raise EvidenceError(
            f"a `{rule.kind}` rule reads the samples {', '.join(needed)};"
            f" got {', '.join(sorted(arrays)) or 'none'}"
        )
    for name, array in arrays.items():
        if array.size == 0 or not np.isfinite(array).all():
            raise EvidenceError(f"sample `{name}` is empty or holds NaN or infinite values")
        if name in _SCALARS and array.size != 1:
            raise EvidenceError(f"sample `{name}` must be one number, got {array.size}")
        if array.ndim > _dimensions(rule, name):
            raise EvidenceError(f"sample `{name}` has shape {array.shape}; one dimension is read")
    if isinstance(rule, r.Proportion):
        _check_proportion(arrays)


def _dimensions(rule: r.Rule, name: str) -> float:
    """Most dimensions that a sample may have."""
    if isinstance(rule, r.Identity) or is_each(rule):
        return r.INF
    return 2 if isinstance(rule, r.Trend) and name == "y" else 1


def is_each(rule: r.Rule) -> bool:
    """Whether the rule compares each value with a bound, without an interval."""
    return isinstance(rule, r.Bound) and rule.statistic == "each"


def _check_proportion(arrays: Arrays) -> None:
    successes, trials = arrays["successes"].item(), arrays["trials"].item()
    if not (successes.is_integer() and trials.is_integer() and 0 <= successes <= trials):
        raise EvidenceError(
            f"a proportion needs whole numbers, 0 <= successes <= trials;"
            f" got {successes:g} of {trials:g}"
        )
    if "threshold" in arrays and not 0 <= arrays["threshold"].item() <= 1:
        raise EvidenceError(f"threshold {arrays['threshold'].item():g} is not a proportion")


def count(rule: r.Rule, arrays: Arrays) -> int:
    """Return the number of independent samples that a cell rests on."""
    if isinstance(rule, r.Proportion):
        return int(arrays["trials"].item())
    if isinstance(rule, r.Trend):
        return int(np.atleast_2d(arrays["y"]).shape[0])
    return min(a.size for name, a in arrays.items() if name not in _SCALARS)


def method(rule: r.Rule) -> str:
    """Return, in words, how the rule's interval is made."""
    if isinstance(rule, r.Identity):
        return "exact"
    if is_each(rule):
        return "each value"
    if isinstance(rule, (r.Trend, r.Correlation)):
        return f"{rule.statistic}, {rule.method}"
    if isinstance(rule, (r.Difference, r.Ratio, r.Ordering, r.Equivalence, r.NonInferiority)):
        return f"{'paired' if rule.paired else 'unpaired'} {rule.method}"
    return rule.method


def bound_region(rule: r.Bound, a: Arrays) -> r.Region:
    """Return the values that a bound allows, the bound itself among them."""
    bound = float(a["bound"].item()) if rule.bound is None else rule.bound
    # "Stays under" a theorem's bound means at most: the open region's edge is one step beyond.
    if rule.side == "below":
        return r.Region(-r.INF, float(np.nextafter(bound, r.INF)))
    return r.Region(float(np.nextafter(bound, -r.INF)), r.INF)


def region(rule: r.Rule, a: Arrays, estimate: float = 0.0) -> r.Region:
    """Return the values of the estimate for which the claim is true.

    Args:
        rule: the claim's rule.
        a: the samples of one cell, for rules whose cells bring their own threshold or bound.
        estimate: picks the side of a two-sided correlation.
    """
    match rule:
        case r.Value():
            return r.Region(rule.target - rule.tolerance, rule.target + rule.tolerance)
        case r.Bound():
            return bound_region(rule, a)
        case r.Difference() | r.Ratio():
            return _side(rule.direction, rule.null)
        case r.Equivalence():
            return r.Region(-rule.margin, rule.margin)
        case r.NonInferiority():
            return r.Region(-rule.margin, r.INF)
        case r.Ordering():
            return _side("greater", 0.0)
        case r.Trend():
            return _side(rule.direction, 0.0)
        case r.Correlation():
            direction = rule.direction
            if direction == "two-sided":  # excluding zero: excluding the side across from the sign
                direction = "greater" if estimate > 0 else "less"
            return _side(direction, 0.0)
        case r.Proportion():
            given = rule.threshold
            return _side(rule.direction, float(a["threshold"].item()) if given is None else given)
        case r.Identity():
            return r.Region(-r.INF, rule.tolerance)
        case _:
            assert_never(rule)


def readings(rule: r.Rule, a: Arrays, confidence: float) -> list[Reading]:
    """Return the intervals at ``confidence`` that must all lie in their regions.

    Raises:
        ValueError: samples that have no such interval (unequal pairs, a constant sample).
    """
    if isinstance(rule, r.Ordering):
        return _ordering(rule, a, confidence)
    interval = _interval(rule, a, confidence)
    return [Reading(interval, region(rule, a, interval.estimate))]


def _interval(rule: r.Rule, a: Arrays, confidence: float) -> Interval:
    match rule:
        case r.Value() | r.Bound():
            return stats.mean_interval(a["ours"], confidence, rule.method)
        case r.Difference() | r.Equivalence():
            return _difference(rule, a, "ours", "baseline", confidence)
        case r.NonInferiority():
            first, second = "ours", "baseline"
            if rule.better == "less":
                first, second = second, first
            return _difference(rule, a, first, second, confidence)
        case r.Ratio():
            return stats.ratio_interval(
                a["ours"], a["baseline"], confidence, rule.method, paired=rule.paired
            )
        case r.Trend():
            return _trend(rule, a, confidence)
        case r.Correlation():
            return stats.correlation_interval(
                a["x"], a["y"], confidence, rule.method, rule.statistic
            )
        case r.Proportion():
            successes, trials = int(a["successes"].item()), int(a["trials"].item())
            return stats.proportion_interval(successes, trials, confidence, rule.method)
        case r.Ordering() | r.Identity():
            raise AssertionError(f"a rule `{rule.kind}` has no single interval")
        case _:
            assert_never(rule)


def _side(direction: str, null: float) -> r.Region:
    return r.Region(null, r.INF) if direction == "greater" else r.Region(-r.INF, null)


def _difference(
    rule: r.Difference | r.Ordering | r.Equivalence | r.NonInferiority,
    a: Arrays,
    first: str,
    second: str,
    confidence: float,
) -> Interval:
    return stats.difference_interval(
        a[first], a[second], confidence, rule.method, paired=rule.paired
    )


def _ordering(rule: r.Ordering, a: Arrays, confidence: float) -> list[Reading]:
    return [
        Reading(
            _difference(rule, a, upper, lower, confidence),
            region(rule, a),
            f"smallest step: {upper} over {lower}",
        )
        for upper, lower in zip(rule.order, rule.order[1:], strict=False)
    ]


def _trend(rule: r.Trend, a: Arrays, confidence: float) -> Interval:
    x, y = a["x"], np.atleast_2d(a["y"])
    if y.shape[1] != x.size:
        raise ValueError(f"y has shape {y.shape}, x {x.shape}: one column of y a level of x")
    if np.ptp(x) == 0:
        raise ValueError("a trend needs two or more levels of x")
    per_replicate = [_trend_statistic(rule.statistic, x, row) for row in y]
    return stats.mean_interval(per_replicate, confidence, rule.method)


def _trend_statistic(statistic: str, x: Array, y: Array) -> float:
    if np.ptp(y) == 0:
        return 0.0
    if statistic == "slope":
        return float(np.polyfit(x, y, 1)[0])
    return stats.correlation(x, y, "spearman")
