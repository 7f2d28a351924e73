"""The kinds of rule a claim can have: what samples a rule reads, and where its estimate must lie.

Every rule turns samples into an estimate with a confidence interval and compares the interval with
a *region*. The rule holds when the interval lies inside the region, is contradicted when it lies
wholly outside, and is inconclusive otherwise (an interval that touches the region's edge included).
``confidence`` is two-sided: with the default 0.95 a directional rule declares a null effect true,
and a true claim contradicted, with probability 0.025 at most. The tests measure these rates: ``t``
and ``bca`` keep them on normal samples, ``permutation`` on symmetric ones, Clopper-Pearson exactly.
On skewed samples prefer ``bca``; it comes closer to its rate than ``t``, and closer with more
samples.
"""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

INF = float("inf")

Direction = Literal["greater", "less"]
MeanMethod = Literal["t", "bca", "permutation"]


class Region(NamedTuple):
    """The values of the estimate for which the claim is true: an open interval."""

    low: float
    high: float


class BaseRule(BaseModel):
    """What all rules share.

    Attributes:
        confidence: two-sided confidence of the interval of one cell.
        min_samples: fewer samples (replicates, pairs, trials) than this are inconclusive.
        at_least: how many cells must hold (default: every one). Intervals are then widened by
            Bonferroni over the cells, as they always are for a contradiction.
        consistency: the claim says "agrees with", not "exceeds": it holds unless contradicted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    min_samples: int = Field(5, ge=1)
    at_least: int | None = Field(None, ge=1)
    consistency: bool = False


class Value(BaseRule):
    """The mean of ``ours`` lies within ``tolerance`` of ``target``."""

    kind: Literal["value"]
    target: float
    tolerance: float = Field(gt=0)
    reason: str = Field(min_length=1, description="why this tolerance")
    method: Literal["t", "bca"] = "t"


class Difference(BaseRule):
    """mean(``ours``) - mean(``baseline``) lies on the stated side of ``null``."""

    kind: Literal["difference"]
    direction: Direction
    null: float = 0.0
    paired: bool = True
    method: MeanMethod = "t"


class Ratio(BaseRule):
    """``ours`` / ``baseline`` lies on the stated side of ``null``.

    ``t`` compares geometric means (t interval of logarithms), ``bca`` arithmetic means.
    """

    kind: Literal["ratio"]
    direction: Direction
    null: float = Field(1.0, gt=0)
    paired: bool = True
    method: Literal["t", "bca"] = "t"


class Ordering(BaseRule):
    """Means fall strictly along ``order``: each adjacent difference is above zero."""

    kind: Literal["ordering"]
    order: tuple[str, ...] = Field(min_length=2)
    paired: bool = True
    method: MeanMethod = "t"


class Trend(BaseRule):
    """Over replicates, the mean slope (or Spearman correlation) of ``y`` on ``x`` has a sign.

    Samples: ``x`` (levels,) and ``y`` (replicates, levels).
    """

    kind: Literal["trend"]
    direction: Direction
    statistic: Literal["slope", "spearman"] = "slope"
    method: MeanMethod = "t"

    @model_validator(mode="after")
    def _is_calibrated(self) -> Self:
        if self.statistic == "spearman" and self.method == "t":
            raise ValueError(
                "rank correlations over a few levels are too coarse for a t interval; use"
                " `method: permutation` (6 replicates or more) or `method: bca` (20 or more)"
            )
        return self


class Correlation(BaseRule):
    """The correlation of the pairs ``x``, ``y`` excludes zero (on the stated side).

    ``fisher``: Fisher's z, for Spearman with the variance of Bonett and Wright (2000).
    """

    kind: Literal["correlation"]
    direction: Literal["greater", "less", "two-sided"]
    statistic: Literal["pearson", "spearman"] = "spearman"
    method: Literal["fisher", "bca"] = "fisher"
    # With fewer pairs, ranks agree perfectly by chance more often than a widened interval errs.
    min_samples: int = Field(10, ge=7)

    @model_validator(mode="after")
    def _can_fail(self) -> Self:
        if self.consistency and self.direction == "two-sided":
            raise ValueError("a two-sided correlation is never contradicted: no `consistency`")
        return self


class Proportion(BaseRule):
    """The proportion ``successes`` / ``trials`` lies on the stated side of ``threshold``.

    Wilson's interval is not offered: near 0 and 1 its error on one side is several times nominal.
    """

    kind: Literal["proportion"]
    direction: Direction
    threshold: float | None = Field(
        None, ge=0, le=1, description="none: each cell brings its own as sample `threshold`"
    )
    method: Literal["clopper-pearson"] = "clopper-pearson"


class Equivalence(BaseRule):
    """mean(``ours``) - mean(``baseline``) lies within +-``margin`` (two one-sided tests)."""

    kind: Literal["equivalence"]
    margin: float = Field(gt=0)
    paired: bool = True
    method: Literal["t", "bca"] = "t"


class NonInferiority(BaseRule):
    """``ours`` is worse than ``baseline`` by less than ``margin``; ``better`` says what is good."""

    kind: Literal["non-inferiority"]
    margin: float = Field(gt=0)
    better: Direction = "greater"
    paired: bool = True
    method: Literal["t", "bca"] = "t"


class Bound(BaseRule):
    """The mean of ``ours`` (or each value of it) stays on one side of a bound.

    Attributes:
        bound: a constant, or None when each cell brings its own as sample ``bound``.
        statistic: ``mean`` compares the interval of the mean; ``each`` requires every value.
        violation: what a violated ``each`` means: ``contradicted`` for a theorem's bound,
            ``inconclusive`` where a miss is lack of evidence (a p-value that is not small).
    """

    kind: Literal["bound"]
    side: Literal["below", "above"]
    bound: float | None = None
    statistic: Literal["mean", "each"] = "mean"
    violation: Literal["contradicted", "inconclusive"] = "contradicted"
    method: Literal["t", "bca"] = "t"


class Identity(BaseRule):
    """Every value of ``deviation`` is at most ``tolerance`` in absolute value; no interval."""

    kind: Literal["identity"]
    tolerance: float = Field(ge=0)
    min_samples: int = Field(1, ge=1)


Rule = Annotated[
    Value
    | Difference
    | Ratio
    | Ordering
    | Trend
    | Correlation
    | Proportion
    | Equivalence
    | NonInferiority
    | Bound
    | Identity,
    Field(discriminator="kind"),
]


def samples_needed(rule: Rule) -> tuple[str, ...]:
    """Return the names of the samples that a rule reads from the evidence of one cell."""
    match rule:
        case Value():
            return ("ours",)
        case Ordering():
            return rule.order
        case Trend() | Correlation():
            return ("x", "y")
        case Proportion():
            own = ("threshold",) if rule.threshold is None else ()
            return ("successes", "trials", *own)
        case Bound():
            return ("ours", "bound") if rule.bound is None else ("ours",)
        case Identity():
            return ("deviation",)
        case _:
            return ("ours", "baseline")
