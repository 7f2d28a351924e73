"""Intervals against closed forms, independent implementations and brute force."""

import itertools

import numpy as np
import pytest
from scipy import stats as ss
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from stemma import stats

X = np.array([0.31, 0.12, 0.55, 0.47, -0.08, 0.29, 0.61])
Y = np.array([0.05, 0.17, 0.11, -0.22, 0.02, 0.35, 0.14])
WIDE = np.random.default_rng(3).gamma(2.0, size=30)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_t_interval_of_a_mean_is_the_textbook_formula(confidence: float) -> None:
    half = ss.t.ppf(0.5 + confidence / 2, 6) * X.std(ddof=1) / np.sqrt(7)
    assert stats.mean_interval(X, confidence) == pytest.approx(
        (X.mean(), X.mean() - half, X.mean() + half)
    )


def test_paired_difference_is_the_mean_of_the_differences() -> None:
    assert stats.difference_interval(X, Y, 0.95) == pytest.approx(stats.mean_interval(X - Y, 0.95))


@pytest.mark.parametrize("n", [4, 7])
def test_unpaired_t_interval_is_welch(n: int) -> None:
    low, high = CompareMeans(DescrStatsW(X), DescrStatsW(Y[:n])).tconfint_diff(
        0.05, usevar="unequal"
    )
    got = stats.difference_interval(X, Y[:n], 0.95, paired=False)
    assert got == pytest.approx((X.mean() - Y[:n].mean(), low, high))


def test_ratio_t_interval_is_of_geometric_means() -> None:
    a, b = np.exp(X), np.exp(Y)
    expected = np.exp(stats.mean_interval(X - Y, 0.95))
    assert stats.ratio_interval(a, b, 0.95) == pytest.approx(tuple(expected))
    assert stats.ratio_interval(a, b, 0.95).estimate == pytest.approx(ss.gmean(a) / ss.gmean(b))


@pytest.mark.parametrize("method", ["t", "bca"])
def test_ratio_refuses_negative_values(method: str) -> None:
    with pytest.raises(ValueError, match="ratio"):
        stats.ratio_interval(-np.exp(WIDE), -np.exp(WIDE[::-1]), 0.95, method)


def test_ratio_refuses_a_baseline_of_zeros() -> None:
    with pytest.raises(ValueError, match="all zero"):
        stats.ratio_interval(WIDE, np.zeros(30), 0.95, "bca")


def test_pearson_interval_is_fishers_z() -> None:
    r = np.corrcoef(X, Y)[0, 1]
    low, high = ss.pearsonr(X, Y).confidence_interval(0.95)
    assert stats.correlation_interval(X, Y, 0.95, statistic="pearson") == pytest.approx(
        (r, low, high)
    )


def test_spearman_interval_is_bonett_wright() -> None:
    rho = ss.spearmanr(X, Y).statistic
    error = np.sqrt((1 + rho**2 / 2) / (len(X) - 3))
    low, high = np.tanh(np.arctanh(rho) + np.array([-1, 1]) * ss.norm.ppf(0.975) * error)
    assert stats.correlation_interval(X, Y, 0.95) == pytest.approx((rho, low, high))


def test_spearman_gives_ties_their_mean_rank() -> None:
    x, y = [1, 1, 2, 3, 3, 3, 4], [2, 1, 2, 5, 4, 4, 7]
    assert stats.correlation(x, y) == pytest.approx(ss.spearmanr(x, y).statistic)


def test_a_perfect_correlation_has_an_interval() -> None:
    got = stats.correlation_interval(X, 2 * X, 0.95)
    assert got.estimate == pytest.approx(1)
    assert 0.99 < got.low <= got.high <= 1


def test_correlation_refuses_what_has_none() -> None:
    with pytest.raises(ValueError, match="constant"):
        stats.correlation_interval(X, np.ones(7), 0.95)
    with pytest.raises(ValueError, match="length: 7 and 6"):
        stats.correlation_interval(X, Y[:6], 0.95)


