"""The reshuffle test: exact ranks, Student's t, and what a normal tail would have claimed."""

import math

import numpy as np
import pytest
from scipy import stats

import provenance as pv


def scores_with_released_z(z: float, m: int) -> tuple[float, np.ndarray]:
    """A true score that the released code would give z standard deviations (ddof 0)."""
    others = np.linspace(-1, 1, m) * 1e4
    return float(others.mean() + z * (others.std() + 1e-6)), others


@pytest.mark.parametrize(
    ("reported", "correct", "m"),
    [(1e-8, 5e-4, 9), (1e-27, 5e-6, 9), (1e-80, 7e-8, 9)],
)
def test_what_the_released_p_values_are_worth(reported: float, correct: float, m: int) -> None:
    true, others = scores_with_released_z(float(stats.norm.isf(reported)), m)
    assert pv.gaussian_tail_diagnostic(true, others) == pytest.approx(reported, rel=1e-3)
    result = pv.reshuffle_test(true, others)
    assert result.p_t == pytest.approx(correct, rel=0.12)
    assert result.p == 1 / (m + 1) == result.floor


@pytest.mark.parametrize(("reported", "correct"), [(2.5e-4, 0.078), (1.6e-3, 0.091)])
def test_what_the_released_p_values_of_three_ingredients_are_worth(
    reported: float, correct: float
) -> None:
    """There the spread is taken to be |a - b| of the two other models."""
    a, b = 1.0, 2.0
    true = (a + b) / 2 + float(stats.norm.isf(reported)) * abs(a - b)
    result = pv.reshuffle_test(true, [a, b])
    assert result.p_t == pytest.approx(correct, rel=0.02)
    assert result.p == 1 / 3


def test_rank_by_hand() -> None:
    result = pv.reshuffle_test(2.5, [1.0, 2.0, 3.0, 4.0])
    assert (result.rank, result.p) == (3, 3 / 5)
    tied = pv.reshuffle_test(3.0, [1.0, 2.0, 3.0, 4.0])
    assert tied.p == 3 / 5  # a tie counts against the claim
    assert pv.reshuffle_test(9.0, [1.0, 2.0, 3.0, 4.0]).p == 1 / 5
    assert "exact rank p = 0.2 (rank 1 of 5" in pv.reshuffle_test(9.0, [1.0, 2, 3, 4]).summary()


def test_t_by_hand() -> None:
    result = pv.reshuffle_test(5.0, [1.0, 2.0, 3.0])
    t = 3.0 / (1.0 * math.sqrt(4 / 3))
    assert result.t == pytest.approx(t)
    assert result.p_t == pytest.approx(stats.t.sf(t, 2))
    assert result.log10_p_t == pytest.approx(math.log10(result.p_t))


def test_null_rank_is_exact_and_t_is_calibrated_but_the_normal_tail_is_not() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 10))
    results = [pv.reshuffle_test(float(d[0]), d[1:]) for d in draws]
    ranks = np.bincount([r.rank - 1 for r in results], minlength=10)
    assert stats.chisquare(ranks).pvalue > 1e-3
    p_t = np.array([r.p_t for r in results])
    assert stats.kstest(p_t, "uniform").pvalue > 1e-3
    normal = np.array([pv.gaussian_tail_diagnostic(float(d[0]), d[1:]) for d in draws])
    assert np.mean(normal <= 0.01) > 0.025


def test_exact_rank_under_a_heavy_tail() -> None:
    rng = np.random.default_rng(1)
    p = np.array([pv.reshuffle_test(float(d[0]), d[1:]).p for d in rng.standard_cauchy((3000, 20))])
    for alpha in (0.05, 0.1, 0.5):
        hits = int((p <= alpha).sum())
        assert stats.binomtest(hits, len(p), alpha, alternative="greater").pvalue > 1e-3


def test_refusals() -> None:
    with pytest.raises(pv.TooFewExamples):
        pv.reshuffle_test(1.0, [1.0])
    with pytest.raises(pv.BadScores, match="NaN"):
        pv.reshuffle_test(1.0, [1.0, math.nan])
    with pytest.raises(pv.BadScores, match="NaN"):
        pv.reshuffle_test(-math.inf, [1.0, 2.0])
    with pytest.raises(pv.BadScores, match="equal"):
        pv.reshuffle_test(1.0, [1.0, 1.0, 1.0])
    assert pv.reshuffle_test(2.0, [1.0, 1.0]).t == math.inf
