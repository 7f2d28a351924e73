"""Weights of the positions: closed forms, recovery of what was planted, power, refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import provenance as pv

Floats = np.ndarray
STEPS = 1_000
DECAY = np.linspace(1, 0.1, STEPS)


def schedule(c: float | None = None) -> pv.PositionWeights:
    """Of a rate that falls to a tenth; c times the sum of all rates, 8 by default."""
    return pv.PositionWeights.from_schedule(
        DECAY, forgetting=None if c is None else c / float(DECAY.sum())
    )


def unit(values: Floats) -> Floats:
    return np.asarray((values - values.mean()) / values.std())


def test_three_steps_by_hand() -> None:
    weights = pv.PositionWeights.from_schedule([1.0, 0.5, 0.25], forgetting=2.0)
    expected = [1.0 * math.exp(-2 * 0.75), 0.5 * math.exp(-2 * 0.25), 0.25]
    assert weights.values.tolist() == pytest.approx(expected)
    assert weights.points.tolist() == [0, 1, 2]
    assert weights.source == "learning-rate schedule of 3 steps, forgetting 2"
    assert not weights.lineage.digests
    # Only ratios of the rates count, if c is given per unit of rate.
    smaller = pv.PositionWeights.from_schedule([1e-3, 5e-4, 2.5e-4], forgetting=2e3)
    assert smaller.values.tolist() == pytest.approx(expected)


def test_a_step_of_several_examples_has_its_weight_at_its_middle() -> None:
    weights = pv.PositionWeights.from_schedule([1.0, 0.5], examples_per_step=4, forgetting=0)
    assert weights.points.tolist() == [1.5, 5.5]
    # Constant up to the first middle and from the last on, linear between.
    assert weights.at([-9, 0, 1.5]).tolist() == [1, 1, 1]
    assert weights.at([2.5, 3.5, 4.5]).tolist() == [0.875, 0.75, 0.625]
    assert weights.at([5.5, 7, 1e9]).tolist() == [0.5, 0.5, 0.5]


def test_without_forgetting_what_is_left_is_the_rate() -> None:
    assert schedule(0).values.tolist() == pytest.approx(DECAY.tolist())


def test_a_constant_rate_without_forgetting_tells_no_position_from_another() -> None:
    flat = pv.PositionWeights.from_schedule(np.full(50, 3e-4), forgetting=0)
    scores = np.random.default_rng(0).normal(size=50)
    with pytest.raises(pv.BadScores, match="constant weights"):
        pv.query_test(np.arange(50), scores, weights=flat)
    with pytest.raises(pv.ProvenanceError, match="spread must be positive"):
        pv.SequentialQueryTest.of(np.arange(50), flat)
    with pytest.raises(pv.BadScores, match="constant weights"):
        pv.plan_queries(np.arange(50), scores, np.arange(50), flat)


def test_a_constant_rate_with_forgetting_is_an_exponential() -> None:
    values = pv.PositionWeights.from_schedule(np.full(400, 3e-4)).values
    assert np.diff(np.log(values)) == pytest.approx(8 / 400)
    assert values[-1] == 1


def test_a_decayed_rate_is_remembered_best_before_the_end() -> None:
    """d/ds (log lr_s - c integral_s^1 lr) = lr'/lr + c lr = 0, so that lr^2 = -lr' / c there."""
    best = math.sqrt(0.9 / (8 / 0.55))  # rate 1 - .9 s on [0, 1], integral .55
    assert int(schedule().values.argmax()) == pytest.approx(STEPS * (1 - best) / 0.9, abs=2)


def planted(n: int, seed: int, noise: float = 1.0, c: float = 20) -> tuple[Floats, Floats]:
    """Bare positions of n examples, one a step, and scores that hold the curve of ``c``."""
    rng = np.random.default_rng(seed)
    positions = rng.choice(STEPS, n, replace=n > STEPS)
    return positions, unit(schedule(c).at(positions)) + noise * rng.normal(size=n)


@pytest.mark.parametrize("seed", range(3))
def test_a_twin_shows_its_memory_curve(seed: int) -> None:
    """5,000 examples, noise as large as the curve: within .3 everywhere, .1 on average."""
    positions, scores = planted(5_000, seed)
    weights = pv.PositionWeights.from_twin(positions, scores)
    inside = np.arange(20, STEPS - 20)
    truth = schedule(20).at(inside)
    every = schedule(20).at(positions)
    error = weights.at(inside) - (truth - every.mean()) / every.std()
    assert np.abs(error).max() < 0.3
    assert math.sqrt(np.mean(error**2)) < 0.1
    assert len(weights.points) == 128
    assert (np.diff(weights.points) > 0).all()


def test_a_twin_without_a_trace_has_a_flat_curve() -> None:
    rng = np.random.default_rng(0)
    weights = pv.PositionWeights.from_twin(rng.permutation(5_000), rng.normal(size=5_000))
    assert np.ptp(weights.values) < 0.3


def test_a_twin_may_be_given_as_transcript_or_positions_in_any_order_of_rows() -> None:
    positions, scores = planted(400, 1)
    transcript = pv.Transcript.of(np.arange(400), positions)
    bare = pv.PositionWeights.from_twin(positions, scores)
    mixed = np.random.default_rng(2).permutation(400)
    again = pv.PositionWeights.from_twin(positions[mixed], scores[mixed])
    assert again.digest == bare.digest
    known = pv.Transcript.of(np.arange(30), np.arange(30))
    whole = pv.PositionWeights.from_twin(transcript, scores, pv.Lineage.of(known))
    assert (whole.points == bare.points).all()
    assert (whole.values == bare.values).all()
    assert whole.source == f"twin run {transcript.digest[:12]}, 400 examples"
    assert whole.lineage.digests == {transcript.digest, known.digest}
    assert not bare.lineage.digests


def test_positions_may_be_steps_of_many_examples() -> None:
    """Sorted by score within a step, its first bin would hold the worst and its last the best."""
    rng = np.random.default_rng(9)
    steps = np.repeat(np.arange(8), [500, 700, 300, 900, 400, 600, 800, 1_000])
    curve = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    weights = pv.PositionWeights.from_twin(steps, curve[steps] + rng.normal(size=len(steps)))
    assert weights.points.tolist() == list(range(8))
    assert weights.values == pytest.approx(curve, abs=0.15)


@pytest.mark.parametrize("c", [4.0, 16.0, 64.0])
def test_forgetting_is_found_on_a_twin(c: float) -> None:
    """The grid has steps of 19 %; three of them either way at this noise."""
    rng = np.random.default_rng(3)
    per_step = 8
    positions = rng.permutation(STEPS * per_step)
    truth = schedule(c).values[positions // per_step]
    scores = 7 + 3 * unit(truth) + 3 * rng.normal(size=len(positions))
    found = pv.fit_forgetting(DECAY, positions, scores, examples_per_step=per_step)
    assert abs(math.log(found * DECAY.sum() / c)) < 3 * math.log(1024) / 40 + 1e-9
    # One example a step is another scale of positions.
    narrow = pv.fit_forgetting(DECAY, positions // per_step, scores)
    assert narrow == found


def test_the_digest_is_of_points_values_and_source() -> None:
    base = schedule()
    moved, raised = base.points.copy(), base.values.copy()
    moved[5] += 1e-9
    raised[5] += 1e-15
    others = [
        replace(base, points=moved),
        replace(base, values=raised),
        replace(base, source=base.source + " "),
        pv.PositionWeights(base.values[::-1].cumsum(), base.points, base.source),
    ]
    assert len({w.digest for w in (base, *others)}) == 5
    assert schedule().digest == base.digest
    result = pv.query_test(
        np.arange(40), np.random.default_rng(0).normal(size=40), weights=base, permutations=9
    )
    assert result.weights == base.digest
    assert f"weights {base.digest[:12]}" in result.summary()


def test_weights_that_followed_the_order_under_test_are_refused() -> None:
    positions, scores = planted(400, 4)
    order = pv.Transcript.of(np.arange(400), positions)
    other = pv.Transcript.of(np.arange(400), np.random.default_rng(5).permutation(400))
    fitted = pv.PositionWeights.from_twin(order, scores)
    with pytest.raises(pv.TaintedReference, match="the order under test: take the schedule"):
        pv.query_test(order, scores, weights=fitted)
    part = order.take(np.arange(100))
    with pytest.raises(pv.TaintedReference):
        pv.query_test(part, scores[:100], weights=fitted)
    of_part = pv.PositionWeights.from_twin(order.take(np.arange(300)), scores[:300])
    with pytest.raises(pv.TaintedReference):
        pv.query_test(order, scores, weights=of_part)
    started_there = pv.PositionWeights.from_twin(other, scores, pv.Lineage.of(order))
    with pytest.raises(pv.TaintedReference):
        pv.query_test(order, scores, weights=started_there)
    assert pv.query_test(other, scores, weights=fitted, permutations=9).weights == fitted.digest


def test_weights_fitted_along_the_order_would_have_blamed_the_innocent() -> None:
    blamed = 0
    for seed in range(100):
        rng = np.random.default_rng([6, seed])
        positions, innocent = rng.permutation(300), rng.normal(size=300)
        weights = pv.PositionWeights.from_twin(positions, innocent)
        result = pv.query_test(positions, innocent, weights=weights, permutations=99, resamples=0)
        blamed += result.p <= 0.05
    assert blamed > stats.binom.ppf(0.999, 100, 0.05)


@pytest.mark.parametrize("rank_scores", ["wilcoxon", "normal"])
def test_the_statistic_is_pearsons_of_weights_and_ranks(rank_scores: str) -> None:
    positions, scores = planted(300, 7)
    scores = np.round(scores, 1)  # with ties
    result = pv.query_test(
        positions,
        scores,
        weights=schedule(),
        rank_scores=rank_scores,  # type: ignore[arg-type]
        permutations=9,
        resamples=0,
    )
    ranks = stats.rankdata(scores)
    if rank_scores == "normal":
        ranks = stats.norm.ppf(ranks / 301)
    along = np.interp(positions, np.arange(STEPS), schedule().values)
    expected = stats.pearsonr(along, ranks, alternative="greater")
    assert result.test.rho == pytest.approx(expected.statistic, abs=1e-12)
    assert result.test.log10_p_asymptotic == pytest.approx(math.log10(expected.pvalue), abs=1e-8)


def test_exact_p_by_a_loop_over_the_same_permutations() -> None:
    """The product permutes weights over rows in the order of positions; so does this loop."""
    rng = np.random.default_rng(8)
    positions, scores = rng.choice(STEPS, 60, replace=False), rng.normal(size=60)
    weights, ranks = (
        schedule().at(np.sort(positions)),
        stats.rankdata(scores)[np.argsort(positions)],
    )
    observed, exceed = math.fsum(weights * ranks), 0
    for order in np.random.default_rng(4).permuted(np.tile(np.arange(60), (500, 1)), axis=1):
        exceed += math.fsum(weights[order] * ranks) >= observed
    result = pv.query_test(
        positions, scores, weights=schedule(), permutations=500, resamples=0, seed=4
    )
    assert result.p == (1 + exceed) / 501


def mean_z(c: float, shapes: dict[str, pv.PositionWeights | None]) -> dict[str, list[float]]:
    """z of 40 suspects that hold the curve of ``c`` in noise, 300 queries each."""
    z: dict[str, list[float]] = {name: [] for name in shapes}
    for seed in range(40):
        positions, scores = planted(300, seed, noise=4, c=c)
        for name, weights in shapes.items():
            result = pv.query_test(positions, scores, weights=weights, permutations=9, resamples=0)
            z[name].append(result.test.z)
    return z


def test_the_shape_beats_the_straight_line() -> None:
    """Expected z goes with the correlation of the weights with the curve that is there.

    Queries needed go with 1 / z^2: the line, whose correlation is .6, needs about 1 / .6^2 times
    those of the right shape.
    """
    c = 64.0
    z = mean_z(
        c,
        {
            "line": None,
            "right": schedule(c),
            "fitted": pv.PositionWeights.from_schedule(
                DECAY, forgetting=pv.fit_forgetting(DECAY, *planted(5_000, 99, c=c))
            ),
            "twin": pv.PositionWeights.from_twin(*planted(5_000, 99, c=c)),
        },
    )
    for name in ("right", "fitted", "twin"):
        assert stats.ttest_rel(z[name], z["line"], alternative="greater").pvalue < 1e-6
    share = {name: (np.mean(z["line"]) / np.mean(values)) ** 2 for name, values in z.items()}
    expected = np.corrcoef(np.arange(STEPS), schedule(c).values)[0, 1] ** 2
    assert share["right"] == pytest.approx(expected, abs=0.1)
    assert max(share["fitted"], share["twin"]) < 0.5


def test_the_default_forgetting_helps_where_it_is_near_the_truth() -> None:
    """At c = 8 it is the truth; at 64 the line is nearer: fit c on a twin, or take its curve."""
    shapes = {"line": None, "default": schedule()}
    near, far = mean_z(8, shapes), mean_z(64, shapes)
    assert stats.ttest_rel(near["default"], near["line"], alternative="greater").pvalue < 0.01
    assert np.mean(far["default"]) < np.mean(far["line"])


def test_the_wrong_shape_costs_power_and_nothing_else() -> None:
    """Weights that fall where memory rises: a true derivative is missed, not an innocent found."""
    upside_down = replace(schedule(20), values=-schedule(20).values)
    positions, scores = planted(300, 0)
    options = {"permutations": 99, "resamples": 0}
    assert pv.query_test(positions, scores, weights=upside_down, **options).p == 1  # type: ignore[arg-type]
    assert pv.query_test(positions, scores, weights=schedule(), **options).p == 1 / 100  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rates", [[], [0.0, 0.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf], np.ones((3, 3))]
)
def test_rates_that_are_none(rates: object) -> None:
    with pytest.raises(pv.BadScores, match="learning rates must be finite"):
        pv.PositionWeights.from_schedule(rates)  # type: ignore[arg-type]
    with pytest.raises(pv.BadScores, match="learning rates must be finite"):
        pv.fit_forgetting(rates, *planted(300, 0))  # type: ignore[arg-type]


@pytest.mark.parametrize("forgetting", [-1.0, math.nan, math.inf])
def test_forgetting_that_is_none(forgetting: float) -> None:
    with pytest.raises(pv.BadScores, match="forgetting must be finite and not negative"):
        pv.PositionWeights.from_schedule(DECAY, forgetting=forgetting)


def test_a_step_without_examples() -> None:
    with pytest.raises(pv.BadScores, match="at least 1, got 0"):
        pv.PositionWeights.from_schedule(DECAY, examples_per_step=0)
    with pytest.raises(pv.BadScores, match="at least 1, got 0"):
        pv.fit_forgetting(DECAY, *planted(300, 0), examples_per_step=0)


@pytest.mark.parametrize(
    ("points", "values", "message"),
    [
        ([0.0, 1.0], [1.0], "one each"),
        ([], [], "one each"),
        ([[0.0, 1.0]], [[0.0, 1.0]], "one each"),
        ([0.0, np.nan], [0.0, 1.0], "NaN or infinite"),
        ([0.0, 1.0], [0.0, np.inf], "NaN or infinite"),
        ([1.0, 0.0], [0.0, 1.0], "must increase"),
        ([1.0, 1.0], [0.0, 1.0], "must increase"),
    ],
)
def test_points_and_values_that_are_no_function(
    points: list[float], values: list[float], message: str
) -> None:
    """np.interp would interpolate nonsense between points out of order, without a word."""
    with pytest.raises(pv.BadScores, match=message):
        pv.PositionWeights(np.array(points), np.array(values), "by hand")


def test_twins_that_show_nothing() -> None:
    positions, scores = planted(300, 0)
    for bad in (np.nan, np.inf):
        spoilt, nowhere = scores.copy(), positions.astype(float)
        spoilt[3], nowhere[3] = bad, bad
        for where, values in ((positions, spoilt), (nowhere, scores)):
            with pytest.raises(pv.BadScores, match="scores or positions hold NaN"):
                pv.PositionWeights.from_twin(where, values)
            with pytest.raises(pv.BadScores, match="scores or positions hold NaN"):
                pv.fit_forgetting(DECAY, where, values)
    with pytest.raises(pv.BadScores, match=r"\(300,\) positions but scores of shape \(299,\)"):
        pv.PositionWeights.from_twin(positions, scores[1:])
    with pytest.raises(pv.TooFewExamples, match="needs 200 examples, got 199"):
        pv.PositionWeights.from_twin(positions[:199], scores[:199])
    with pytest.raises(pv.TooFewExamples, match="five different positions"):
        pv.PositionWeights.from_twin(positions % 3, scores)
    with pytest.raises(pv.TooFewExamples, match="five different positions"):
        pv.PositionWeights.from_twin(np.zeros(300), scores)
    with pytest.raises(pv.BadScores, match="constant: they show no forgetting"):
        pv.fit_forgetting(DECAY, positions, np.ones(300))
