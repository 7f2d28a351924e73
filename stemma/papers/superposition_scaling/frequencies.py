"""How often each feature is active: the paper's synthetic distributions, and real words.

All functions return p of shape (n,), sorted from frequent to rare, float64.
"""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EXPONENTIAL_SHARE = 400 / 10_240
"""Length of the paper's exponential decay (400 features), as a share of its 10,240 features."""


def power(n: int, alpha: float) -> Array:
    """Return p_i proportional to i^-alpha, with sum 1."""
    return _normalized(np.arange(1, n + 1, dtype=float) ** -alpha)


def exponential(n: int) -> Array:
    """Return p_i proportional to exp(-i / (n 400 / 10240)), with sum 1."""
    return _normalized(np.exp(-np.arange(1, n + 1) / (n * EXPONENTIAL_SHARE)))


def linear(n: int) -> Array:
    """Return p_i proportional to n + 1 - i, with sum 1 (the rarest feature still occurs)."""
    return _normalized(np.arange(n, 0, -1, dtype=float))


def of_words(documents: Iterable[str], n: int) -> Array:
    """Return the relative frequencies of the ``n`` most frequent words, with sum 1.

    Raises:
        ValueError: fewer than ``n`` different words.
    """
    counts = Counter(
        word for document in documents for word in re.findall(r"[a-z']+", document.lower())
    )
    if len(counts) < n:
        raise ValueError(
            f"{len(counts)} different words in the text, {n} needed: take a longer one"
        )
    return _normalized(np.array([count for _, count in counts.most_common(n)], dtype=float))


def with_activity(p: Array, s: float) -> Array:
    """Scale ``p`` so that more features are active at once, E = sum(p) (exp-15 of the code).

    Args:
        p: frequencies, shape (n,).
        s: 0 leaves ``p`` as it is, at 1 the most frequent feature is always active.
    """
    return np.asarray(p * (1 + s * (1 / p[0] - 1)))


def _normalized(weights: Array) -> Array:
    return np.asarray(weights / weights.sum())
