"""How often each rule errs, by simulation.

At the boundary between true and false a rule may declare the claim true, or contradicted, at most
with its nominal rate, (1 - confidence) / 2 on each side. The simulated rate must lie below the
99.9 % quantile of the binomial distribution at the nominal rate; seeds are fixed.
"""

import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import stats as ss

from stemma.claims import Outcome, Rule, Samples, Verdict, judge

pytestmark = pytest.mark.slow

_RULE: TypeAdapter[Rule] = TypeAdapter(Rule)
Generator = np.random.Generator
Draw = Callable[[Generator, float], Samples]

NOMINAL = 0.025
POWER = 0.8


def _rule(**fields: Any) -> Rule:
    return _RULE.validate_python(fields)


def _at_most(rate: float, replicates: int) -> int:
    """Most errors that a rule of this rate makes in so many replicates, but for 1 in 1000."""
    return int(ss.binom.ppf(0.999, replicates, rate))


class Case(NamedTuple):
    """A rule, and evidence whose truth lies ``effect`` beyond the rule's boundary."""

    name: str
    rule: Rule
    draw: Draw
    effect: float
    replicates: int
    holds_rate: float = NOMINAL


def _normal(n: int, centre: float = 0.0) -> Draw:
    return lambda rng, effect: {"ours": rng.normal(centre + effect, 1, n)}


def _pairs(n: int, centre: float = 0.0) -> Draw:
    """Pairs that share half of their variance."""

    def draw(rng: Generator, effect: float) -> Samples:
        shared = rng.normal(size=n)
        return {
            "ours": centre + effect + shared + rng.normal(size=n),
            "baseline": shared + rng.normal(size=n),
        }

    return draw


def _groups(n: int, m: int, spread: float = 1.0, centre: float = 0.0) -> Draw:
    """Two independent groups, the second of ``spread`` times the first's spread."""
    return lambda rng, effect: {
        "ours": rng.normal(centre + effect, 1, n),
        "baseline": rng.normal(0, spread, m),
    }


def _ratios(n: int, null: float) -> Draw:
    """Positive samples with the ratio ``null`` of their means, geometric and arithmetic."""
    return lambda rng, effect: {
        "ours": null * np.exp(rng.normal(effect, 0.3, n)),
        "baseline": np.exp(rng.normal(0, 0.3, n)),
    }


def _ladder(n: int) -> Draw:
    """The first step of an ordering is null, the second is clear."""
    return lambda rng, effect: {
        "a": rng.normal(effect, 1, n),
        "b": rng.normal(0, 1, n),
        "c": rng.normal(-max(effect, 8.0), 1, n),
    }


def _slopes(n: int) -> Draw:
    x = np.array([0.0, 1.0, 2.0, 4.0])
    return lambda rng, effect: {"x": x, "y": effect * x + rng.normal(size=(n, 4))}


def _bivariate(n: int) -> Draw:
    def draw(rng: Generator, effect: float) -> Samples:
        x = rng.normal(size=n)
        return {"x": x, "y": effect * x + np.sqrt(1 - effect**2) * rng.normal(size=n)}

    return draw


DIFFERENCE = {"kind": "difference", "direction": "greater"}
FALLS = {"kind": "ordering", "order": ["a", "b", "c"], "paired": False}
RISES = {"kind": "trend", "direction": "greater"}
LINKED = {"kind": "correlation", "direction": "greater"}
VALUE = {"kind": "value", "target": 0, "tolerance": 4, "reason": "a simulation"}
SAME = {"kind": "equivalence", "margin": 4}
NO_WORSE = {"kind": "non-inferiority", "margin": 0.5}
OVER = {"kind": "bound", "side": "above", "bound": 3}

T = 1_000  # replicates where an interval takes less than a millisecond
B = 150  # replicates of a bootstrap

