"""Seeds and intervals: thin over numpy and scipy.stats, shared by the claims engine and papers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

Array = NDArray[np.float64]

BCA_MIN_SAMPLES = 20
"""Below this many samples the BCa interval is known to be too narrow; the engine refuses it."""

_RESAMPLES = 9_999
_SEED = 20_260_101


class Interval(NamedTuple):
    """An estimate with its confidence interval."""

    estimate: float
    low: float
    high: float


def spawn_seeds(seed: int, n: int) -> list[int]:
    """Return ``n`` independent 31-bit seeds derived from ``seed`` (numpy's SeedSequence)."""
    return [
        int(child.generate_state(1, np.uint32)[0] >> 1)
        for child in np.random.SeedSequence(seed).spawn(n)
    ]


def mean_interval(x: ArrayLike, confidence: float, method: str = "t") -> Interval:
    """Confidence interval of a mean; ``x`` has shape (n,), ``method`` is t, bca or permutation.

    ``permutation`` inverts the sign-flip test (for paired differences).
    """
    a = np.asarray(x, dtype=float)
    estimate = float(a.mean())
    if np.ptp(a) == 0:
        return Interval(estimate, estimate, estimate)
    if method == "bca":
        return _bootstrap((a,), lambda v, axis=-1: np.mean(v, axis=axis), estimate, confidence)
    if method == "permutation":
        return _invert(
            estimate,
            confidence,
            float(stats.sem(a)),
            lambda shift, side: _sign_flip_p(a - shift, side),
        )
    ci = stats.ttest_1samp(a, 0.0).confidence_interval(confidence)
    return Interval(estimate, float(ci.low), float(ci.high))


def difference_interval(
    x: ArrayLike, y: ArrayLike, confidence: float, method: str = "t", *, paired: bool = True
) -> Interval:
    """Confidence interval of mean(x) - mean(y); unpaired ``t`` is Welch's.

    Raises:
        ValueError: paired samples of unequal length.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if paired:
        if a.shape != b.shape:
            raise ValueError(f"paired samples differ in length: {a.size} and {b.size}")
        return mean_interval(a - b, confidence, method)
    estimate = float(a.mean() - b.mean())
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return Interval(estimate, estimate, estimate)
    if method == "bca":
        return _bootstrap((a, b), _mean_difference, estimate, confidence)
    if method == "permutation":
        scale = float(np.hypot(stats.sem(a), stats.sem(b)))
        return _invert(
            estimate, confidence, scale, lambda shift, side: _two_sample_p(a - shift, b, side)
        )
    ci = stats.ttest_ind(a, b, equal_var=False).confidence_interval(confidence)
    return Interval(estimate, float(ci.low), float(ci.high))


def ratio_interval(
    x: ArrayLike, y: ArrayLike, confidence: float, method: str = "t", *, paired: bool = True
) -> Interval:
    """Confidence interval of a ratio: geometric means for ``t``, arithmetic means for ``bca``.

    Raises:
        ValueError: ``t`` with values that are not positive.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if method == "bca":
        estimate = float(a.mean() / b.mean())
        if np.ptp(a) == 0 and np.ptp(b) == 0:
            return Interval(estimate, estimate, estimate)
        return _bootstrap((a, b), _mean_ratio, estimate, confidence, paired=paired)
    if min(a.min(), b.min()) <= 0:
        raise ValueError("the t interval of a ratio needs positive values; use method: bca")
    logs = difference_interval(np.log(a), np.log(b), confidence, "t", paired=paired)
    return Interval(*(float(v) for v in np.exp(logs)))


def correlation_interval(
    x: ArrayLike,
    y: ArrayLike,
    confidence: float,
    method: str = "fisher",
    statistic: str = "spearman",
) -> Interval:
    """Confidence interval of a correlation of pairs; x and y have shape (n,).

    ``fisher``: Fisher's z; for Spearman with the standard error of Bonett and Wright (2000).
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ValueError("a constant sample has no correlation")
    measure = stats.spearmanr if statistic == "spearman" else stats.pearsonr
    r = float(measure(a, b).statistic)
    if method == "bca":
        return _bootstrap(
            (a, b), lambda u, v: measure(u, v).statistic, r, confidence, paired=True, loop=True
        )
    spread = 1 + r * r / 2 if statistic == "spearman" else 1.0
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * np.sqrt(spread / (a.size - 3))
    z = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))
    return Interval(r, float(np.tanh(z - half)), float(np.tanh(z + half)))


def proportion_interval(
    successes: int, trials: int, confidence: float, method: str = "wilson"
) -> Interval:
    """Wilson or Clopper-Pearson interval of a binomial proportion."""
    name = "exact" if method == "clopper-pearson" else "wilson"
    ci = stats.binomtest(successes, trials).proportion_ci(confidence, method=name)
    return Interval(successes / trials, float(ci.low), float(ci.high))


def holm(p: ArrayLike) -> Array:
    """Return Holm's adjusted p-values, in the order given."""
    from statsmodels.stats.multitest import multipletests

    adjusted: Array = multipletests(np.asarray(p, dtype=float), method="holm")[1]
    return adjusted


def _bootstrap(
    data: tuple[Array, ...],
    statistic: Callable[..., object],
    estimate: float,
    confidence: float,
    *,
    paired: bool = False,
    loop: bool = False,
) -> Interval:
    ci = stats.bootstrap(
        data,
        statistic,
        paired=paired,
        vectorized=not loop,
        n_resamples=1_999 if loop else _RESAMPLES,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return Interval(estimate, float(ci.low), float(ci.high))


def _mean_difference(x: Array, y: Array, axis: int = -1) -> Array:
    return np.asarray(x.mean(axis=axis) - y.mean(axis=axis))


def _mean_ratio(x: Array, y: Array, axis: int = -1) -> Array:
    return np.asarray(x.mean(axis=axis) / y.mean(axis=axis))


def _sign_flip_p(d: Array, side: str) -> float:
    return float(
        stats.permutation_test(
            (d,),
            lambda v, axis=-1: np.mean(v, axis=axis),
            permutation_type="samples",
            vectorized=True,
            alternative=side,
            n_resamples=_RESAMPLES,
            rng=np.random.default_rng(_SEED),
        ).pvalue
    )


def _two_sample_p(a: Array, b: Array, side: str) -> float:
    return float(
        stats.permutation_test(
            (a, b),
            _mean_difference,
            vectorized=True,
            alternative=side,
            n_resamples=_RESAMPLES,
            rng=np.random.default_rng(_SEED),
        ).pvalue
    )


def _invert(
    estimate: float, confidence: float, scale: float, p_at: Callable[[float, str], float]
) -> Interval:
    """Invert a family of one-sided tests: the shifts that neither side rejects.

    An end stays infinite where the sample is too small for the test ever to reject.
    """
    alpha = (1 - confidence) / 2

    def edge(sign: int, side: str) -> float:
        far = estimate + sign * 50 * scale
        if p_at(far, side) > alpha:
            return sign * float("inf")
        return float(
            optimize.bisect(lambda s: p_at(s, side) - alpha, estimate, far, xtol=1e-3 * scale)
        )

    return Interval(estimate, edge(-1, "greater"), edge(+1, "less"))
