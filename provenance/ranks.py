"""Rank correlation with the order of training: exact permutation p, limit law, certified bound.

One engine for every statistic that is a rank correlation with training position. The scores never
change with the permutation, so that only ranks are permuted, for many suspects at once.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from provenance.errors import BadScores, ProvenanceError, TooFewExamples
from provenance.permutation import CHUNK, Array, Ints, count_exceeding, directed, permuted
from provenance.tails import log10_serfling, log10_t_sf

Alternative = Literal["later-is-likelier", "earlier-is-likelier", "two-sided"]
RankScores = Literal["wilcoxon", "normal"]

_SIGN = {"later-is-likelier": 1.0, "earlier-is-likelier": -1.0, "two-sided": 0.0}

MIN_EXAMPLES = 20
"""Fewer examples than this are refused: no order of so few is surprising enough to act upon."""


@dataclass(frozen=True)
class RankTest:
    """Outcome of one permutation test of rank correlation.

    Attributes:
        rho: Spearman's correlation of score and training position (within strata: centred there,
            scaled so that z = rho * sqrt(n - strata)). With weights of the positions, the
            correlation of these with the scores' ranks.
        low: lower end of the percentile bootstrap interval of ``rho`` at 95 %.
        high: upper end of it.
        z: standardized statistic under permutation.
        p: exact permutation p-value, (1 + #{phi_j >= phi_0}) / (m + 1); if drawing stopped at the
            h-th exceedance, h / m.
        log10_p_asymptotic: log10 of the p-value by the t approximation.
        log10_p_certified: log10 of the Hoeffding-Serfling bound on the p-value of the half-split
            statistic: holds at every n, without a limit law and without Monte Carlo.
        n: number of examples.
        m: number of permutations drawn.
        exceedances: permutations whose statistic reached the observed one.
        stop_after: exceedances at which drawing was to stop, None for never.
        rank_scores: how ranks of the scores entered.
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
    exceedances: int
    stop_after: int | None
    rank_scores: RankScores
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


class _Ordered(NamedTuple):
    """The data of a test in a canonical order of rows: strata one after another.

    Attributes:
        place: positions, or their weights, shape (n,).
        values: scores, shape (n, suspects).
        starts: where each stratum begins.
        sizes: length of each stratum.
        x: ranks of the positions, or their weights, centred within strata, shape (n,).
        y: rank scores, centred within strata, shape (n, suspects).
        unit: standard deviation of x @ y over permutations, shape (suspects,).
        varies: whether places and scores both vary within one stratum at least, (suspects,).
    """

    place: Array
    values: Array
    starts: Ints
    sizes: Ints
    x: Array
    y: Array
    unit: Array
    varies: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        positions: Ints,
        scores: Array,
        strata: Ints,
        weights: Array | None,
        rank_scores: RankScores,
    ) -> "_Ordered":
        _check(positions, scores, strata, weights)
        order = np.lexsort((*scores.T, positions, strata))
        place = (positions if weights is None else weights)[order].astype(float)
        values, stage = scores[order], strata[order]
        starts = np.unique(stage, return_index=True)[1]
        sizes = np.diff(np.append(starts, len(stage)))
        along = stats.rankdata(place) if weights is None else place
        ranks = stats.rankdata(values, axis=0)
        if rank_scores == "normal":
            ranks = stats.norm.ppf(ranks / (len(ranks) + 1))
        x = _centred(along[:, None], starts, sizes)[:, 0]
        y = _centred(ranks, starts, sizes)
        moves = (_spans(place, starts)[:, None] > 0) & (_spans(values, starts) > 0)
        varies = np.asarray(moves.any(axis=0))
        return cls(place, values, starts, sizes, x, y, _unit(x, y, starts, sizes), varies)