CASES = [
    Case("value t", _rule(**VALUE), _normal(6, 4), -3, T),
    Case("value bca", _rule(**VALUE, method="bca"), _normal(20, 4), -3, B),
    Case("difference paired t", _rule(**DIFFERENCE), _pairs(5), 4, T),
    Case("difference unpaired t", _rule(**DIFFERENCE, paired=False), _groups(8, 6, spread=3), 6, T),
    Case("difference paired bca", _rule(**DIFFERENCE, method="bca"), _pairs(20), 2, 700),
    Case(
        "difference unpaired bca",
        _rule(**DIFFERENCE, method="bca", paired=False),
        _groups(20, 25, spread=2),
        2.5,
        B,
    ),
    Case(
        "difference paired permutation", _rule(**DIFFERENCE, method="permutation"), _pairs(8), 3, T
    ),
    Case(
        "difference unpaired permutation",
        _rule(**DIFFERENCE, method="permutation", paired=False),
        _groups(5, 6),
        3,
        T,
    ),
    Case("difference less", _rule(kind="difference", direction="less"), _pairs(5), -4, T),
    Case("ratio paired t", _rule(kind="ratio", direction="greater"), _ratios(6, 1), 1, T),
    Case(
        "ratio unpaired t",
        _rule(kind="ratio", direction="greater", null=2, paired=False),
        _ratios(6, 2),
        1,
        T,
    ),
    Case(
        "ratio paired bca",
        _rule(kind="ratio", direction="greater", null=2, method="bca"),
        _ratios(20, 2),
        0.5,
        B,
    ),
    Case(
        "ratio unpaired bca",
        _rule(kind="ratio", direction="less", method="bca", paired=False),
        _ratios(20, 1),
        -0.5,
        B,
    ),
    Case("ordering t", _rule(**FALLS), _ladder(6), 4, T),
    Case("ordering bca", _rule(**FALLS, method="bca"), _ladder(20), 2, 60),
    Case("ordering permutation", _rule(**FALLS, method="permutation"), _ladder(6), 4, T),
    Case("trend slope t", _rule(**RISES), _slopes(5), 1, T),
    Case("trend slope bca", _rule(**RISES, method="bca"), _slopes(20), 0.5, B),
    Case("trend slope permutation", _rule(**RISES, method="permutation"), _slopes(8), 1, T),
    Case(
        "trend spearman bca", _rule(**RISES, statistic="spearman", method="bca"), _slopes(20), 1, 60
    ),
    Case(
        "trend spearman permutation",
        _rule(**RISES, statistic="spearman", method="permutation"),
        _slopes(8),
        1.5,
        400,
    ),
    Case("spearman fisher", _rule(**LINKED), _bivariate(10), 0.95, T),
    Case("spearman fisher, fewest", _rule(**LINKED, min_samples=7), _bivariate(7), 0.98, T),
    Case("spearman bca", _rule(**LINKED, method="bca"), _bivariate(20), 0.8, 60),
    Case("pearson fisher", _rule(**LINKED, statistic="pearson"), _bivariate(10), 0.95, T),
    Case("pearson bca", _rule(**LINKED, statistic="pearson", method="bca"), _bivariate(20), 0.8, B),
    Case(
        "two-sided",
        _rule(kind="correlation", direction="two-sided", statistic="pearson"),
        _bivariate(10),
        -0.9,
        T,
        holds_rate=2 * NOMINAL,
    ),
    Case("equivalence t", _rule(**SAME), _pairs(8, 4), -4, T),
    Case(
        "equivalence bca",
        _rule(**SAME, method="bca", paired=False),
        _groups(20, 20, centre=4),
        -4,
        B,
    ),
    Case("non-inferiority t", _rule(**NO_WORSE), _pairs(6, -0.5), 4, T),
    Case("non-inferiority bca", _rule(**NO_WORSE, method="bca"), _pairs(20, -0.5), 2, B),
    Case("bound t", _rule(**OVER), _normal(6, 3), 3, T),
    Case("bound bca", _rule(**OVER, method="bca"), _normal(20, 3), 1.5, B),
]
IDS = [case.name for case in CASES]


FOUND = 25  # replicates with a planted effect


@cache
def _outcomes(name: str, effect: float, replicates: int) -> Counter[Outcome]:
    case = CASES[IDS.index(name)]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return Counter(
        judge("C1", case.rule, {"": case.draw(rng, effect)}, "full").cells[0].outcome
        for _ in range(replicates)
    )


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_at_the_boundary_a_rule_errs_at_most_at_its_nominal_rate(case: Case) -> None:
    seen = _outcomes(case.name, 0.0, case.replicates)
    assert seen[Outcome.HOLDS] <= _at_most(case.holds_rate, case.replicates)
    assert seen[Outcome.CONTRADICTED] <= _at_most(NOMINAL, case.replicates)


