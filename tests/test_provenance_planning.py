"""Which positions to ask, and how many."""

import itertools

import numpy as np
import pytest
from scipy import stats

import provenance as pv

LINEAR = pv.PositionWeights(np.array([0.0, 10_000.0]), np.array([0.0, 1.0]), "a straight line")


def decayed(n: int) -> pv.PositionWeights:
    return pv.PositionWeights.from_schedule(np.linspace(1, 0.1, n))


@pytest.mark.parametrize("seed", range(5))
def test_extreme_positions_have_the_largest_spread_of_all_choices(seed: int) -> None:
    positions = np.random.default_rng(seed).choice(200, 24, replace=False)
    weights = decayed(200)
    rows = pv.choose_positions(positions, 20, weights, design="extreme")
    values = weights.at(positions)
    best = max(np.var(values[list(pick)]) for pick in itertools.combinations(range(24), 20))
    assert np.var(values[rows]) == pytest.approx(best)


@pytest.mark.parametrize("design", ["random", "extreme"])
def test_only_positions_decide(design: str) -> None:
    """The rows in another order: the same positions are asked, whatever stands there."""
    positions = np.random.default_rng(0).permutation(500)
    shuffled = np.random.default_rng(1).permutation(500)
    for seed in range(5):
        options = {"weights": decayed(500), "design": design, "seed": seed}
        one = pv.choose_positions(positions, 60, **options)  # type: ignore[arg-type]
        other = pv.choose_positions(positions[shuffled], 60, **options)  # type: ignore[arg-type]
        assert sorted(positions[one]) == sorted(positions[shuffled][other])
        assert (np.diff(one) > 0).all()


@pytest.mark.parametrize("kind", ["decayed", "two levels"])
def test_asking_extreme_positions_is_exact_over_all_orders(kind: str) -> None:
    """Two marked examples at any two of 22 positions, 20 asked: P(p <= a) <= a for every a.

    p compares with all orders that put the same examples at the positions asked; nothing is drawn.
    """
    step = pv.PositionWeights(np.array([0.0, 10.0, 11.0]), np.array([0.0, 0.0, 1.0]), "a step")
    weights = decayed(22) if kind == "decayed" else step
    places, asked, statistic = list(itertools.permutations(range(22), 2)), [], []
    scores = np.append([2.0, 1.0], np.zeros(20))  # of the two marked examples, and of the rest
    for marked in places:
        rest = np.setdiff1d(np.arange(22), marked)
        positions = np.concatenate([marked, rest[::-1]])
        rows = pv.choose_positions(positions, 20, weights, design="extreme", seed=3)
        asked.append((0 in rows, 1 in rows))
        if not any(asked[-1]):
            statistic.append(0.0)  # nothing to rank, no evidence: p = 1
            continue
        test = pv.query_test(
            positions[rows], scores[rows], weights=weights, permutations=1, resamples=0
        ).test
        statistic.append(test.rho)
    kinds, group = np.unique(asked, axis=0, return_inverse=True)
    values, p = np.round(statistic, 12), np.empty(len(places))
    for i in range(len(kinds)):
        here = values[group == i]
        p[group == i] = (here[:, None] <= here).mean(axis=1)
    assert np.bincount(group).tolist() == [2, 40, 40, 380]  # the same two are never asked
    assert all((p <= a).mean() <= a + 1e-12 for a in p)
    assert p.min() <= 1 / 380 if kind == "decayed" else p.min() <= 0.25


def test_equal_weights_are_chosen_among_by_the_seed() -> None:
    flat = pv.PositionWeights(np.array([0.0, 249.0, 250.0]), np.array([0.0, 0.0, 1.0]), "a step")
    picks = [
        pv.choose_positions(np.arange(500), 40, flat, design="extreme", seed=seed).tolist()
        for seed in (1, 1, 2)
    ]
    assert picks[0] == picks[1] != picks[2]
    assert sum(row >= 250 for row in picks[0]) == 20


def test_strata_are_served_by_size_and_the_pilot_is_left_out() -> None:
    strata = np.repeat([7, 8, 9], [100, 300, 600])
    pilot = np.arange(0, 1_000, 10)
    rows = pv.choose_positions(
        np.arange(1_000), 100, LINEAR, design="extreme", strata=strata, leave_out=pilot
    )
    assert np.unique(strata[rows], return_counts=True)[1].tolist() == [10, 30, 60]
    assert not set(rows) & set(pilot)
    rest = pv.choose_positions(np.arange(1_000), 900, leave_out=pilot)
    assert sorted([*rest, *pilot]) == list(range(1_000))


