"""The anytime-valid query test: its parts in closed form, its supermartingale by enumeration."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

import provenance as pv
from provenance.sequential import SCALES, bets, log_e_value, rank_means


@pytest.mark.parametrize("t", [1, 2, 3, 7, 40])
def test_rank_means_are_means_of_slices_of_the_normal(t: int) -> None:
    found = rank_means(np.arange(1, t + 1), t)
    edges = stats.norm.ppf(np.arange(t + 1) / t)
    for r in range(t):
        slice_mean = integrate.quad(lambda z: z * stats.norm.pdf(z), edges[r], edges[r + 1])[0] * t
        assert found[r] == pytest.approx(slice_mean, abs=1e-6)
    assert found.mean() == pytest.approx(0, abs=1e-12)
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("t", [1, 2, 5, 50, 1_000])
def test_rank_means_are_sub_gaussian_with_variance_one(t: int) -> None:
    """The one inequality that validity rests on, for uniform ranks."""
    c = rank_means(np.arange(1, t + 1), t)
    for slope in np.linspace(-6, 6, 49):
        assert np.exp(slope * c).mean() <= math.exp(slope**2 / 2) * (1 + 1e-12)


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (3.0, 10.0), (-5.0, 30.0), (40.0, 100.0)])
def test_log_e_value_is_the_mixture(a: float, b: float, two_sided: bool) -> None:
    def mixed(d: float) -> float:
        densities = [stats.norm.pdf(d, scale=scale) for scale in SCALES]
        sides = 1.0 if two_sided else 2.0 * (d >= 0)
        return sides * float(np.mean(densities)) * math.exp(d * a - d * d * b / 2)

    cuts = sorted({0.0, a / (b + 1), *(s * scale for s in (-1, 1) for scale in SCALES)})
    whole = integrate.quad(mixed, -9, 9, points=cuts, limit=500)[0]
    assert float(log_e_value(a, b, two_sided=two_sided)) == pytest.approx(math.log(whole), abs=1e-6)


def test_squares_of_the_bets_add_up_to_the_spread_of_the_weights() -> None:
    w = np.random.default_rng(0).normal(size=57)
    total = float((bets(w, 2.0) ** 2).sum())
    assert total == pytest.approx(float(((w - w.mean()) ** 2).sum()) / 4)


@pytest.mark.parametrize("alternative", ["later-is-likelier", "earlier-is-likelier", "two-sided"])
def test_expected_e_value_over_all_orders_is_at_most_one(alternative: str) -> None:
    """Every assignment of six scores to six positions, at every time: no limit, no simulation."""
    scores = [0.3, 2.0, -1.0, 5.0, 0.4, 9.0]
    positions = [3.0, 9.0, 1.0, 4.0, 20.0, 6.0]
    paths = []
    for order in itertools.permutations(scores):
        test = pv.SequentialQueryTest(2.0, alternative=alternative)  # type: ignore[arg-type]
        paths.append([test.update(p, s) for p, s in zip(positions, order, strict=True)])
    means = np.exp(np.array(paths)).mean(axis=0)
    assert (means <= 1 + 1e-12).all()
    assert means[-1] > 0.5  # nor is it a constant below one


def test_strata_multiply_their_evidence() -> None:
    """Two stages of three scores: every order within each."""
    found = []
    for first in itertools.permutations([1.0, 2.0, 3.0]):
        for second in itertools.permutations([101.0, 102.0, 103.0]):
            test = pv.SequentialQueryTest(1.0)
            for i, (a, b) in enumerate(zip(first, second, strict=True)):
                test.update(i, a, stratum=0)
                test.update(10 + i, b, stratum=1)
            found.append(test.log_e)
    assert np.exp(found).mean() <= 1 + 1e-12
    assert max(found) == found[0]  # both ascending


def planted(effect: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions in random order and scores with a linear trace of ``effect`` deviations."""
    rng = np.random.default_rng(seed)
    positions = rng.permutation(n)
    trace = (positions - positions.mean()) / positions.std()
    return positions, effect * trace + rng.normal(size=n)


def asked(effect: float, seed: int, level: float, n: int = 2_000) -> int:
    positions, scores = planted(effect, n, seed)
    test = pv.SequentialQueryTest.of(positions)
    for position, score in zip(positions, scores, strict=True):
        test.update(position, score)
        if test.reached(level):
            return test.n
    return n + 1


def test_a_planted_effect_stops_the_test_early() -> None:
    """An oracle that knows d and n needs (z(1e-6))^2 / d^2 = 141 queries for d = .4 (median)."""
    needed = np.array([asked(0.4, seed, 1e-6) for seed in range(40)])
    oracle = (stats.norm.isf(1e-6) / 0.4) ** 2
    assert np.median(needed) < 2 * oracle
    assert (needed <= 2_000).all()