@pytest.mark.parametrize("method", ["t", "bca", "permutation", "fisher"])
def test_a_method_errs_at_most_at_its_nominal_rate_over_all_rules(method: str) -> None:
    cases = [c for c in CASES if c.rule.method == method and c.holds_rate == NOMINAL]  # type: ignore[union-attr]
    replicates = sum(case.replicates for case in cases)
    seen = sum((_outcomes(c.name, 0.0, c.replicates) for c in cases), Counter[Outcome]())
    assert seen[Outcome.HOLDS] <= _at_most(NOMINAL, replicates)
    assert seen[Outcome.CONTRADICTED] <= _at_most(NOMINAL, replicates)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_planted_effect_is_found(case: Case) -> None:
    assert _outcomes(case.name, case.effect, FOUND)[Outcome.HOLDS] >= POWER * FOUND


@pytest.mark.parametrize("threshold", [0.01, 0.1, 0.2, 0.3421, 0.5, 0.6, 0.77, 0.95])
@pytest.mark.parametrize(("direction", "trials"), [("greater", 20), ("less", 33)])
def test_a_proportion_errs_at_most_at_its_nominal_rate_exactly(
    direction: str, trials: int, threshold: float
) -> None:
    rule = _rule(kind="proportion", direction=direction, threshold=threshold)
    chance = {outcome: 0.0 for outcome in Outcome}
    for successes in range(trials + 1):
        cell = {"successes": successes, "trials": trials}
        outcome = judge("C1", rule, {"": cell}, "full").cells[0].outcome
        chance[outcome] += float(ss.binom.pmf(successes, trials, threshold))
    assert chance[Outcome.HOLDS] <= NOMINAL
    assert chance[Outcome.CONTRADICTED] <= NOMINAL


def test_a_planted_proportion_is_found() -> None:
    rule = _rule(kind="proportion", direction="greater", threshold=0.5)
    rng = np.random.default_rng(2)
    cells = {str(i): {"successes": int(rng.binomial(40, 0.9)), "trials": 40} for i in range(40)}
    held = [c.outcome is Outcome.HOLDS for c in judge("C1", rule, cells, "full").cells]
    assert np.mean(held) >= POWER


# Several cells


class Cells(NamedTuple):
    """A claim over several cells, each a paired difference with its own true effect."""

    name: str
    effects: tuple[float, ...]
    fields: dict[str, Any]
    error: Verdict | None
    """The verdict that is wrong here; None where the claim is true and must be found."""


WRONG_HOLD, WRONG_AGAINST = Verdict.REPRODUCED, Verdict.CONTRADICTED
CELLS = [
    Cells("all, one null", (0, 9, 9), {}, WRONG_HOLD),
    Cells("all, all null", (0, 0, 0, 0, 0), {}, WRONG_HOLD),
    Cells("all, all null, against", (0, 0, 0, 0, 0), {}, WRONG_AGAINST),
    Cells("two of four, one true", (9, 0, 0, 0), {"at_least": 2}, WRONG_HOLD),
    Cells("one of five, all null", (0, 0, 0, 0, 0), {"at_least": 1}, WRONG_HOLD),
    Cells("two of four, against", (0, 0, -9, -9), {"at_least": 2}, WRONG_AGAINST),
    Cells("consistency, all null", (0, 0, 0, 0), {"consistency": True}, WRONG_AGAINST),
    Cells("all found", (5, 5, 5), {}, None),
    Cells("two of four found", (9, 9, 0, -9), {"at_least": 2}, None),
]


@pytest.mark.parametrize("case", CELLS, ids=[case.name for case in CELLS])
def test_claims_over_several_cells_err_at_most_at_the_rate_of_one(case: Cells) -> None:
    rule = _rule(**DIFFERENCE, **case.fields)
    draw = _pairs(6)
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    replicates = 600 if case.error else FOUND
    seen = Counter(
        judge(
            "C1", rule, {str(i): draw(rng, e) for i, e in enumerate(case.effects)}, "full"
        ).verdict
        for _ in range(replicates)
    )
    if case.error is None:
        assert seen[Verdict.REPRODUCED] >= POWER * replicates
    else:
        assert seen[case.error] <= _at_most(NOMINAL, replicates)


def test_an_ordering_of_equals_is_rarely_contradicted() -> None:
    rule = _rule(**FALLS)
    rng = np.random.default_rng(12)
    seen = Counter(
        judge("C1", rule, {"": {name: rng.normal(size=6) for name in "abc"}}, "full").verdict
        for _ in range(T)
    )
    assert seen[Verdict.CONTRADICTED] <= _at_most(NOMINAL, T)
    assert seen[Verdict.REPRODUCED] <= _at_most(NOMINAL, T)
