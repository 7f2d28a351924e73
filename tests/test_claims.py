"""What every kind of rule means: holds, contradicted, inconclusive; and what is refused."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from stemma.claims import (
    CellResult,
    Outcome,
    Rule,
    Samples,
    Verdict,
    check_samples,
    judge,
    samples_needed,
)
from stemma.errors import EvidenceError

_RULE: TypeAdapter[Rule] = TypeAdapter(Rule)

SPREAD = np.array([-0.2, -0.1, -0.05, 0.05, 0.1, 0.2])  # mean 0
NOISE = np.random.default_rng(1).normal(0, 0.1, 30)
NOISE -= NOISE.mean()
NULLS = np.zeros(6)
LEVELS = [1.0, 2.0, 4.0]


def rule(kind: str, **fields: Any) -> Rule:
    """A rule as ``paper.yaml`` would give it."""
    return _RULE.validate_python({"kind": kind, **fields})


def only_cell(made: Rule, samples: Samples) -> CellResult:
    """The only cell of a claim."""
    return judge("C1", made, {"": samples}, "full").cells[0]


def outcome(made: Rule, **samples: Any) -> Outcome:
    """The outcome of a claim with one cell."""
    return only_cell(made, samples).outcome


def rising(slope: float) -> np.ndarray:
    return np.array([[slope * x + e * x for x in LEVELS] for e in SPREAD])


VALUE = rule("value", target=1.0, tolerance=0.3, reason="a reason")
NEAR = rule("value", target=1.0, tolerance=0.1, reason="a reason")
MORE = rule("difference", direction="greater")
LESS = rule("difference", direction="less")
TWICE = rule("ratio", direction="greater", null=2.0)
HALF = rule("ratio", direction="less", null=0.5)
FALLS = rule("ordering", order=["a", "b", "c"])
RISES = rule("trend", direction="greater")
RANKS = rule("trend", direction="less", statistic="spearman", method="permutation")
CORRELATES = rule("correlation", direction="greater")
EITHER = rule("correlation", direction="two-sided", statistic="pearson")
MOST = rule("proportion", direction="greater", threshold=0.5)
SAME = rule("equivalence", margin=0.3)
NO_WORSE = rule("non-inferiority", margin=0.3)
NO_MORE = rule("non-inferiority", margin=0.3, better="less")
UNDER = rule("bound", side="below", bound=1.0)
OVER = rule("bound", side="above", bound=1.0)
EACH = rule("bound", side="below", bound=1.0, statistic="each")
EACH_SOFT = rule("bound", side="below", bound=1.0, statistic="each", violation="inconclusive")
EXACT = rule("identity", tolerance=1e-6)
LINE = np.arange(12.0)
BOWL = abs(LINE - 5.5)

HOLDS, AGAINST, OPEN = Outcome.HOLDS, Outcome.CONTRADICTED, Outcome.INCONCLUSIVE

CASES: list[tuple[str, Rule, dict[str, Any], Outcome]] = [
    ("value near", VALUE, {"ours": 1 + SPREAD}, HOLDS),
    ("value far above", VALUE, {"ours": 2 + SPREAD}, AGAINST),
    ("value far below", VALUE, {"ours": 0 + SPREAD}, AGAINST),
    ("value too wide", NEAR, {"ours": 1 + SPREAD}, OPEN),
    ("more", MORE, {"ours": 1 + SPREAD, "baseline": NULLS}, HOLDS),
    ("not more", MORE, {"ours": -1 + SPREAD, "baseline": NULLS}, AGAINST),
    ("more?", MORE, {"ours": SPREAD, "baseline": NULLS}, OPEN),
    ("less", LESS, {"ours": -1 + SPREAD, "baseline": NULLS}, HOLDS),
    ("not less", LESS, {"ours": 1 + SPREAD, "baseline": NULLS}, AGAINST),
    ("three times", TWICE, {"ours": 3 * np.exp(SPREAD), "baseline": NULLS + 1}, HOLDS),
    ("once", TWICE, {"ours": np.exp(SPREAD), "baseline": NULLS + 1}, AGAINST),
    ("twice", TWICE, {"ours": 2 * np.exp(SPREAD), "baseline": NULLS + 1}, OPEN),
    ("a third", HALF, {"ours": np.exp(SPREAD), "baseline": NULLS + 3}, HOLDS),
    ("falls", FALLS, {"a": 3 + SPREAD, "b": NULLS + 2, "c": 1 - SPREAD}, HOLDS),
    ("one step rises", FALLS, {"a": 3 + SPREAD, "b": NULLS + 1, "c": 2 - SPREAD}, AGAINST),
    ("one step flat", FALLS, {"a": 3 + SPREAD, "b": NULLS + 1, "c": 1 - SPREAD}, OPEN),
    ("rises", RISES, {"x": LEVELS, "y": rising(1)}, HOLDS),
    ("sinks", RISES, {"x": LEVELS, "y": rising(-1)}, AGAINST),
    ("flat", RISES, {"x": LEVELS, "y": rising(0)}, OPEN),
    ("constant rows", RISES, {"x": LEVELS, "y": np.ones((6, 3))}, OPEN),
    ("ranks fall", RANKS, {"x": LEVELS, "y": rising(-1)}, HOLDS),
    ("ranks rise", RANKS, {"x": LEVELS, "y": rising(1)}, AGAINST),
    ("two levels", RANKS, {"x": LEVELS[:2], "y": rising(-1)[:, :2]}, HOLDS),
    ("correlated", CORRELATES, {"x": LINE, "y": LINE**3}, HOLDS),
    ("anticorrelated", CORRELATES, {"x": LINE, "y": -(LINE**3)}, AGAINST),
    ("uncorrelated", CORRELATES, {"x": LINE, "y": BOWL}, OPEN),
    ("either: up", EITHER, {"x": LINE, "y": LINE + BOWL / 9}, HOLDS),
    ("either: down", EITHER, {"x": LINE, "y": -LINE}, HOLDS),
    ("either: none", EITHER, {"x": LINE, "y": BOWL}, OPEN),
    ("most", MOST, {"successes": 18, "trials": 20}, HOLDS),
    ("few", MOST, {"successes": 2, "trials": 20}, AGAINST),
    ("half", MOST, {"successes": 11, "trials": 20}, OPEN),
    ("all", MOST, {"successes": [20], "trials": [20]}, HOLDS),
    ("same", SAME, {"ours": 5 + SPREAD, "baseline": NULLS + 5}, HOLDS),
    ("other", SAME, {"ours": 6 + SPREAD, "baseline": NULLS + 5}, AGAINST),
    ("same?", SAME, {"ours": 5.3 + SPREAD, "baseline": NULLS + 5}, OPEN),
    ("no worse", NO_WORSE, {"ours": 5 + SPREAD, "baseline": NULLS + 5}, HOLDS),
    ("better", NO_WORSE, {"ours": 9 + SPREAD, "baseline": NULLS + 5}, HOLDS),
    ("worse", NO_WORSE, {"ours": 4 + SPREAD, "baseline": NULLS + 5}, AGAINST),
    ("worse?", NO_WORSE, {"ours": 4.7 + SPREAD, "baseline": NULLS + 5}, OPEN),
    ("less is better", NO_MORE, {"ours": 1 + SPREAD, "baseline": NULLS + 5}, HOLDS),
    ("more is worse", NO_MORE, {"ours": 9 + SPREAD, "baseline": NULLS + 5}, AGAINST),
    ("under", UNDER, {"ours": 0.5 + SPREAD}, HOLDS),
    ("not under", UNDER, {"ours": 2 + SPREAD}, AGAINST),
    ("under?", UNDER, {"ours": 1 + SPREAD}, OPEN),
    ("on the bound", UNDER, {"ours": NULLS + 1}, HOLDS),
    ("over", OVER, {"ours": 2 + SPREAD}, HOLDS),
    ("not over", OVER, {"ours": SPREAD}, AGAINST),
    ("each", EACH, {"ours": 0.8 + SPREAD}, HOLDS),
    ("not each", EACH, {"ours": [0, 0, 0, 0, 1.0001]}, AGAINST),
    ("not each, softly", EACH_SOFT, {"ours": [0, 0, 0, 0, 1.0001]}, OPEN),
    ("each, as a table", EACH, {"ours": np.zeros((3, 3))}, HOLDS),
    ("exact", EXACT, {"deviation": [0.0, -1e-7]}, HOLDS),
    ("exact, one value", EXACT, {"deviation": 0.0}, HOLDS),
    ("not exact", EXACT, {"deviation": [0.0, -1e-5]}, AGAINST),
]


@pytest.mark.parametrize(
    ("made", "samples", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_outcome(made: Rule, samples: dict[str, Any], expected: Outcome) -> None:
    assert outcome(made, **samples) is expected


# Boundaries


@pytest.mark.parametrize("made", [MORE, LESS])
def test_an_interval_that_touches_the_null_is_inconclusive(made: Rule) -> None:
    same = {"ours": NULLS + 7, "baseline": NULLS + 7}  # no spread: the interval is the point zero
    assert outcome(made, **same) is OPEN


def test_an_interval_that_ends_on_the_edge_is_inconclusive() -> None:
    high = only_cell(MORE, {"ours": SPREAD, "baseline": NULLS}).high
    assert high is not None
    above = rule("difference", direction="greater", null=high)
    below = rule("difference", direction="less", null=high)
    samples = {"ours": SPREAD, "baseline": NULLS}
    assert outcome(above, **samples) is OPEN
    assert outcome(below, **samples) is OPEN


@pytest.mark.parametrize("direction", ["greater", "less"])
def test_samples_without_spread_are_judged_by_their_value(direction: str) -> None:
    made = rule("difference", direction=direction)
    got = only_cell(made, {"ours": NULLS + 0.75, "baseline": NULLS + 0.5})
    assert (got.estimate, got.low, got.high) == (0.25, 0.25, 0.25)
    assert got.outcome is (HOLDS if direction == "greater" else AGAINST)


def test_an_unbounded_end_is_stored_as_none_and_settles_nothing() -> None:
    made = rule("difference", direction="greater", method="permutation")
    got = only_cell(made, {"ours": [1, 2, 3, 4, 5], "baseline": [0, 0, 0, 0, 0]})
    assert (got.low, got.high, got.outcome) == (None, None, OPEN)


# Numbers of samples


@pytest.mark.parametrize(
    ("made", "samples", "note"),
    [
        (MORE, {"ours": [1, 1.1], "baseline": [0, 0]}, "too few samples: 2 < 5"),
        (MOST, {"successes": 3, "trials": 3}, "too few samples: 3 < 5"),
        (RISES, {"x": LEVELS, "y": rising(1)[:4]}, "too few samples: 4 < 5"),
        (CORRELATES, {"x": LINE[:9], "y": LINE[:9]}, "too few samples: 9 < 10"),
        (VALUE, {"ours": 1.0}, "too few samples: 1 < 5"),
        (
            rule("difference", direction="greater", paired=False),
            {"ours": [1, 2, 3, 4, 5], "baseline": [0, 1, 2]},
            "too few samples: 3 < 5",
        ),
        (
            rule("value", target=1, tolerance=1, reason="r", min_samples=1),
            {"ours": [1.0]},
            "one sample has no interval",
        ),
    ],
)
def test_too_few_samples_are_inconclusive(made: Rule, samples: Samples, note: str) -> None:
    got = only_cell(made, samples)
    assert (got.outcome, got.note, got.estimate) == (OPEN, note, None)


@pytest.mark.parametrize("made", [EACH, rule("identity", tolerance=0, min_samples=5)])
def test_min_samples_binds_rules_without_interval_too(made: Rule) -> None:
    assert outcome(made, **{samples_needed(made)[0]: [0.0, 0.0]}) is OPEN


@pytest.mark.parametrize(
    "made",
    [
        rule("difference", direction="greater", method="bca"),
        rule("ratio", direction="greater", method="bca"),
        rule("correlation", direction="greater", method="bca"),
    ],
)
def test_bca_is_refused_below_twenty_samples(made: Rule) -> None:
    names = samples_needed(made)
    few = only_cell(made, dict.fromkeys(names, 5 + NOISE[:19]))
    assert (few.outcome, few.note) == (OPEN, "BCa needs at least 20 samples, got 19")
    assert only_cell(made, {names[0]: 5 + NOISE[:20], names[1]: NOISE[:20] + 2}).low is not None


def test_bca_and_t_agree_on_many_plain_samples() -> None:
    samples = {"ours": 1 + NOISE, "baseline": np.zeros(30)}
    t, bca = (
        only_cell(rule("difference", direction="greater", method=m), samples) for m in ("t", "bca")
    )
    assert (bca.estimate, bca.low, bca.high) == pytest.approx((t.estimate, t.low, t.high), abs=0.01)


# Cells

WINS = {"ours": 1 + SPREAD, "baseline": NULLS}
TIES = {"ours": SPREAD, "baseline": NULLS}
LOSES = {"ours": -1 + SPREAD, "baseline": NULLS}


@pytest.mark.parametrize(
    ("at_least", "cells", "verdict", "reason"),
    [
        (None, [WINS, WINS], Verdict.REPRODUCED, "2 of 2 cells hold (2 needed)"),
        (None, [WINS, TIES], Verdict.INCONCLUSIVE, "1 of 2 cells hold (2 needed)"),
        (None, [WINS, LOSES], Verdict.CONTRADICTED, "1 of 2 cells hold (2 needed), 1 contradicted"),
        (2, [WINS, WINS, LOSES], Verdict.REPRODUCED, "2 of 3 cells hold (2 needed), 1 contra"),
        (2, [WINS, TIES, LOSES], Verdict.INCONCLUSIVE, "1 of 3 cells hold (2 needed), 1 contra"),
        (2, [WINS, LOSES, LOSES], Verdict.CONTRADICTED, "1 of 3 cells hold (2 needed), 2 contra"),
        (3, [WINS, WINS], Verdict.INCONCLUSIVE, "2 of 2 cells hold (3 needed)"),
        (2, [WINS], Verdict.INCONCLUSIVE, "1 of 1 cells hold (2 needed)"),
        (2, [LOSES], Verdict.INCONCLUSIVE, "0 of 1 cells hold (2 needed), 1 contradicted"),
    ],
)
def test_cells_add_up(
    at_least: int | None, cells: list[Samples], verdict: Verdict, reason: str
) -> None:
    made = rule("difference", direction="greater", at_least=at_least)
    result = judge("C1", made, {str(i): c for i, c in enumerate(cells)}, "full")
    assert result.verdict is verdict
    assert result.reason.startswith(reason)
    assert [c.cell for c in result.cells] == [str(i) for i in range(len(cells))]


def _borderline(sign: int) -> Samples:
    """Evidence whose interval excludes zero at 95 %, but not at 99 %."""
    return {"ours": sign * (0.19 + SPREAD), "baseline": NULLS}


def test_all_cells_need_no_correction_to_hold_but_at_least_does() -> None:
    cells = {str(i): _borderline(1) for i in range(5)}
    every, some = MORE, rule("difference", direction="greater", at_least=1)
    assert judge("C1", every, cells, "full").verdict is Verdict.REPRODUCED
    result = judge("C1", some, cells, "full")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.cells[0].confidence == pytest.approx(0.99)
    assert judge("C1", some, {"0": _borderline(1)}, "full").verdict is Verdict.REPRODUCED


def test_a_contradiction_among_many_cells_needs_a_wider_interval() -> None:
    one = judge("C1", MORE, {"0": _borderline(-1)}, "full")
    five = judge("C1", MORE, {str(i): _borderline(-1) for i in range(5)}, "full")
    assert one.verdict is Verdict.CONTRADICTED
    assert five.verdict is Verdict.INCONCLUSIVE
    assert five.cells[0].high is not None
    assert five.cells[0].high < 0, "the interval shown is that of one cell"


def test_a_contradiction_within_an_ordering_is_corrected_for_its_steps() -> None:
    samples = {"a": 3 + SPREAD * 0, "b": 3.17 + SPREAD, "c": NULLS}
    assert outcome(FALLS, **samples) is OPEN
    pair = {name: samples[name] for name in ("a", "b")}
    assert outcome(rule("ordering", order=["a", "b"]), **pair) is AGAINST


def test_an_ordering_shows_its_smallest_step() -> None:
    got = only_cell(FALLS, {"a": 3 + SPREAD, "b": NULLS + 2, "c": 1.5 - SPREAD})
    assert got.note == "smallest step: b over c"
    assert got.estimate == pytest.approx(0.5)


def test_thresholds_and_bounds_can_differ_by_cell() -> None:
    share = rule("proportion", direction="greater")
    easy, hard = (
        {"successes": 30, "trials": 50, "threshold": threshold} for threshold in (0.1, 0.9)
    )
    assert [c.outcome for c in judge("C1", share, {"e": easy, "h": hard}, "full").cells] == [
        HOLDS,
        AGAINST,
    ]
    under = rule("bound", side="below")
    low, high = ({"ours": 1 + SPREAD, "bound": bound} for bound in (0.5, 1.5))
    assert [c.outcome for c in judge("C1", under, {"l": low, "h": high}, "full").cells] == [
        AGAINST,
        HOLDS,
    ]


@pytest.mark.parametrize(("samples", "expected"), [(WINS, HOLDS), (TIES, HOLDS), (LOSES, AGAINST)])
def test_consistency_holds_unless_contradicted(samples: Samples, expected: Outcome) -> None:
    made = rule("difference", direction="greater", consistency=True)
    assert only_cell(made, samples).outcome is expected


def test_consistency_of_an_ordering() -> None:
    made = rule("ordering", order=["a", "b"], consistency=True)
    assert outcome(made, a=SPREAD, b=NULLS) is HOLDS
    assert outcome(made, a=SPREAD - 1, b=NULLS) is AGAINST


# Verdicts


@pytest.mark.parametrize(
    ("samples", "full", "reduced"),
    [
        (WINS, Verdict.REPRODUCED, Verdict.TREND_HOLDS),
        (LOSES, Verdict.CONTRADICTED, Verdict.CONTRADICTED),
        (TIES, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
    ],
)
def test_the_setting_decides_between_reproduced_and_trend_holds(
    samples: Samples, full: Verdict, reduced: Verdict
) -> None:
    assert judge("C1", MORE, {"": samples}, "full").verdict is full
    assert judge("C1", MORE, {"": samples}, "reduced").verdict is reduced


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (WINS, "the interval lies where the claim puts it"),
        (LOSES, "the interval lies on the wrong side"),
        (TIES, "the interval includes the null"),
    ],
)
def test_the_reason_says_where_the_interval_lies(samples: Samples, reason: str) -> None:
    assert judge("C1", MORE, {"": samples}, "full").reason == reason


def test_no_evidence_is_inconclusive() -> None:
    result = judge("C1", MORE, {}, "full")
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, "no evidence was recorded")


def test_a_result_survives_json() -> None:
    result = judge("C1", MORE, {"a": WINS, "b": LOSES}, "full")
    assert type(result).model_validate_json(result.model_dump_json()) == result


def test_judging_twice_gives_the_same_result() -> None:
    made = rule("difference", direction="greater", method="bca")
    cells = {"": {"ours": 1 + NOISE, "baseline": NOISE[::-1]}}
    assert judge("C1", made, cells, "full") == judge("C1", made, cells, "full")


# Refusals


@pytest.mark.parametrize(
    ("made", "samples", "message"),
    [
        (MORE, {"ours": [1.0], "base": [1.0]}, "reads the samples ours, baseline; got base, ours"),
        (MORE, {}, "got none"),
        (MORE, {"ours": [1.0, float("nan")], "baseline": [0, 0]}, "`ours` is empty or holds NaN"),
        (MORE, {"ours": [1.0], "baseline": [float("inf")]}, "`baseline` is empty or holds NaN"),
        (MORE, {"ours": [], "baseline": [1]}, "`ours` is empty"),
        (EXACT, {"deviation": [float("nan")]}, "holds NaN"),
        (EACH, {"ours": [0.0, float("nan")]}, "holds NaN"),
        (MORE, {"ours": [[1, 2], [3, 4]], "baseline": [1, 2]}, r"shape \(2, 2\); one dimension"),
        (MORE, {"ours": [[1, 2], [3]], "baseline": [1, 2]}, "not an array of numbers"),
        (MORE, {"ours": ["a"], "baseline": [1]}, "not an array of numbers"),
        (MORE, {"ours": NOISE, "baseline": NULLS}, "paired samples differ in length: 30 and 6"),
        (RISES, {"x": LEVELS, "y": rising(1)[:, :2]}, "one column of y a level of x"),
        (RISES, {"x": [1.0], "y": np.ones((6, 1))}, "two or more levels"),
        (RANKS, {"x": [2.0, 2.0, 2.0], "y": rising(1)}, "two or more levels"),
        (CORRELATES, {"x": LINE, "y": NULLS[0] + LINE * 0}, "constant sample has no correlation"),
        (CORRELATES, {"x": LINE, "y": NOISE}, "differ in length: 12 and 30"),
        (TWICE, {"ours": -1 - NULLS, "baseline": -2 + SPREAD}, "needs positive values"),
        (MOST, {"successes": 21, "trials": 20}, "0 <= successes <= trials; got 21 of 20"),
        (MOST, {"successes": -1, "trials": 20}, "0 <= successes <= trials"),
        (MOST, {"successes": 0.5, "trials": 20}, "whole numbers"),
        (MOST, {"successes": [1, 0, 1], "trials": 3}, "`successes` must be one number, got 3"),
        (
            rule("proportion", direction="less"),
            {"successes": 1, "trials": 9, "threshold": 5},
            "threshold 5 is not a proportion",
        ),
        (rule("bound", side="below"), {"ours": SPREAD, "bound": [1, 2]}, "`bound` must be one"),
    ],
)
def test_evidence_that_does_not_fit_is_refused(made: Rule, samples: Samples, message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        judge("C1", made, {"": samples}, "full")


def test_a_refusal_names_the_cell() -> None:
    bad = {"x": LINE, "y": LINE * 0}
    with pytest.raises(EvidenceError, match="cell `wiki`: a constant sample"):
        judge("C1", CORRELATES, {"wiki": bad}, "full")


def test_samples_are_checked_when_they_are_recorded() -> None:
    with pytest.raises(EvidenceError, match="successes <= trials"):
        check_samples(MOST, {"successes": 3, "trials": 2})
    check_samples(MOST, {"successes": 2, "trials": 3})


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "value", "target": 1, "tolerance": 0.1},  # no reason for the tolerance
        {"kind": "value", "target": 1, "tolerance": 0, "reason": "r"},
        {"kind": "difference"},
        {"kind": "difference", "direction": "up"},
        {"kind": "difference", "direction": "greater", "confidence": 0.5},
        {"kind": "difference", "direction": "greater", "p_value": 0.05},
        {"kind": "equivalence", "margin": 0},
        {"kind": "trend", "direction": "greater", "statistic": "spearman", "method": "t"},
        {"kind": "correlation", "direction": "greater", "min_samples": 6},
        {"kind": "correlation", "direction": "two-sided", "consistency": True},
        {"kind": "proportion", "direction": "greater", "method": "wilson"},
        {"kind": "ordering", "order": ["a"]},
        {"kind": "significance"},
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _RULE.validate_python(fields)
