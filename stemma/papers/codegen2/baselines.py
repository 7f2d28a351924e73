"""Cheap baselines: an interpolated trigram model, and counts of tokens for the probe."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from stemma.papers.codegen2.data import Rows
from stemma.papers.codegen2.evaluation import Questions, scored


class Trigram:
    """A trigram model of tokens with Witten-Bell smoothing (1991).

    p(w | h) = (c(h, w) + T(h) p(w | shorter h)) / (c(h) + T(h)), where T(h) counts the different
    tokens seen after h; the shortest history backs off to the uniform distribution.
    """

    def __init__(self, rows: Rows, vocab_size: int) -> None:
        """Count the tokens of ``rows``, shape (n, length), of which each is a text of its own."""
        self._vocab = vocab_size
        self._counts: list[Mapping[tuple[int, ...], int]] = []
        self._totals: list[Mapping[tuple[int, ...], int]] = []
        self._types: list[Mapping[tuple[int, ...], int]] = []
        for order in (1, 2, 3):
            grams = np.lib.stride_tricks.sliding_window_view(rows, order, axis=1)
            counts = _count(map(tuple, grams.reshape(-1, order).tolist()))
            self._counts.append(counts)
            totals: Counter[tuple[int, ...]] = Counter()
            for gram, count in counts.items():
                totals[gram[:-1]] += count
            self._totals.append(totals)
            self._types.append(_count(gram[:-1] for gram in counts))

    def probability(self, history: tuple[int, ...], token: int) -> float:
        """Return the probability of ``token`` after ``history``, of which two tokens count."""
        p = 1 / self._vocab
        for order in range(min(2, len(history)) + 1):
            past = history[len(history) - order :]
            total, types = self._totals[order].get(past, 0), self._types[order].get(past, 0)
            if total:
                p = (self._counts[order].get((*past, token), 0) + types * p) / (total + types)
        return p

    def bits_per_byte(self, questions: Questions, widths: NDArray[np.int64]) -> float:
        """Return bits per byte of the scored tokens, each given those before it."""
        bits = 0.0
        for ids, first, last in zip(questions.ids.tolist(), *questions[1:], strict=True):
            for i in range(first, last):
                bits -= math.log2(self.probability(tuple(ids[max(0, i - 2) : i]), ids[i]))
        return bits / float(widths[questions.ids[scored(questions)]].sum())


def token_counts(rows: Rows, vocab_size: int) -> NDArray[np.float64]:
    """Return log(1 + count) of every token of each row (n, length), shape (n, vocab)."""
    counts = np.stack([np.bincount(row, minlength=vocab_size) for row in rows])
    return np.log1p(counts)


def _count(items: Iterable[Hashable]) -> Counter[tuple[int, ...]]:
    return Counter(items)  # type: ignore[arg-type]
