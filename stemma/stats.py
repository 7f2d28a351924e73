"""Seeds and intervals: thin over numpy and scipy.stats, shared by the claims engine and papers."""

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Array = NDArray[np.float64]

BCA_MIN_SAMPLES = 20
"""Below this many samples the BCa interval is known to be too narrow; the engine refuses it."""

_RESAMPLES = 9_999
_BATCH = 2_000_000  # numbers held at once by a bootstrap
_SEED = 20_260_101


class Interval(NamedTuple):
    """An estimate with its confidence interval."""

    estimate: float
    low: float
    high: float


class PowerLaw(NamedTuple):
    """The slope of log y on log x, and the R^2 of that straight line."""

    slope: float
    r_squared: float


def power_law(x: ArrayLike, y: ArrayLike) -> PowerLaw:
    """Fit a straight line through (log x, log y), both of shape (points,) and positive."""
    line = stats.linregress(np.log(x), np.log(y))
    return PowerLaw(float(line.slope), float(line.rvalue**2))


def spawn_seeds(seed: int, n: int) -> list[int]:
    """Return ``n`` independent 31-bit seeds derived from ``seed`` (numpy's SeedSequence)."""
    return [
        int(child.generate_state(1, np.uint32)[0] >> 1)
        for child in np.random.SeedSequence(seed).spawn(n)
    ]


def mean_interval(x: ArrayLike, confidence: float, method: str = "t") -> Interval:
    """Confidence interval of a mean; ``x`` has shape (n,), ``method`` is t, bca or permutation.

    ``permutation`` inverts the sign-flip test (for paired differences, symmetric about their
    mean). A sample without spread has the interval of a point.
    """
    a = np.asarray(x, dtype=float)
    estimate = float(a.mean())
    if np.ptp(a) == 0:
        return Interval(estimate, estimate, estimate)
    if method == "bca":
        return _bootstrap((a,), _mean, estimate, confidence)
    if method == "permutation":
        return _invert(_sign_flips(a), estimate, confidence)
    return _t_interval(estimate, a.var(ddof=1) / a.size, a.size - 1, confidence)


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
        return _invert(_exchanges(a, b), estimate, confidence)
    u, v = a.var(ddof=1) / a.size, b.var(ddof=1) / b.size
    freedom = (u + v) ** 2 / (u**2 / (a.size - 1) + v**2 / (b.size - 1))
    return _t_interval(estimate, u + v, freedom, confidence)


def ratio_interval(
    x: ArrayLike, y: ArrayLike, confidence: float, method: str = "t", *, paired: bool = True
) -> Interval:
    """Confidence interval of a ratio: geometric means for ``t``, arithmetic means for ``bca``.

    Raises:
        ValueError: negative values, a baseline that is zero throughout, or ``t`` with zeros.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if method == "bca":
        if min(a.min(), b.min()) < 0 or b.max() == 0:
            raise ValueError(
                "a ratio needs values that are not negative, the baseline not all zero"
            )
        estimate = float(a.mean() / b.mean())
        return _bootstrap((a, b), _mean_ratio, estimate, confidence, paired=paired)
    if min(a.min(), b.min()) <= 0:
        raise ValueError("the t interval of a ratio needs positive values; use method: bca")
    logs = difference_interval(np.log(a), np.log(b), confidence, "t", paired=paired)
    return Interval(*(float(v) for v in np.exp(logs)))


def correlation(x: ArrayLike, y: ArrayLike, statistic: str = "spearman") -> float:
    """Spearman or Pearson correlation of the pairs ``x``, ``y``, both of shape (n,).

    Raises:
        ValueError: samples of unequal length, or one that is constant.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"the pairs x, y differ in length: {a.size} and {b.size}")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ValueError("a constant sample has no correlation")
    return float((_spearman if statistic == "spearman" else _pearson)(a, b))


def correlation_interval(
    x: ArrayLike,
    y: ArrayLike,
    confidence: float,
    method: str = "fisher",
    statistic: str = "spearman",
) -> Interval:
    """Confidence interval of a correlation of pairs; x and y have shape (n,).

    ``fisher``: Fisher's z (n >= 4), for Spearman with the standard error of Bonett and Wright
    (2000).

    Raises:
        ValueError: samples of unequal length, or one that is constant.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    r = correlation(a, b, statistic)
    if method == "bca":
        measure = _spearman if statistic == "spearman" else _pearson
        return _bootstrap((a, b), measure, r, confidence, paired=True)
    spread = 1 + r * r / 2 if statistic == "spearman" else 1.0
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * np.sqrt(spread / (a.size - 3))
    z = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))
    return Interval(r, float(np.tanh(z - half)), float(np.tanh(z + half)))


def proportion_interval(
    successes: int, trials: int, confidence: float, method: str = "wilson"
) -> Interval:
    """Wilson or Clopper-Pearson interval of a binomial proportion.

    Wilson's is right on average over proportions; only Clopper-Pearson errs on neither side more
    often than stated, whatever the proportion (Brown, Cai and DasGupta 2001).
    """
    name: Literal["exact", "wilson"] = "exact" if method == "clopper-pearson" else "wilson"
    ci = stats.binomtest(successes, trials).proportion_ci(confidence, method=name)
    return Interval(successes / trials, float(ci.low), float(ci.high))


def holm(p: ArrayLike) -> Array:
    """Return Holm's adjusted p-values, in the order given."""
    from statsmodels.stats.multitest import multipletests

    adjusted: Array = multipletests(np.asarray(p, dtype=float), method="holm")[1]
    return adjusted


