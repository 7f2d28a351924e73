"""Bobs who are independent of Alice's order: their p-values must be uniform."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from provenance import query_test

Array = NDArray[np.float64]


def cross_nulls(
    positions: Sequence[NDArray[np.int64]],
    scores: Sequence[Array],
    chunk: int,
    permutations: int,
    rng: np.random.Generator,
) -> Array:
    """Return p-values of real null pairs: Alice i's order against models trained in other orders.

    For each Alice the examples are split at random into disjoint chunks; each chunk tests one
    sibling j != i with another sibling k as reference. In a uniform order the relative orders
    within disjoint chunks are independent, so that, given the siblings, one Alice's p-values are
    independent of each other.

    Args:
        positions: for each Alice the position of every example, each (n,).
        scores: for each Alice's model its log-likelihood of every example, each (n,).
        chunk: examples a chunk.
        permutations: of each test.
        rng: decides the chunks and the pairs.
    """
    p = []
    for i, place in enumerate(positions):
        parts = np.array_split(rng.permutation(len(place)), max(1, len(place) // chunk))
        for part in parts:
            j, k = rng.permutation([s for s in range(len(scores)) if s != i])[:2]
            test = query_test(
                place[part],
                scores[j][part],
                scores[k][part],
                permutations=permutations,
                resamples=0,
                seed=int(rng.integers(2**31)),
            )
            p.append(test.p)
    return np.array(p)


def relabelled_nulls(
    scores: Sequence[Array], draws: int, permutations: int, rng: np.random.Generator
) -> Array:
    """Return p-values of trained models against freshly drawn orders that nothing followed.

    Args:
        scores: log-likelihoods under each model, each (n,).
        draws: fresh orders a model.
        permutations: of each test.
        rng: decides the orders.
    """
    return np.array(
        [
            query_test(
                rng.permutation(len(s)),
                s,
                permutations=permutations,
                resamples=0,
                seed=int(rng.integers(2**31)),
            ).p
            for s in scores
            for _ in range(draws)
        ]
    )


def uniformity(p: Array) -> float:
    """Return the p-value of the Kolmogorov-Smirnov test of null p-values against U(0, 1)."""
    return float(stats.kstest(p, "uniform").pvalue)
