"""Tail probabilities in logarithms, where a float underflows, and bounds that need no limit law."""

import math

import numpy as np
from scipy import special, stats

_LN10 = math.log(10.0)
_UNDERFLOW = 1e-290
_SERIES_TERMS = 2_000_000


def log10_t_sf(t: float, df: float) -> float:
    """Return log10 P(T >= t) of Student's t, also where the probability underflows.

    Below 1e-290 the regularized incomplete beta function is summed in logarithms:
    P = I_x(a, 1/2) / 2 with x = df / (df + t^2), a = df / 2, and
    I_x(a, b) = x^a (1-x)^b / (a B(a, b)) * sum_k (a+b)_k / (a+1)_k x^k (DLMF 8.17.8).
    """
    p = float(stats.t.sf(t, df))
    if p > _UNDERFLOW:
        return math.log10(p)
    if math.isinf(t):
        return -math.inf
    a, b, x = df / 2, 0.5, df / (df + t * t)
    k = np.arange(_terms_needed(x))
    # The ratio of consecutive terms is x (a+b+k)/(a+1+k) < 1: the sum converges.
    log_terms = np.concatenate([[0.0], np.cumsum(np.log(x * (a + b + k) / (a + 1 + k)))])
    log_i = (
        a * math.log(x)
        + b * math.log1p(-x)
        - math.log(a)
        - float(special.betaln(a, b))
        + float(special.logsumexp(log_terms))
    )
    return (log_i - math.log(2.0)) / _LN10


def _terms_needed(x: float) -> int:
    return min(_SERIES_TERMS, int(40.0 / max(1.0 - x, 1e-12)) + 10)


def log10_serfling(total: float, sizes: np.ndarray, picked: np.ndarray) -> float:
    """Return log10 of the Hoeffding-Serfling bound for sums sampled without replacement.

    Args:
        total: how far the sum of the picked values exceeds its expectation, the values in [0, 1].
        sizes: population sizes n_s of the strata, shape (strata,).
        picked: numbers h_s drawn without replacement from each, shape (strata,).

    Returns:
        log10 of exp(-2 total^2 / sum_s h_s (1 - (h_s - 1)/n_s)), at most 0 (Serfling 1974,
        Corollary 1.1; strata are independent, so the exponents of their moment bounds add up).
    """
    drawn = picked > 0
    h, n = picked[drawn].astype(float), sizes[drawn].astype(float)
    spread = float(np.sum(h * (1.0 - (h - 1.0) / n)))
    if total <= 0 or spread <= 0:
        return 0.0
    return -2.0 * total * total / spread / _LN10