def test_only_the_order_of_scores_counts() -> None:
    positions, scores = planted(0.3, 60, 0)
    paths = []
    for values in (scores, np.exp(scores), 7 * scores - 3):
        test = pv.SequentialQueryTest.of(positions)
        paths.append([test.update(p, s) for p, s in zip(positions, values, strict=True)])
    assert paths[0] == paths[1] == paths[2]


def test_the_reference_is_subtracted() -> None:
    positions, scores = planted(0.3, 50, 1)
    hardness = np.random.default_rng(2).normal(0, 50, 50)
    plain, against = (pv.SequentialQueryTest.of(positions) for _ in range(2))
    for p, s, h in zip(positions, scores, hardness, strict=True):
        plain.update(p, s)
        against.update(p, s + h, h)
    assert against.log_e == pytest.approx(plain.log_e)


def test_direction() -> None:
    positions, scores = planted(1.0, 100, 3)
    found = {}
    for alternative in ("later-is-likelier", "earlier-is-likelier", "two-sided"):
        test = pv.SequentialQueryTest.of(positions, alternative=alternative)
        for p, s in zip(positions, scores, strict=True):
            test.update(p, s)
        found[alternative] = test.log_e
    assert found["later-is-likelier"] > found["two-sided"] > 10
    assert found["earlier-is-likelier"] < 0


def test_ties_are_broken_by_keys_that_the_seed_decides() -> None:
    """With equal scores nothing but the keys speaks: evidence stays as small as under the null."""

    def flat(seed: int) -> float:
        test = pv.SequentialQueryTest(10.0, seed=seed)
        for position in range(30):
            test.update(position, 1.0)
        return test.largest

    values = np.array([flat(seed) for seed in range(200)])
    assert flat(5) == values[5]
    assert len(set(values.tolist())) > 100
    for level in (0.05, 0.1):
        assert (values >= -math.log(level)).sum() <= stats.binom.ppf(0.99, 200, level)


def test_p_is_one_over_the_largest_e_value() -> None:
    positions, scores = planted(0.5, 200, 4)
    test = pv.SequentialQueryTest.of(positions)
    path = [test.update(p, s) for p, s in zip(positions, scores, strict=True)]
    assert test.largest == max(path)
    assert test.p == pytest.approx(math.exp(-max(path)))
    assert test.reached(test.p * 1.01)
    assert not test.reached(test.p * 0.99)
    assert f"{test.p:.3g} after 200 queries" in test.summary()
    assert pv.SequentialQueryTest(1.0).p == 1.0
    for alpha in (0.0, -1.0, 1.5, math.nan):
        with pytest.raises(pv.ProvenanceError, match="alpha must be above 0"):
            test.reached(alpha)


def test_p_is_never_zero() -> None:
    """Evidence beyond what a float holds: p stays at its least, an upper bound, and is no 0."""
    test = pv.SequentialQueryTest.of(np.arange(2_000))
    for position in np.random.default_rng(6).permutation(2_000):
        test.update(position, position)
    assert test.largest > 745  # exp(-745) is the least positive float
    assert 0 < test.p < 1e-300
    assert test.reached(test.p)
    assert "p = 0 " not in test.summary()
    assert pv.holm({"bob": test.p}).adjusted["bob"] == test.p


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_score_is_refused_and_leaves_the_test_as_it_was(bad: float) -> None:
    positions, scores = planted(0.5, 20, 5)
    test, clean = (pv.SequentialQueryTest.of(positions) for _ in range(2))
    for p, s in zip(positions, scores, strict=True):
        with pytest.raises(pv.BadScores, match="NaN or infinite"):
            test.update(p, bad)
        assert test.update(p, s) == clean.update(p, s)


def test_other_refusals() -> None:
    with pytest.raises(pv.ProvenanceError, match="spread must be positive"):
        pv.SequentialQueryTest.of([3, 3, 3])
    with pytest.raises(pv.ProvenanceError, match="alternative is one of"):
        pv.SequentialQueryTest(1.0, alternative="later")  # type: ignore[arg-type]
    transcript = pv.Transcript.of(np.arange(300), np.random.default_rng(0).permutation(300))
    fitted = pv.PositionWeights.from_twin(transcript, np.random.default_rng(1).normal(size=300))
    with pytest.raises(pv.TaintedReference, match="the order under test"):
        pv.SequentialQueryTest.of(transcript.positions, fitted, transcript=transcript)
