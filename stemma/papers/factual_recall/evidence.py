"""Frequency curves: logistic regression whose errors are clustered, and shares by bins."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    """Fit P(y) = expit(a + x b) by maximum likelihood and return b, in log-odds per unit of x.

    Args:
        x: shape (n, k).
        y: 0 or 1, shape (n,).
        weights: how often each row counts, shape (n,).
    """
    import statsmodels.api as sm
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

    with warnings.catch_warnings():
        # A handful of prompts (scale smoke) may be separable; slopes are then large, not infinite.
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        design = np.column_stack([np.ones(len(y)), x])
        model = sm.GLM(y, design, family=sm.families.Binomial(), freq_weights=weights)
        fitted: Floats = np.asarray(model.fit(maxiter=50).params[1:], dtype=float)
    return fitted


def pseudo_values(x: Floats, y: Floats, clusters: Labels) -> Floats:
    """Return the jackknife's pseudo-values of the slopes, shape (clusters, k).

    With G clusters and b_(-g) fitted without cluster g, G b - (G - 1) b_(-g): their mean is the
    slope (its bias of order 1/G removed), their spread its clustered error (Tukey 1958).
    """
    names = np.unique(clusters)
    whole = slopes(x, y)
    left = np.array([slopes(x[clusters != name], y[clusters != name]) for name in names])
    values: Floats = len(names) * whole - (len(names) - 1) * left
    return values


def bootstrap_slopes(
    x: Floats, y: Floats, clusters: Labels, n: int, seed: int, confidence: float = 0.95
) -> list[Interval]:
    """Return the percentile intervals of the slopes when whole clusters are drawn again."""
    names, index = np.unique(clusters, return_inverse=True)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
    found = np.array([slopes(x, y, counts[index].astype(float)) for counts in draws])
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail], axis=0)
    return [Interval(*map(float, ends)) for ends in zip(slopes(x, y), low, high, strict=True)]


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