@pytest.mark.parametrize(("name", "method"), [("wilson", "wilson"), ("beta", "clopper-pearson")])
@pytest.mark.parametrize(("k", "n"), [(0, 9), (3, 9), (9, 9), (130, 400)])
def test_proportion_intervals_agree_with_statsmodels(
    name: str, method: str, k: int, n: int
) -> None:
    low, high = proportion_confint(k, n, 0.05, name)
    got = stats.proportion_interval(k, n, 0.95, method)
    assert got == pytest.approx((k / n, low, high), abs=1e-12)


def test_holm_is_the_step_down_rule() -> None:
    p = np.array([0.04, 0.001, 0.03, 0.9, 0.012])
    order = np.argsort(p)
    expected = np.empty(5)
    expected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(5, 0, -1)))
    assert stats.holm(p) == pytest.approx(expected)
    assert stats.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


# Bootstrap


def test_bca_is_scipys_at_the_expanded_level() -> None:
    expected = ss.bootstrap(
        (WIDE,),
        np.mean,
        n_resamples=9_999,
        confidence_level=stats.expanded_confidence(0.95, 30),
        method="BCa",
        rng=np.random.default_rng(stats._SEED),
    ).confidence_interval
    got = stats.mean_interval(WIDE, 0.95, "bca")
    assert got == pytest.approx((WIDE.mean(), expected.low, expected.high))


def test_expansion_turns_the_normal_quantile_into_t_and_vanishes_with_n() -> None:
    z = ss.norm.ppf(0.5 + stats.expanded_confidence(0.95, 20) / 2)
    assert z == pytest.approx(np.sqrt(20 / 19) * ss.t.ppf(0.975, 19))
    assert stats.expanded_confidence(0.95, 10**6) == pytest.approx(0.95, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "statistic"),
    [("pearson", ss.pearsonr), ("spearman", ss.spearmanr)],
)
def test_bca_of_a_correlation_resamples_pairs(name: str, statistic: object) -> None:
    rng = np.random.default_rng(8)
    other = WIDE + rng.normal(size=30)
    expected = ss.bootstrap(
        (WIDE, other),
        lambda u, v: statistic(u, v).statistic,  # type: ignore[operator]
        paired=True,
        vectorized=False,
        n_resamples=999,
        confidence_level=stats.expanded_confidence(0.95, 30),
        method="BCa",
        rng=rng,
    ).confidence_interval
    got = stats.correlation_interval(WIDE, other, 0.95, "bca", name)
    assert got[1:] == pytest.approx(tuple(expected), abs=0.05)


def test_bca_ratio_is_of_arithmetic_means() -> None:
    got = stats.ratio_interval(WIDE, WIDE[::-1] + 1, 0.95, "bca")
    assert got.estimate == pytest.approx(WIDE.mean() / (WIDE.mean() + 1))
    assert got.low < got.estimate < got.high


def test_bca_of_an_exact_multiple_is_a_point() -> None:
    assert stats.ratio_interval(3 * WIDE, WIDE, 0.95, "bca") == pytest.approx((3, 3, 3))


def test_bca_does_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stats.mean_interval(WIDE, 0.95, "bca")
    monkeypatch.setattr(stats, "_BATCH", 30 * 1_000)
    assert stats.mean_interval(WIDE, 0.95, "bca") == whole


# Permutation


