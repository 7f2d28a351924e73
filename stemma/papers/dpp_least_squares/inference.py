"""Bounds of the theory, and the tests that would catch a wrong sampler or a wrong weight."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from stemma.papers.dpp_least_squares.sampling import Nodes
from stemma.papers.dpp_least_squares.spaces import Array, Space


def rate_constant(delta: float) -> float:
    """c_delta = delta + (1 - delta) log(1 - delta), of the matrix Chernoff bound."""
    return delta + (1 - delta) * math.log(1 - delta)


def failure_bound(m: int, n: float, delta: float) -> float:
    """Chernoff bound m exp(-n c_delta / m) on P(lambda_min < 1 - delta), independent points."""
    return m * math.exp(-n * rate_constant(delta) / m)


def log_multiple(m: int, delta: float) -> int:
    """Smallest r with r m >= m log(m) / c_delta, the sample size of the theorems, n = r m."""
    return max(1, math.ceil(math.log(m) / rate_constant(delta)))


def mean_error_bound(delta: float, probability: float = 1.0) -> float:
    """Bound on E[squared error | lambda_min >= 1 - delta] / squared best error.

    Every point has the marginal law w^-1 mu, so E||g||_n^2 = ||g||^2; on the event S,
    ||f - fhat||^2 <= ||f - Pf||^2 + ||f - Pf||_n^2 / (1 - delta); and E[. | S] <= E[.] / P(S).
    ``probability`` is P(S); 1 gives the smallest, most demanding bound.
    """
    return 1 + 1 / ((1 - delta) * probability)


def uniform_error_bound(delta: float, alpha: float) -> float:
    """Bound on ||f - fhat|| / inf_g ||f - g||_inf where lambda_min >= 1 - delta, w <= 1/alpha."""
    return 1 + 1 / math.sqrt((1 - delta) * alpha)


def stable_multiple(multiples: Sequence[int], probability: Array, target: float) -> int:
    """Smallest multiple r whose probability of stability (shape (K,)) reaches ``target``.

    None reaches it: one more than the largest, a lower bound of the truth.
    """
    reached = [r for r, p in zip(multiples, probability, strict=True) if p >= target]
    return reached[0] if reached else multiples[-1] + 1


class Moments:
    """Running count, sum and sum of squares of vectors or matrices, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Array = np.zeros(())
        self.square: Array = np.zeros(())

    def add(self, values: Array, *, products: bool = False) -> None:
        """Add samples (R, ...); ``products`` keeps all products (R, m) -> (m, m)."""
        self.count += len(values)
        self.total = self.total + values.sum(axis=0)
        square = values.T @ values if products else (values**2).sum(axis=0)
        self.square = self.square + square

    @property
    def mean(self) -> Array:
        """The mean."""
        return self.total / self.count

    @property
    def covariance(self) -> Array:
        """Unbiased variance of each entry, or covariance matrix if products were kept."""
        outer = (
            np.outer(self.mean, self.mean) if self.square.ndim > self.total.ndim else self.mean**2
        )
        return (self.square / self.count - outer) * self.count / (self.count - 1)


def hotelling_p(moments: Moments) -> float:
    """P-value of Hotelling's T^2: the mean vector (m,) is zero; F(m, R - m) reference.

    Raises:
        ValueError: no more samples than dimensions.
    """
    count, m = moments.count, moments.mean.size
    if count <= m:
        raise ValueError(f"{count} samples do not estimate a covariance in dimension {m}")
    t2 = count * moments.mean @ np.linalg.solve(moments.covariance, moments.mean)
    return float(stats.f.sf(t2 * (count - m) / (m * (count - 1)), m, count - m))


def bias_statistic(moments: Moments) -> float:
    """sum_j mean_j^2 / sum_j var_j / R: about 1 for an unbiased coefficient vector."""
    return float((moments.mean**2).sum() / (np.trace(moments.covariance) / moments.count))


def gram_identity_p(moments: Moments) -> float:
    """P-value of E G = I: entrywise t-tests, Bonferroni over the upper triangle.

    An entry without variance must equal its target to rounding, else the p-value is 0.
    """
    upper = np.triu_indices(len(moments.mean))
    gap = (moments.mean - np.eye(len(moments.mean)))[upper]
    spread = np.sqrt(np.maximum(moments.covariance[upper], 0) / moments.count)
    constant = spread < 1e-9
    if np.abs(gap[constant]).max(initial=0.0) > 1e-8:
        return 0.0
    t = np.abs(gap[~constant] / spread[~constant]).max(initial=0.0)
    return float(min(1.0, 2 * stats.t.sf(t, moments.count - 1) * len(gap)))


def pair_correlation_p(space: Space, nodes: Nodes, bins: int, rng: np.random.Generator) -> float:
    """Chi-square p-value of the pair correlation of DPP draws (R, m).

    One random pair of points of every draw is counted in bins x bins cells of equal Christoffel
    mass; the expected counts integrate (K(x,x) K(y,y) - K(x,y)^2) / (m (m - 1)) mu mu. Cells that
    expect fewer than five pairs are pooled.
    """
    m, replicates = space.m, len(nodes)
    vectors = np.sqrt(space.mu)[:, None] * space.phi
    mass = np.cumsum((vectors**2).sum(axis=1)) / m
    bin_of = np.minimum((mass * bins).astype(int), bins - 1)
    blocks = np.stack([vectors[bin_of == b].T @ vectors[bin_of == b] for b in range(bins)])
    masses = np.trace(blocks, axis1=1, axis2=2)
    pairs = np.outer(masses, masses) - np.einsum("apq,bpq->ab", blocks, blocks)
    expected = pairs.ravel() * replicates / (m * (m - 1))
    order = rng.random((replicates, m)).argsort(axis=1)[:, :2]
    first, second = np.take_along_axis(nodes, order, axis=1).T
    observed = np.bincount(bin_of[first] * bins + bin_of[second], minlength=bins * bins)
    return _pooled_chi_square(observed.astype(float), expected)


def _pooled_chi_square(observed: Array, expected: Array) -> float:
    small = expected < 5
    if small.any():
        observed = np.append(observed[~small], observed[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
    if expected[-1] < 5:  # the pool itself is thin: join it to the largest cell
        target = int(expected[:-1].argmax())
        observed[target] += observed[-1]
        expected[target] += expected[-1]
        observed, expected = observed[:-1], expected[:-1]
    return float(stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue)