def rank_tests(
    positions: Ints,
    scores: Array,
    strata: Ints,
    *,
    weights: Array | None = None,
    alternative: Alternative = "later-is-likelier",
    rank_scores: RankScores = "wilcoxon",
    permutations: int = 9_999,
    stop_after: int | None = None,
    resamples: int = 999,
    seed: int = 0,
) -> list[RankTest]:
    """Test several suspects' scores against one order with the same permutations.

    Args:
        positions: shape (n,).
        scores: shape (n, suspects); higher is likelier.
        strata: shape (n,); permutations stay within.
        weights: what stands for each position instead of its rank, shape (n,): any function of
            the position that was fixed without the order under test. The more one expects to be
            remembered of an example, the higher.
        alternative: ``later-is-likelier`` is what palimpsestic memorization predicts.
        rank_scores: ranks themselves, or van der Waerden's normal scores of them.
        permutations: m of the exact p-value.
        stop_after: exceedances at which drawing stops.
        resamples: bootstrap resamples of the interval of rho; 0 leaves it out (NaN).
        seed: of permutations and bootstrap.

    Raises:
        TooFewExamples: n < 20.
        BadScores: NaN, infinite or constant scores, positions or weights (also constant within
            every stratum), or shapes that do not fit.
        ProvenanceError: ``permutations`` or ``stop_after`` below 1, unknown ``rank_scores`` or
            ``alternative``.
    """
    if permutations < 1 or (stop_after is not None and stop_after < 1) or resamples < 0:
        raise ProvenanceError(
            "permutations and stop_after must be at least 1, resamples not negative"
        )
    if rank_scores not in get_args(RankScores):
        raise ProvenanceError(f"rank_scores is one of {get_args(RankScores)}, not {rank_scores!r}")
    if alternative not in _SIGN:
        raise ProvenanceError(f"alternative is one of {tuple(_SIGN)}, not {alternative!r}")
    data = _Ordered.of(positions, scores, strata, weights, rank_scores)
    if not data.varies.all():
        raise BadScores("scores or positions are constant within every stratum: nothing to permute")
    sign = _SIGN[alternative]
    found = count_exceeding(
        data.x,
        data.y,
        data.starts,
        data.sizes,
        sign=sign,
        m=permutations,
        stop_after=stop_after,
        rng=np.random.default_rng(seed),
    )
    freedom = len(data.x) - len(data.starts)
    results = []
    for j, column in enumerate(data.y.T):
        rho = float(data.x @ column / (data.unit[j] * np.sqrt(freedom)))
        low, high = _bootstrap(data.x, column, resamples, seed)
        results.append(
            RankTest(
                rho=rho,
                low=low,
                high=high,
                z=rho * float(np.sqrt(freedom)),
                p=float(found.p[j]),
                log10_p_asymptotic=_asymptotic(rho, freedom, sign),
                log10_p_certified=_certified(data, j, sign),
                n=len(data.x),
                m=int(found.drawn[j]),
                exceedances=int(found.reached[j]),
                stop_after=stop_after,
                rank_scores=rank_scores,
                strata=len(data.starts),
                seed=seed,
                alternative=alternative,
            )
        )
    return results


def max_statistic_p(
    positions: Ints,
    scores: Array,
    strata: Ints,
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
    data = _Ordered.of(positions, scores, strata, None, "wilcoxon")
    y = data.y / np.where(data.unit > 0, data.unit, np.inf)
    sign, rng = _SIGN[alternative], np.random.default_rng(seed)
    observed, exceed = directed(data.x @ y, sign), np.zeros(y.shape[1])
    for block in permuted(data.x, data.starts, data.sizes, permutations, rng):
        largest = directed(block @ y, sign).max(axis=1)
        exceed += (largest[:, None] >= observed - 1e-9).sum(axis=0)
    return np.asarray((1 + exceed) / (permutations + 1))


def _check(positions: Ints, scores: Array, strata: Ints, weights: Array | None) -> None:
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
    if not np.isfinite(positions).all():
        raise BadScores("positions hold NaN or infinite values")
    if (np.ptp(scores, axis=0) == 0).any() or np.ptp(positions) == 0:
        raise BadScores("constant scores or positions cannot be ranked")
    if weights is None:
        return
    if weights.shape != positions.shape or not np.isfinite(weights).all():
        raise BadScores(f"weights of shape {weights.shape} must be {len(positions)} finite numbers")
    if np.ptp(weights) == 0:
        raise BadScores("constant weights tell no position from another")


def _centred(a: Array, starts: Ints, sizes: Ints) -> Array:
    means = np.add.reduceat(a, starts, axis=0) / sizes[:, None]
    return np.asarray(a - np.repeat(means, sizes, axis=0))


def _spans(a: Array, starts: Ints) -> Array:
    return np.asarray(np.maximum.reduceat(a, starts) - np.minimum.reduceat(a, starts))


def _unit(x: Array, y: Array, starts: Ints, sizes: Ints) -> Array:
    """Standard deviation of x[pi] @ y over permutations within strata, shape (suspects,)."""
    xx = np.add.reduceat(x * x, starts)
    yy = np.add.reduceat(y * y, starts, axis=0)
    return np.asarray(np.sqrt((xx[:, None] * yy / np.maximum(sizes - 1, 1)[:, None]).sum(axis=0)))


def _bootstrap(x: Array, y: Array, resamples: int, seed: int) -> tuple[float, float]:
    """Percentile interval of the correlation of the ranks (ranked once: differs by O(1/n))."""
    if resamples == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng([seed, 1])
    n, rows, values = len(x), max(1, CHUNK // len(x)), []
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


def _certified(data: _Ordered, suspect: int, sign: float) -> float:
    """log10 of the bound for d = (mean normalized rank of the late half) - 1/2.

    Late means above the median position (or weight) of the stratum. Ties at the median are left
    out of the late half, never split by score: the half is then a uniform draw without
    replacement.
    """
    ranks = stats.rankdata(data.values[:, suspect])
    u = (ranks - 0.5) / len(ranks)
    total, picked = 0.0, []
    for low, size in zip(data.starts, data.sizes, strict=True):
        part, here = u[low : low + size], data.place[low : low + size]
        late = here > np.median(here)
        picked.append(int(late.sum()))
        total += float(part[late].sum() - late.sum() * part.mean())
    reached = float(directed(np.array(total), sign))
    bound = log10_serfling(reached, data.sizes, np.array(picked))
    return min(0.0, bound + (float(np.log10(2.0)) if sign == 0 else 0.0))
