"""Real text for tiny models, and the bound that null p-values of theirs are held to."""

import re
from pydoc_data.topics import topics

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def documentation(vocabulary: int, width: int) -> NDArray[np.int64]:
    """Python's documentation in rows of ``width`` words; all but the commonest are one word."""
    words = np.array(re.findall(r"[a-z]+|[^a-z\s]", " ".join(topics.values()).lower()))
    kinds, number, counts = np.unique(words, return_inverse=True, return_counts=True)
    rank = np.empty(len(kinds), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(kinds))
    ids = np.minimum(rank[number], vocabulary - 1)
    return np.asarray(ids[: len(ids) // width * width].reshape(-1, width))


def within_bounds(p: ArrayLike) -> None:
    """P(p <= level) is not above the level, by the one-sided binomial test at 99 %."""
    values = np.asarray(p)
    for level in (0.01, 0.05, 0.1):
        hits = int((values <= level).sum())
        bound = stats.binomtest(hits, len(values), level, alternative="greater").pvalue
        assert bound > 0.01, f"P(p <= {level}) = {hits / len(values)} of {len(values)}"
