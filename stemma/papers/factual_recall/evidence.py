"""Frequency curves: logistic regression whose errors are clustered, and shares by bins."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from stemma import stats
from stemma.papers.factual_recall.facts import Pair
from stemma.papers.factual_recall.scoring import Floats
from stemma.stats import Interval

Labels = NDArray[np.str_]


class Frequencies(NamedTuple):
    """Of each pair: log10 of the counts, and the names that clusters are made of."""

    country: Floats
    city: Floats
    country_name: Labels
    city_name: Labels


def frequencies(pairs: Sequence[Pair]) -> Frequencies:
    """Return how often the counted text names the country and the city of each pair."""
    return Frequencies(
        np.log10([pair.fact.country_count for pair in pairs]),
        np.log10([pair.city_count for pair in pairs]),
        np.array([pair.fact.country for pair in pairs]),
        np.array([pair.city for pair in pairs]),
    )


def slopes(x: Floats, y: Floats, weights: Floats | None = None) -> Floats:
    """Fit P(y) = expit(a + x b) by maximum likelihood, for many weightings of the rows at once.

    Newton's method with steps of bounded length; a ridge of 1e-6 keeps the slopes of a handful of
    prompts that are separable (scale smoke) finite.

    Args:
        x: shape (n, k).
        y: 0 or 1, shape (n,).
        weights: how often each row counts, shape (fits, n); none: one fit, every row once.

    Returns:
        The slopes b in log-odds per unit of x, shape (fits, k).
    """
    times = np.ones((1, len(y))) if weights is None else weights
    design = np.column_stack([np.ones(len(y)), x])
    ridge = _RIDGE * np.eye(design.shape[1])
    fitted = np.zeros((len(times), design.shape[1]))
    for _ in range(_NEWTON_STEPS):
        p = special.expit(fitted @ design.T)
        gradient = (times * (y - p)) @ design - fitted @ ridge
        curvature = np.einsum("fn,ni,nj->fij", times * p * (1 - p), design, design) + ridge
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        fitted += step / np.maximum(1, length / _LONGEST_STEP)
        if length.max() < _SHORT_ENOUGH:
            break
    return fitted[:, 1:]


_RIDGE, _NEWTON_STEPS, _LONGEST_STEP, _SHORT_ENOUGH = 1e-6, 50, 3.0, 1e-9


def pseudo_values(x: Floats, y: Floats, clusters: Labels) -> Floats:
    """Return the jackknife's pseudo-values of the slopes, shape (clusters, k).

    With G clusters and b_(-g) fitted without cluster g, G b - (G - 1) b_(-g): their mean is the
    slope (its bias of order 1/G removed), their spread its clustered error (Tukey 1958).
    """
    names, index = np.unique(clusters, return_inverse=True)
    left = slopes(x, y, (index != np.arange(len(names))[:, None]).astype(float))
    values: Floats = len(names) * slopes(x, y) - (len(names) - 1) * left
    return values


def bootstrap_slopes(
    x: Floats, y: Floats, clusters: Labels, n: int, seed: int, confidence: float = 0.95
) -> list[Interval]:
    """Return the percentile intervals of the slopes when whole clusters are drawn again."""
    names, index = np.unique(clusters, return_inverse=True)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
    found = slopes(x, y, draws[:, index].astype(float))
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail], axis=0)
    return [Interval(*map(float, ends)) for ends in zip(slopes(x, y)[0], low, high, strict=True)]


def bin_edges(values: Floats, n_bins: int) -> NDArray[np.int64]:
    """Return the percentile bin of each value, from 0; equal values share a bin."""
    edges = np.quantile(np.unique(values), np.linspace(0, 1, n_bins + 1)[1:-1])
    found: NDArray[np.int64] = np.searchsorted(edges, values, side="right").astype(np.int64)
    return found


def binned_shares(y: Floats, bins: NDArray[np.int64], clusters: Labels) -> list[Interval]:
    """Return the mean of ``y`` in each bin, with the t interval of the clusters' means."""
    result = []
    for b in range(int(bins.max()) + 1):
        inside = bins == b
        means = [y[inside & (clusters == c)].mean() for c in np.unique(clusters[inside])]
        if len(means) < 2:
            result.append(Interval(*3 * [float(np.mean(means)) if means else np.nan]))
        else:
            result.append(stats.mean_interval(means, 0.95))
    return result


def change(base: Floats, ours: Floats) -> Interval:
    """Return the paired change of a share over countries or items, with its 95% interval."""
    method = "bca" if len(base) >= stats.BCA_MIN_SAMPLES else "t"
    return stats.difference_interval(ours, base, 0.95, method)