def _rejected(p: float, confidence: float) -> bool:
    return p <= (1 - confidence) / 2 + 1e-12


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("n", [6, 7])
def test_sign_flip_interval_inverts_the_exact_test(n: int, confidence: float) -> None:
    d = X[:n]
    signs = np.array(list(itertools.product((1, -1), repeat=n)))

    def p_above(shift: float) -> float:
        return float(np.mean((signs * (d - shift)).mean(axis=1) >= (d - shift).mean() - 1e-12))

    got = stats.mean_interval(d, confidence, "permutation")
    assert _rejected(p_above(got.low - 1e-9), confidence)
    assert not _rejected(p_above(got.low + 1e-9), confidence)
    mirrored = stats.mean_interval(-d, confidence, "permutation")
    assert (got.low, got.high) == pytest.approx((-mirrored.high, -mirrored.low))


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("side", ["greater", "less"])
def test_two_sample_permutation_interval_inverts_scipys_exact_test(
    side: str, confidence: float
) -> None:
    a, b = X[:5], Y[:4]

    def p(shift: float) -> float:
        test = ss.permutation_test(
            (a - shift, b), lambda u, v: u.mean() - v.mean(), alternative=side, vectorized=False
        )
        return float(test.pvalue)

    got = stats.difference_interval(a, b, confidence, "permutation", paired=False)
    end, beyond = (got.low, -1e-9) if side == "greater" else (got.high, 1e-9)
    assert _rejected(p(end + beyond), confidence)
    assert not _rejected(p(end - beyond), confidence)


@pytest.mark.parametrize("paired", [True, False])
def test_sampled_permutations_come_close_to_the_exact_ones(
    paired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(1, 1, 8), rng.normal(0, 1, 8)
    monkeypatch.setattr(stats, "_RESAMPLES", 100_000)
    exact = stats.difference_interval(a, b, 0.9, "permutation", paired=paired)
    monkeypatch.setattr(stats, "_RESAMPLES", 200)
    sampled = stats.difference_interval(a, b, 0.9, "permutation", paired=paired)
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=0.35)


def test_too_small_a_sample_has_no_permutation_interval() -> None:
    assert stats.mean_interval(X[:5], 0.95, "permutation") == (X[:5].mean(), -np.inf, np.inf)
    assert stats.mean_interval(X[:6], 0.95, "permutation")[1:] == pytest.approx(
        (X[:6].min(), X[:6].max())
    )


def test_a_tie_at_the_null_does_not_count_as_above_it() -> None:
    d = np.array([0.1, 0.2, 0.3, 0.3, 0.2, 0.0])  # the smallest "subset mean" is exactly zero
    assert stats.mean_interval(d, 0.95, "permutation").low <= 0


# What all share


@pytest.mark.parametrize("method", ["t", "bca", "permutation"])
@pytest.mark.parametrize("paired", [True, False])
def test_no_spread_gives_a_point(method: str, paired: bool) -> None:
    a, b = np.full(20, 0.75), np.full(20, 0.5)
    assert stats.difference_interval(a, b, 0.95, method, paired=paired) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("method", ["t", "bca", "permutation"])
@pytest.mark.parametrize("paired", [True, False])
def test_intervals_shift_and_scale_with_the_data(method: str, paired: bool) -> None:
    a, b = WIDE[:20], WIDE[10:30]
    base = stats.difference_interval(a, b, 0.9, method, paired=paired)
    moved = stats.difference_interval(3 * a + 5, 3 * b, 0.9, method, paired=paired)
    assert moved == pytest.approx(tuple(3 * v + 5 for v in base))


@pytest.mark.parametrize("method", ["t", "bca", "permutation"])
def test_more_confidence_is_a_wider_interval(method: str) -> None:
    narrow, wide = (stats.mean_interval(WIDE, c, method) for c in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high


def test_paired_samples_must_have_one_length() -> None:
    with pytest.raises(ValueError, match="length: 7 and 6"):
        stats.difference_interval(X, Y[:6], 0.95)


def test_spawned_seeds_are_distinct_stable_and_a_prefix_of_more() -> None:
    seeds = stats.spawn_seeds(7, 1_000)
    assert len(set(seeds)) == 1_000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds[:5] == stats.spawn_seeds(7, 5)
    assert not set(seeds) & set(stats.spawn_seeds(8, 1_000))
