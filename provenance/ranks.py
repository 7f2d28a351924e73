"""Rank correlation with the order of training: exact permutation p, limit law, certified bound.

One engine for every statistic that is a rank correlation with training position. The scores never
change with the permutation, so that only ranks are permuted, for many suspects at once.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from provenance.errors import BadScores, TooFewExamples
from provenance.tails import log10_serfling, log10_t_sf

Alternative = Literal["later-is-likelier", "earlier-is-likelier", "two-sided"]
Array = NDArray[np.float64]

MIN_EXAMPLES = 20
"""Fewer examples than this are refused: no order of so few is surprising enough to act upon."""

_CHUNK = 4_000_000  # numbers held at once by the permutation and bootstrap loops


@dataclass(frozen=True)
class RankTest:
    """Outcome of one permutation test of rank correlation.

    Attributes:
        rho: Spearman's correlation of score and training position (within strata: centred there,
            scaled so that z = rho * sqrt(n - strata)).
        low: lower end of the percentile bootstrap interval of ``rho`` at 95 %.
        high: upper end of it.
        z: standardized statistic under permutation.
        p: exact permutation p-value, (1 + #{phi_j >= phi_0}) / (m + 1).
        log10_p_asymptotic: log10 of the p-value by the t approximation.
        log10_p_certified: log10 of the Hoeffding-Serfling bound on the p-value of the half-split
            statistic: holds at every n, without a limit law and without Monte Carlo.
        n: number of examples.
        m: number of permutations.
        strata: number of strata.
        seed: seed of permutations and bootstrap.
        alternative: direction of the test.
    """

    rho: float
    low: float
    high: float
    z: float
    p: float
    log10_p_asymptotic: float
    log10_p_certified: float
    n: int
    m: int
    strata: int
    seed: int
    alternative: Alternative

    def summary(self) -> str:
        """Return one line, the exact p-value first."""
        interval = f" [{self.low:+.4f}, {self.high:+.4f}]" if np.isfinite(self.low) else ""
        return (
            f"exact p = {self.p:.3g} ({self.m} permutations); rho = {self.rho:+.4f}{interval},"
            f" z = {self.z:+.2f}, n = {self.n};"
            f" log10 p: asymptotic {self.log10_p_asymptotic:.2f},"
            f" certified at most {self.log10_p_certified:.2f}"
        )


def rank_tests(
    positions: NDArray[np.int64],
    scores: Array,
    strata: NDArray[np.int64],
    *,
    alternative: Alternative,
    permutations: int,
    resamples: int,
    seed: int,
) -> list[RankTest]:
    """Test several suspects' scores against one order with the same permutations.

    Args:
        positions: shape (n,).
        scores: shape (n, suspects); higher is likelier.
        strata: shape (n,); permutations stay within.
        alternative: ``later-is-likelier`` is what palimpsestic memorization predicts.
        permutations: m of the exact p-value.
        resamples: bootstrap resamples of the interval of rho; 0 leaves it out (NaN).
        seed: of permutations and bootstrap.

    Raises:
        TooFewExamples: n < 20.
        BadScores: NaN, infinite or constant scores, or shapes that do not fit.
    """
    _check(positions, scores, strata)
    order = np.lexsort((*scores.T, positions, strata))  # canonical: rows may come in any order
    place, values, stage = positions[order], scores[order], strata[order]
    starts = np.unique(stage, return_index=True)[1]
    sizes = np.diff(np.append(starts, len(stage)))
    x = _centred(stats.rankdata(place)[:, None], starts, sizes)[:, 0]
    y = _centred(stats.rankdata(values, axis=0), starts, sizes)
    unit = _unit(x, y, starts, sizes)
    sign = {"later-is-likelier": 1.0, "earlier-is-likelier": -1.0, "two-sided": 0.0}[alternative]
    rng = np.random.default_rng(seed)
    exceed = _count_exceeding(x, y, starts, sizes, sign, permutations, rng)
    pairs = [_bootstrap(x, column, resamples, seed) for column in y.T]
    results = []
    for j in range(y.shape[1]):
        freedom = len(x) - len(starts)
        rho = float(x @ y[:, j] / unit[j] / np.sqrt(freedom)) if unit[j] > 0 else 0.0
        results.append(
            RankTest(
                rho=rho,
                low=pairs[j][0],
                high=pairs[j][1],
                z=rho * float(np.sqrt(freedom)),
                p=float((1 + exceed[j]) / (permutations + 1)),
                log10_p_asymptotic=_asymptotic(rho, freedom, sign),
                log10_p_certified=_certified(place, values[:, j], starts, sizes, sign),
                n=len(x),
                m=permutations,
                strata=len(starts),
                seed=seed,
                alternative=alternative,
            )
        )
    return results


def max_statistic_p(
    positions: NDArray[np.int64],
    scores: Array,
    strata: NDArray[np.int64],
    *,
    alternative: Alternative,
    permutations: int,
    seed: int,
) -> Array:
    """Return exact p-values of several scores of one suspect, the choice among them paid for.

    The j-th is (1 + #{permutations whose largest z over all scores is at least z_j}) / (m + 1)
    (Westfall and Young 1993, single step): sharper than Holm where the scores agree, and exact
    under the common null hypothesis, as the largest z is itself a statistic of the order.
    Arguments and errors as for ``rank_tests``; shape (scores,).
    """
    _check(positions, scores, strata)
    order = np.lexsort((*scores.T, positions, strata))
    starts = np.unique(strata[order], return_index=True)[1]
    sizes = np.diff(np.append(starts, len(order)))
    x = _centred(stats.rankdata(positions[order])[:, None], starts, sizes)[:, 0]
    y = _centred(stats.rankdata(scores[order], axis=0), starts, sizes)
    unit = _unit(x, y, starts, sizes)
    y = y / np.where(unit > 0, unit, np.inf)
    sign = {"later-is-likelier": 1.0, "earlier-is-likelier": -1.0, "two-sided": 0.0}[alternative]
    rng = np.random.default_rng(seed)

    def directed(z: Array) -> Array:
        return np.abs(z) if sign == 0 else sign * z

    observed, exceed = directed(x @ y), np.zeros(y.shape[1])
    rows = max(1, _CHUNK // len(x))
    for start in range(0, permutations, rows):
        block = np.tile(x, (min(rows, permutations - start), 1))
        for low, size in zip(starts, sizes, strict=True):
            block[:, low : low + size] = rng.permuted(block[:, low : low + size], axis=1)
        largest = directed(block @ y).max(axis=1)
        exceed += (largest[:, None] >= observed - 1e-9).sum(axis=0)
    return np.asarray((1 + exceed) / (permutations + 1))


def _check(positions: NDArray[np.int64], scores: Array, strata: NDArray[np.int64]) -> None:
    if scores.ndim != 2 or len(scores) != len(positions) or len(strata) != len(positions):
        raise BadScores(f"{len(positions)} positions but scores of shape {scores.shape}")
    if len(positions) < MIN_EXAMPLES:
        raise TooFewExamples(f"{len(positions)} examples; at least {MIN_EXAMPLES} are needed")
    if not np.isfinite(scores).all():
        bad = int(np.count_nonzero(~np.isfinite(scores).all(axis=1)))
        raise BadScores(
            f"{bad} examples have NaN or infinite scores; leave them out for every model before"
            " looking at any result"
        )
    if (np.ptp(scores, axis=0) == 0).any() or np.ptp(positions) == 0:
        raise BadScores("constant scores or positions cannot be ranked")


def _centred(a: Array, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Array:
    means = np.add.reduceat(a, starts, axis=0) / sizes[:, None]
    return np.asarray(a - np.repeat(means, sizes, axis=0))


def _unit(x: Array, y: Array, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Array:
    """Standard deviation of x[pi] @ y over permutations within strata, shape (suspects,)."""
    xx = np.add.reduceat(x * x, starts)
    yy = np.add.reduceat(y * y, starts, axis=0)
    return np.asarray(np.sqrt((xx[:, None] * yy / np.maximum(sizes - 1, 1)[:, None]).sum(axis=0)))


def _count_exceeding(
    x: Array,
    y: Array,
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    sign: float,
    m: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    def directed(phi: Array) -> Array:
        return np.abs(phi) if sign == 0 else sign * phi

    observed = directed(x @ y)
    # Rounding must not break a tie in the suspect's disfavour.
    slack = 1e-9 * np.linalg.norm(x) * np.linalg.norm(y, axis=0)
    exceed = np.zeros(y.shape[1], np.int64)
    rows = max(1, _CHUNK // len(x))
    for start in range(0, m, rows):
        block = np.tile(x, (min(rows, m - start), 1))
        for low, size in zip(starts, sizes, strict=True):
            part = block[:, low : low + size]
            block[:, low : low + size] = rng.permuted(part, axis=1)
        exceed += (directed(block @ y) >= observed - slack).sum(axis=0)
    return exceed


def _bootstrap(x: Array, y: Array, resamples: int, seed: int) -> tuple[float, float]:
    """Percentile interval of the correlation of the ranks (ranked once: differs by O(1/n))."""
    if resamples == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng([seed, 1])
    n, rows, values = len(x), max(1, _CHUNK // len(x)), []
    for start in range(0, resamples, rows):
        pick = rng.integers(n, size=(min(rows, resamples - start), n))
        a, b = x[pick], y[pick]
        a -= a.mean(axis=1, keepdims=True)
        b -= b.mean(axis=1, keepdims=True)
        scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        values.append((a * b).sum(axis=1) / np.where(scale > 0, scale, np.inf))
    low, high = np.quantile(np.concatenate(values), [0.025, 0.975])
    return float(low), float(high)


def _asymptotic(rho: float, freedom: int, sign: float) -> float:
    df = freedom - 1
    directed = abs(rho) if sign == 0 else sign * rho
    # rho = 1 up to rounding is the strongest evidence there is, not a division by zero.
    directed = float(np.clip(directed, -1 + 1e-15, 1 - 1e-15))
    t = directed * np.sqrt(df / (1 - directed * directed))
    sides = np.log10(2.0) if sign == 0 else 0.0
    return float(min(0.0, log10_t_sf(float(t), df) + sides))


def _certified(
    place: NDArray[np.int64],
    values: Array,
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    sign: float,
) -> float:
    """log10 of the bound for d = (mean normalized rank of the late half) - 1/2.

    Late means above the median position of the stratum. Ties at the median are left out of the
    late half, never split by score: the half is then a uniform draw without replacement.
    """
    u = (stats.rankdata(values) - 0.5) / len(values)
    total, picked = 0.0, []
    for low, size in zip(starts, sizes, strict=True):
        part, here = u[low : low + size], place[low : low + size]
        late = here > np.median(here)
        picked.append(int(late.sum()))
        total += float(part[late].sum() - late.sum() * part.mean())
    directed = abs(total) if sign == 0 else sign * total
    bound = log10_serfling(directed, sizes, np.array(picked))
    return min(0.0, bound + (float(np.log10(2.0)) if sign == 0 else 0.0))