def _t_interval(estimate: float, variance: float, freedom: float, confidence: float) -> Interval:
    half = float(special.stdtrit(freedom, 0.5 + confidence / 2)) * math.sqrt(variance)
    return Interval(estimate, estimate - half, estimate + half)


def _bootstrap(
    data: tuple[Array, ...],
    statistic: Callable[..., Array],
    estimate: float,
    confidence: float,
    *,
    paired: bool = False,
) -> Interval:
    """BCa interval of ``statistic``, expanded for small samples.

    Ends that the resamples cannot place are infinite.
    """
    n = min(sample.size for sample in data)
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            data,
            statistic,
            paired=paired,
            vectorized=True,
            n_resamples=_RESAMPLES,
            batch=max(1, _BATCH // sum(sample.size for sample in data)),
            confidence_level=expanded_confidence(confidence, n),
            method="BCa",
            rng=np.random.default_rng(_SEED),
        )
    if np.ptp(result.bootstrap_distribution) <= 1e-12 * max(1.0, abs(estimate)):
        return Interval(estimate, estimate, estimate)  # no resample moves the statistic
    low, high = result.confidence_interval
    return Interval(
        estimate,
        -np.inf if np.isnan(low) else float(low),
        np.inf if np.isnan(high) else float(high),
    )


def expanded_confidence(confidence: float, n: int) -> float:
    """Return the level to ask of a bootstrap interval over ``n`` samples to get ``confidence``.

    Resampling knows neither the n / (n - 1) of the sample variance nor the t quantile, so that its
    intervals are too narrow for small ``n`` (Hesterberg 2015, "What Teachers Should Know About the
    Bootstrap", does this for the percentile interval).
    """
    half = np.sqrt(n / (n - 1)) * stats.t.ppf(0.5 + confidence / 2, n - 1)
    return float(2 * stats.norm.cdf(half) - 1)


def _mean(x: Array, axis: int = -1) -> Array:
    return np.asarray(x.mean(axis=axis))


def _mean_difference(x: Array, y: Array, axis: int = -1) -> Array:
    return np.asarray(x.mean(axis=axis) - y.mean(axis=axis))


def _mean_ratio(x: Array, y: Array, axis: int = -1) -> Array:
    return np.asarray(x.mean(axis=axis) / y.mean(axis=axis))


def _pearson(x: Array, y: Array, axis: int = -1) -> Array:
    u = x - x.mean(axis=axis, keepdims=True)
    v = y - y.mean(axis=axis, keepdims=True)
    spread = np.sqrt((u * u).sum(axis=axis) * (v * v).sum(axis=axis))
    return np.asarray((u * v).sum(axis=axis) / spread)


def _spearman(x: Array, y: Array, axis: int = -1) -> Array:
    return _pearson(stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis), axis)


def _sign_flips(d: Array) -> Array:
    """Return the shifts at which flipping the signs of a subset of ``d`` leaves its mean as it is.

    Flipping the signs of a subset of ``d - shift`` raises the mean exactly when the shift exceeds
    the subset's mean (Hartigan 1969, "Using Subsample Values as Typical Values").
    """
    if 2**d.size <= _RESAMPLES + 1:
        flipped = np.array(list(itertools.product((0.0, 1.0), repeat=d.size)))[1:]
    else:
        flipped = np.random.default_rng(_SEED).integers(0, 2, (_RESAMPLES, d.size)).astype(float)
    with np.errstate(invalid="ignore"):
        return np.asarray(flipped @ d / flipped.sum(axis=1))


def _exchanges(a: Array, b: Array) -> Array:
    """Return the shifts at which exchanging members of ``a`` and ``b`` leaves their difference.

    Exchanging U of ``a - shift`` for V of ``b``, equally many, raises the difference of means
    exactly when the shift exceeds mean(U) - mean(V).
    """
    size = a.size + b.size
    if math.comb(size, a.size) <= _RESAMPLES + 1:
        chosen = np.array(list(itertools.combinations(range(size), a.size)))[1:]
    else:
        chosen = np.random.default_rng(_SEED).random((_RESAMPLES, size)).argsort(axis=1)
        chosen = chosen[:, : a.size]
    in_first = np.zeros((len(chosen), size))
    np.put_along_axis(in_first, chosen, 1.0, axis=1)
    leaving, entering = 1 - in_first[:, : a.size], in_first[:, a.size :]
    with np.errstate(invalid="ignore"):
        return np.asarray((leaving @ a - entering @ b) / leaving.sum(axis=1))


def _invert(shifts: Array, estimate: float, confidence: float) -> Interval:
    """Return the shifts that neither one-sided permutation test rejects.

    ``shifts`` holds, for each rearrangement but the one observed, the shift from which on it counts
    against the observed statistic. An end is infinite where the sample is too small to reject.
    """
    counted = math.floor((1 - confidence) / 2 * (shifts.size + 1) + 1e-9)
    if counted == 0:
        return Interval(estimate, -np.inf, np.inf)
    # A rearrangement that changes nothing (0/0) counts against both sides.
    low = np.sort(np.where(np.isnan(shifts), -np.inf, shifts))[counted - 1]
    high = np.sort(np.where(np.isnan(shifts), np.inf, shifts))[-counted]
    slack = 1e-12 * np.nanmax(np.abs(shifts))  # a tie must not count for the claim by rounding
    return Interval(estimate, float(low - slack), float(high + slack))
