"""The query test: exactness, agreement with independent implementations, invariances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

import provenance as pv
from provenance.tails import log10_serfling, log10_t_sf


def null_positions(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.permutation(n)


def too_many(p: np.ndarray, alpha: float) -> bool:
    """One-sided binomial test at 99.9 %: are there more p <= alpha than an exact test allows?"""
    hits = int((p <= alpha).sum())
    return bool(stats.binomtest(hits, len(p), alpha, alternative="greater").pvalue < 1e-3)


def test_planted_signal_reaches_the_floor() -> None:
    rng = np.random.default_rng(0)
    positions = rng.permutation(600)
    result = pv.query_test(positions, positions + rng.normal(0, 300, 600), permutations=999)
    assert result.p == 1 / 1000
    assert result.test.rho > 0.3
    assert result.test.low < result.test.rho < result.test.high


def test_sign_later_is_likelier() -> None:
    rng = np.random.default_rng(1)
    positions = rng.permutation(300)
    loss = -positions + rng.normal(0, 50, 300)  # low loss late in training
    assert pv.query_test(positions, -loss, permutations=199).p == 1 / 200
    assert pv.query_test(positions, loss, permutations=199).p == 1.0
    opposite = pv.query_test(positions, loss, permutations=199, alternative="earlier-is-likelier")
    assert opposite.p == 1 / 200
    assert opposite.test.rho < 0
    assert pv.query_test(positions, loss, permutations=199, alternative="two-sided").p == 1 / 200


def test_null_is_uniform() -> None:
    rng = np.random.default_rng(2)
    p = np.array(
        [
            pv.query_test(
                rng.permutation(60), rng.standard_t(2, 60), permutations=199, resamples=0, seed=i
            ).p
            for i in range(600)
        ]
    )
    assert not any(too_many(p, a) for a in (0.01, 0.05, 0.1, 0.5))
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_null_is_uniform_within_strata_where_a_naive_test_is_not() -> None:
    rng = np.random.default_rng(3)
    strata = np.repeat([0, 1, 2], [30, 50, 20])
    inside, naive = [], []
    for i in range(300):
        starts = np.repeat([0, 30, 80], [30, 50, 20])
        positions = starts + np.concatenate([rng.permutation(k) for k in (30, 50, 20)])
        scores = 2.0 * strata + rng.normal(size=100)  # a curriculum: later stages are easier
        transcript = pv.Transcript.of(np.arange(100), positions, strata)
        inside.append(pv.query_test(transcript, scores, permutations=99, resamples=0, seed=i).p)
        naive.append(pv.query_test(positions, scores, permutations=99, resamples=0, seed=i).p)
    assert not any(too_many(np.array(inside), a) for a in (0.01, 0.05, 0.1, 0.5))
    assert np.mean(np.array(naive) <= 0.05) > 0.9


def test_power_within_strata() -> None:
    rng = np.random.default_rng(4)
    positions = np.concatenate([rng.permutation(200), 200 + rng.permutation(200)])
    transcript = pv.Transcript.of(np.arange(400), positions, np.repeat([0, 1], 200))
    scores = positions % 200 - 1000.0 * (positions >= 200) + rng.normal(0, 100, 400)
    result = pv.query_test(transcript, scores, permutations=999)
    assert result.p == 1 / 1000
    assert result.test.strata == 2
    assert pv.query_test(positions, scores, permutations=99).p == 1.0


def test_agrees_with_scipy() -> None:
    rng = np.random.default_rng(5)
    positions = rng.permutation(500)
    scores = np.round(positions / 400 + rng.normal(size=500), 1)  # with ties
    result = pv.query_test(positions, scores, permutations=99, resamples=0)
    expected = stats.spearmanr(positions, scores, alternative="greater")
    assert result.test.rho == pytest.approx(expected.statistic, abs=1e-12)
    assert result.test.log10_p_asymptotic == pytest.approx(math.log10(expected.pvalue), abs=1e-9)
    both = pv.query_test(positions, scores, permutations=99, resamples=0, alternative="two-sided")
    expected = stats.spearmanr(positions, scores)
    assert both.test.log10_p_asymptotic == pytest.approx(math.log10(expected.pvalue), abs=1e-9)


def test_agrees_with_an_independent_algorithm_1() -> None:
    rng = np.random.default_rng(6)
    positions = rng.permutation(80)
    scores = 0.02 * positions + rng.normal(size=80)
    phi_0 = stats.spearmanr(positions, scores).statistic
    phi = [stats.spearmanr(rng.permutation(positions), scores).statistic for _ in range(4000)]
    by_hand = (1 + sum(p >= phi_0 for p in phi)) / 4001
    ours = pv.query_test(positions, scores, permutations=20_000, resamples=0).p
    assert ours == pytest.approx(by_hand, abs=4 * math.sqrt(by_hand / 4000))


def test_every_permutation_of_a_tiny_set() -> None:
    """With heavy ties the exact p is computed by hand from the hypergeometric law."""
    positions = np.arange(20)
    scores = (positions >= 17).astype(float)  # the three likeliest came last: 1 in C(20, 3)
    ours = pv.query_test(positions, scores, permutations=200_000, resamples=0).p
    assert ours == pytest.approx(1 / math.comb(20, 3), rel=0.3)


def test_reference_takes_out_difficulty() -> None:
    rng = np.random.default_rng(7)
    positions = rng.permutation(1000)
    difficulty = rng.normal(0, 5, 1000)
    suspect = difficulty + positions / 1000 + rng.normal(0, 0.5, 1000)
    reference = difficulty + rng.normal(0, 0.5, 1000)
    plain = pv.query_test(positions, suspect, permutations=99).test.z
    better = pv.query_test(positions, suspect, reference, permutations=99)
    residual = pv.query_test(
        positions, suspect, reference, permutations=99, adjustment="polynomial"
    )
    assert better.test.z > plain + 5
    assert residual.test.z > plain + 5
    by_hand = stats.spearmanr(positions, suspect - reference).statistic
    assert better.test.rho == pytest.approx(by_hand, abs=1e-12)


def test_tainted_reference_is_refused_and_would_have_blamed_the_innocent() -> None:
    rng = np.random.default_rng(8)
    positions = rng.permutation(400)
    transcript = pv.Transcript.of(np.arange(400), positions)
    innocent = rng.normal(size=400)
    tainted = -positions / 100.0  # loss-like scores of a model that followed the order
    seen = pv.Reference.from_scores(tainted, pv.Lineage.of(transcript), "Alice")
    with pytest.raises(pv.TaintedReference, match="Alice"):
        pv.query_test(transcript, innocent, seen)
    part = transcript.take(np.arange(100))  # a part of the order is the same order
    with pytest.raises(pv.TaintedReference):
        pv.query_test(part, innocent[:100], pv.Reference(tainted[:100], pv.Lineage.of(transcript)))
    with pytest.raises(pv.BadScores, match="declare"):
        pv.query_test(transcript, innocent, tainted)
    assert pv.query_test(positions, innocent, tainted, permutations=99).p == 1 / 100
    clean = pv.Reference.from_scores(rng.normal(size=400))
    assert pv.query_test(transcript, innocent, clean, permutations=99).reference == "reference"


def test_lineages_join() -> None:
    a = pv.Transcript.of(np.arange(30), np.arange(30))
    b = pv.Transcript.of(np.arange(30), np.arange(30)[::-1].copy())
    merged = pv.Lineage.of(a) | pv.Lineage.of(b)
    assert merged.has_seen(a)
    assert merged.has_seen(b)
    assert not pv.Lineage.of(a).has_seen(b)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.booleans())
def test_invariances(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 80))
    positions = rng.integers(0, 10, n) if ties else rng.permutation(n)
    scores = np.round(rng.normal(size=n) + positions / n, 1 if ties else 8)
    if np.ptp(scores) == 0 or np.ptp(positions) == 0:
        return
    base = pv.query_test(positions, scores, permutations=99, resamples=50)
    shuffled = rng.permutation(n)
    rows = pv.query_test(positions[shuffled], scores[shuffled], permutations=99, resamples=50)
    assert rows.test == base.test  # an unsorted transcript, bit for bit
    monotone = pv.query_test(positions, np.exp(scores / 3) * 7, permutations=99, resamples=50)
    assert monotone.test == base.test
    stretched = pv.query_test(positions * 1024 + 5, scores, permutations=99, resamples=50)
    assert stretched.test == base.test  # positions up to any size, never used as an index


def test_family_shares_permutations_and_holds_holm() -> None:
    rng = np.random.default_rng(9)
    positions = rng.permutation(300)
    scores = {"guilty": positions / 50 + rng.normal(size=300)}
    scores |= {f"innocent {i}": rng.normal(size=300) for i in range(3)}
    family = pv.query_family(positions, scores, permutations=999, resamples=0)
    assert family.family.flagged(0.05) == ["guilty"]
    assert family.family.adjusted["guilty"] == pytest.approx(4 / 1000)
    alone = pv.query_test(positions, scores["guilty"], permutations=999, resamples=0)
    assert alone.p == family.results["guilty"].p
    assert "Holm p = 0.004" in family.summary()


def test_holm_by_hand() -> None:
    family = pv.holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert family.adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert "a: p = 0.01" in family.summary()
    p = np.random.default_rng(12).uniform(size=12) ** 4
    ours = pv.holm({str(i): float(v) for i, v in enumerate(p)}).adjusted
    assert list(ours.values()) == pytest.approx(multipletests(p, method="holm")[1])
    with pytest.raises(pv.ProvenanceError, match="no p-value"):
        pv.holm({"a": 0.0})
    with pytest.raises(pv.ProvenanceError, match="at least one"):
        pv.holm({})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_cannot_be_ranked_are_refused(bad: float) -> None:
    scores = np.arange(30.0)
    scores[3] = bad
    with pytest.raises(pv.BadScores, match="1 examples have NaN or infinite"):
        pv.query_test(np.arange(30), scores)


def test_other_refusals() -> None:
    with pytest.raises(pv.TooFewExamples, match="20"):
        pv.query_test(np.arange(19), np.arange(19.0))
    with pytest.raises(pv.BadScores, match="constant"):
        pv.query_test(np.arange(30), np.ones(30))
    with pytest.raises(pv.BadScores, match="shape"):
        pv.query_test(np.arange(30), np.arange(29.0))
    with pytest.raises(pv.BadScores, match="reference of shape"):
        pv.query_test(np.arange(30), np.arange(30.0), np.arange(29.0))


def test_certified_bound_is_never_anti_conservative() -> None:
    rng = np.random.default_rng(10)
    strata = np.repeat([0, 1], [150, 51])
    bounds = []
    for i in range(400):
        positions = np.concatenate([rng.permutation(150), 150 + rng.permutation(51)])
        scores = rng.exponential(size=201) + strata
        transcript = pv.Transcript.of(np.arange(201), positions, strata)
        test = pv.query_test(transcript, scores, permutations=1, resamples=0, seed=i).test
        bounds.append(10**test.log10_p_certified)
    assert not any(too_many(np.array(bounds), a) for a in (0.01, 0.05, 0.2, 0.5))


def test_certified_bound_of_the_released_example() -> None:
    """rho = .0779 at n = 1e5 certifies about 1e-33 without a limit law."""
    n, rho = 100_000, 0.0779
    d = rho / 4  # of the half-split statistic, for a linear relation of uniform ranks
    bound = log10_serfling(n / 2 * d, np.array([n]), np.array([n // 2]))
    assert bound == pytest.approx(-33, abs=1)
    assert log10_serfling(-1.0, np.array([n]), np.array([n // 2])) == 0.0


def test_certified_bound_covers_the_exact_tail() -> None:
    """0/1 scores: the half-split sum is hypergeometric, whose tail the bound must cover."""
    n, ones = 60, 25
    positions, scores = np.arange(n), np.zeros(n)
    for late in range(14, 26):
        scores[:] = 0
        scores[n // 2 : n // 2 + late] = 1
        scores[: ones - late] = 1
        bound = pv.query_test(positions, scores, permutations=1, resamples=0)
        exact = stats.hypergeom.sf(late - 1, n, ones, n // 2)
        assert 10**bound.test.log10_p_certified >= exact


@pytest.mark.parametrize(("t", "df"), [(2.0, 8.0), (30.0, 400.0), (36.0, 5998.0), (-1.0, 7.0)])
def test_log_tail_where_scipy_can_follow(t: float, df: float) -> None:
    assert log10_t_sf(t, df) == pytest.approx(math.log10(stats.t.sf(t, df)), abs=1e-9)


def test_log_tail_where_a_float_underflows() -> None:
    """Against the finite sum for even df (Abramowitz and Stegun 26.7.4) at 1,500 digits."""
    import mpmath

    with mpmath.workdps(1500):
        for t, df in [(60.0, 5998), (90.0, 9998), (1e6, 60)]:
            cos2 = mpmath.mpf(df) / (df + mpmath.mpf(t) ** 2)
            term, total = mpmath.mpf(1), mpmath.mpf(1)
            for i in range(2, df - 1, 2):
                term *= cos2 * (i - 1) / i
                total += term
            exact = mpmath.log10((1 - mpmath.sqrt(1 - cos2) * total) / 2)
            assert log10_t_sf(t, df) == pytest.approx(float(exact), rel=1e-9)
    assert log10_t_sf(math.inf, 10) == -math.inf


def test_published_p_of_the_released_example() -> None:
    """rho = -.07789 at n = 1e5: two-sided p = 2.3378e-134, the README of the released code."""
    n, rho = 100_000, 0.07789002
    log_p = log10_t_sf(rho * math.sqrt((n - 2) / (1 - rho**2)), n - 2) + math.log10(2)
    assert log_p == pytest.approx(math.log10(2.3378e-134), abs=0.05)


def test_summary_puts_the_exact_p_first() -> None:
    rng = np.random.default_rng(11)
    transcript = pv.Transcript.of(np.arange(100), rng.permutation(100))
    text = pv.query_test(transcript, rng.normal(size=100), permutations=99).summary()
    assert text.startswith("exact p = ")
    assert transcript.digest[:12] in text
    assert "no reference" in text
    plain = pv.query_test(transcript, rng.normal(size=100), permutations=99, resamples=0).summary()
    assert "nan" not in plain