def test_refusals_of_a_choice() -> None:
    with pytest.raises(pv.TooFewExamples, match="at least 20"):
        pv.choose_positions(np.arange(100), 19)
    with pytest.raises(pv.TooFewExamples, match="60 of 50"):
        pv.choose_positions(np.arange(100), 60, leave_out=np.arange(50))
    with pytest.raises(pv.ProvenanceError, match="give weights"):
        pv.choose_positions(np.arange(100), 30, design="extreme")
    for row in (-1, 100):  # -1 would not be left out
        with pytest.raises(pv.ProvenanceError, match=r"outside 0\.\.99"):
            pv.choose_positions(np.arange(100), 30, leave_out=[row])
    with pytest.raises(pv.BadScores, match=r"strata of shape \(2,\)"):
        pv.choose_positions(np.arange(100), 30, strata=[0, 1])
    with pytest.raises(pv.ProvenanceError, match="design is one of"):
        pv.choose_positions(np.arange(100), 30, design="clever")  # type: ignore[arg-type]


def scored(positions: np.ndarray, effect: float, rng: np.random.Generator) -> np.ndarray:
    """Scores with a trace of ``effect`` deviations for one of the weight over 0..9,999."""
    spread = np.sqrt(1 / 12)
    trace = (LINEAR.at(positions) - 0.5) / spread
    return np.asarray(effect * trace + rng.normal(size=len(positions)))


@pytest.mark.parametrize("design", ["random", "extreme"])
def test_the_planned_number_has_the_wanted_power(design: str) -> None:
    rng, everywhere = np.random.default_rng(0), np.arange(10_000)
    pilot = rng.choice(10_000, 4_000, replace=False)  # so large that the effect is known
    plan = pv.plan_queries(
        pilot,
        scored(pilot, 0.2, rng),
        everywhere,
        LINEAR,
        alpha=1e-3,
        power=0.8,
        design=design,  # type: ignore[arg-type]
    )
    found = 0
    for seed in range(400):
        rows = pv.choose_positions(everywhere, plan.n, LINEAR, design=design, seed=seed)  # type: ignore[arg-type]
        result = pv.query_test(
            rows,
            scored(rows, 0.2, rng),
            weights=LINEAR,
            rank_scores="normal",
            permutations=1,
            resamples=0,
        )
        found += result.test.log10_p_asymptotic <= -3
    low, high = stats.binomtest(found, 400).proportion_ci(0.999)
    # The plan takes its effect from the pilot, known to about 8 %: power .74 to .86.
    assert low < 0.86
    assert high > 0.74


def test_extreme_positions_need_a_third_of_the_queries_on_a_straight_line() -> None:
    """Uniform weights have variance 1/12; the two ends together have 1/4."""
    rng = np.random.default_rng(1)
    pilot = rng.choice(10_000, 500, replace=False)
    scores = scored(pilot, 0.3, rng)
    random, extreme = (
        pv.plan_queries(pilot, scores, np.arange(10_000), LINEAR, design=design)
        for design in ("random", "extreme")
    )
    assert extreme.n / random.n == pytest.approx(1 / 3, rel=0.05)


def test_the_interval_covers_the_effect() -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(300):
        pilot = rng.choice(10_000, 200, replace=False)
        plan = pv.plan_queries(pilot, scored(pilot, 0.4, rng), np.arange(10_000), LINEAR)
        covered += plan.effect_low <= 0.4 <= plan.effect_high
        assert plan.low <= plan.n
        assert plan.high is None or plan.high >= plan.n
    assert stats.binomtest(covered, 300, 0.9, alternative="less").pvalue > 0.01


def test_permutations_that_the_exact_p_value_needs() -> None:
    rng = np.random.default_rng(3)
    pilot = rng.choice(10_000, 200, replace=False)
    scores = scored(pilot, 0.5, rng)
    plans = [pv.plan_queries(pilot, scores, np.arange(10_000), alpha=a) for a in (0.05, 1e-4)]
    assert [plan.permutations for plan in plans] == [19, 9_999]
    assert plans[0].n < plans[1].n
    assert "random design" in plans[0].summary()


def test_refusals_of_a_plan() -> None:
    rng, everywhere = np.random.default_rng(4), np.arange(10_000)
    pilot = rng.choice(10_000, 100, replace=False)
    scores = scored(pilot, 0.3, rng)
    with pytest.raises(pv.TooFewExamples, match="a pilot of 19"):
        pv.plan_queries(pilot[:19], scores[:19], everywhere)
    with pytest.raises(pv.BadScores, match="one finite score a position"):
        pv.plan_queries(pilot, np.append(scores[1:], np.nan), everywhere)
    with pytest.raises(pv.BadScores, match="constant weights"):
        pv.plan_queries(pilot, scores, np.full(100, 3))
    nowhere = np.append(np.arange(9_999.0), np.nan)
    for asked, every in ((np.append(pilot[1:], np.nan), everywhere), (pilot, nowhere)):
        with pytest.raises(pv.BadScores, match="positions hold NaN"):
            pv.plan_queries(asked, scores, every)
    with pytest.raises(pv.ProvenanceError, match="too small for"):
        pv.plan_queries(pilot, -scores, everywhere)
    with pytest.raises(pv.ProvenanceError, match="between 0 and 1"):
        pv.plan_queries(pilot, scores, everywhere, power=1.0)
    with pytest.raises(pv.ProvenanceError, match="give weights"):
        pv.plan_queries(pilot, scores, everywhere, design="extreme")
