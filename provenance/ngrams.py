"""An exact n-gram index of a transcript: suffixes of its examples in lexicographic order.

All occurrences of an n-gram are neighbours in that order, so that one sorted array serves every
length, and a text is matched by narrowing an interval token by token. Answers are exact whatever
the load of the machine. N-grams never cross the border of an example.

Memory: 12 bytes a token of the transcript, and about 50 while one part is sorted. Transcripts of
more than ``part_tokens`` tokens are sorted in parts and matched part by part: the memory of sorting
stays bounded, the time of matching grows with the number of parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenance.errors import ProvenanceError
from provenance.transcript import PAD

Ints = NDArray[np.int64]
Small = NDArray[np.int32]

_LIMIT = 2**31 - 2
_END = 0  # ends every example in the flat array; tokens are stored as id + 1
_CHUNK = 1 << 18  # text positions matched at once


class Matches(NamedTuple):
    """Longest matches of a text in one part of the index, one entry a text position.

    Attributes:
        length: tokens of the match, 0 for none, shape (positions,).
        low: first place of its occurrences in the sorted order, shape (positions,).
        high: one past the last place, shape (positions,).
    """

    length: Ints
    low: Ints
    high: Ints


@dataclass(frozen=True, eq=False)
class SortedPart:
    """The suffixes of some examples, sorted by their first ``n_max`` tokens.

    Attributes:
        tokens: token id + 1 of all examples, a 0 after each, shape (tokens + examples,).
        suffixes: where each suffix starts in ``tokens``, in lexicographic order, shape (tokens,).
        examples: row of the transcript that each sorted suffix belongs to, shape (tokens,).
        first: where the suffixes that begin with each stored token start, shape (vocabulary + 2,).
    """

    tokens: Small
    suffixes: Small
    examples: Small
    first: Ints

    @classmethod
    def build(cls, rows: Ints, offset: int, n_max: int) -> "SortedPart":
        """Sort the suffixes of padded rows whose first one is row ``offset`` of the transcript."""
        tokens, owner = _flat(rows, offset)
        order = _lexicographic(tokens, n_max)
        order = order[np.count_nonzero(tokens == _END) :]  # suffixes that begin with an end
        counts = np.bincount(tokens[order], minlength=1)
        first = np.concatenate([[0], np.cumsum(counts)])
        return cls(tokens, order, owner[order], first)

    def match(self, windows: Small, longest: int) -> Matches:
        """Find the longest n-gram, of at most ``longest`` tokens, that begins each window.

        Args:
            windows: stored tokens (id + 1, filled up with 0) from each text position on, shape
                (positions, at least ``longest``).
            longest: n_max.
        """
        head = windows[:, 0].astype(np.int64)
        known = (head != _END) & (head < len(self.first) - 1)
        head = np.where(known, head, 0)
        low, high = self.first[head], np.where(known, self.first[head + 1], self.first[head])
        length = (high > low).astype(np.int64)
        active = np.flatnonzero(length)
        for k in range(1, longest):
            active = active[windows[active, k] != _END]
            begin, end = self._narrow(low[active], high[active], windows[active, k], k)
            hit = end > begin
            active = active[hit]
            low[active], high[active], length[active] = begin[hit], end[hit], k + 1
            if not len(active):
                break
        return Matches(length, low, high)

    def _narrow(self, low: Ints, high: Ints, token: Small, k: int) -> tuple[Ints, Ints]:
        """Within each interval, the interval of suffixes whose token ``k`` is the wanted one."""
        begin = self._bound(low, high, token, k)
        return begin, self._bound(begin, high, token + 1, k)

    def _bound(self, low: Ints, high: Ints, token: Small, k: int) -> Ints:
        """First place in [low, high) whose token ``k`` is at least ``token``: binary search."""
        low, high = low.copy(), high.copy()
        active = np.flatnonzero(low < high)
        while len(active):
            a, b = low[active], high[active]
            middle = (a + b) >> 1
            below = self.tokens[self.suffixes[middle] + k] < token[active]
            a = np.where(below, middle + 1, a)
            b = np.where(below, b, middle)
            low[active], high[active] = a, b
            active = active[a < b]
        return low


@dataclass(frozen=True, eq=False)
class NgramIndex:
    """The n-grams of length 1 to ``n_max`` of the rows of a transcript.

    Attributes:
        parts: sorted parts; each holds whole examples.
        n_max: longest n-gram that can be looked up.
        n_examples: number of rows.
    """

    parts: tuple[SortedPart, ...]
    n_max: int
    n_examples: int

    @classmethod
    def build(cls, rows: Ints, n_max: int, part_tokens: int = 1 << 26) -> "NgramIndex":
        """Index all n-grams up to length ``n_max`` of padded rows, shape (n, length).

        Args:
            rows: token ids, filled up with ``PAD``.
            n_max: longest n-gram.
            part_tokens: cells of ``rows`` sorted at once; bounds the memory of building.

        Raises:
            ProvenanceError: ``n_max`` below 1, no token at all, or ids and counts beyond 32 bits.
        """
        if n_max < 1:
            raise ProvenanceError("n_max must be at least 1")
        if not (rows != PAD).any():
            raise ProvenanceError("the transcript holds no token: there is nothing to index")
        if rows.max(initial=0) >= _LIMIT or len(rows) >= _LIMIT:
            raise ProvenanceError("token ids and the number of examples must be below 2^31 - 2")
        step = max(1, min(part_tokens, _LIMIT) // (rows.shape[1] + 1))
        parts = tuple(
            SortedPart.build(rows[start : start + step], start, n_max)
            for start in range(0, len(rows), step)
        )
        return cls(parts, n_max, len(rows))

    def match(self, rows: Ints, n_max: int | None = None) -> Iterator[list[Matches]]:
        """Find the longest indexed n-gram that starts at each token of a text.

        Args:
            rows: token ids of the text, padded, shape (texts, length).
            n_max: longest n-gram looked for; at most and by default the index's own.

        Yields:
            For each chunk of text positions the matches in each part. A match in a part may be
            shorter than the longest one overall: see ``longest``.
        """
        width = n_max or self.n_max
        for windows in _windows(rows, width):
            yield [part.match(windows, width) for part in self.parts]


def longest(matches: list[Matches]) -> tuple[Ints, Ints]:
    """Join the parts: length of the longest match of each text position and its occurrences."""
    length = np.maximum.reduce([m.length for m in matches])
    counts = [np.where(m.length == length, m.high - m.low, 0) for m in matches]
    return length, np.where(length > 0, np.sum(counts, axis=0), 0)


def _flat(rows: Ints, offset: int) -> tuple[Small, Small]:
    """Stored tokens of all rows, each row ended by 0, and the row that each belongs to."""
    present = np.ones((len(rows), rows.shape[1] + 1), bool)
    present[:, :-1] = rows != PAD
    stored = np.zeros(present.shape, np.int32)
    np.add(rows, 1, out=stored[:, :-1], casting="unsafe")
    owner = np.repeat(np.arange(offset, offset + len(rows), dtype=np.int32), present.sum(axis=1))
    return stored[present], owner


def _lexicographic(tokens: Small, n_max: int) -> Small:
    """Order all suffixes by their first ``n_max`` tokens (prefix doubling, Manber and Myers 1993).

    The rank of the first 2k tokens is that of the pair (rank of the first k, rank of the k tokens
    from k on); for a length between k and 2k the two windows overlap, which changes no order.
    What follows the end of an example may enter the order and no look-up ever reads it.
    """
    n_max = min(n_max, len(tokens))
    rank, k = tokens, 1
    if n_max == 1:
        return np.argsort(tokens).astype(np.int32)
    while k < n_max:
        shift = min(k, n_max - k)
        key = rank.astype(np.int64)
        key *= int(rank.max()) + 1
        key[: len(key) - shift] += rank[shift:]
        order = np.argsort(key).astype(np.int32)
        k += shift
        if k < n_max:
            rank = _dense(key, order)
    return order


def _dense(key: Ints, order: Small) -> Small:
    ordered = key[order]
    fresh = np.empty(len(key), np.int32)
    steps = np.concatenate([[False], ordered[1:] != ordered[:-1]])
    fresh[order] = np.cumsum(steps, dtype=np.int32)
    return fresh


def _windows(rows: Ints, width: int) -> Iterator[Small]:
    """Stored tokens from each text position on, shape (positions, width), chunk by chunk."""
    tokens, _ = _flat(np.minimum(rows, _LIMIT), 0)  # ids beyond the index match nothing
    tokens = np.concatenate([tokens, np.zeros(width, np.int32)])
    ends = np.flatnonzero(tokens == _END)
    starts = np.flatnonzero(tokens != _END)
    for begin in range(0, len(starts), _CHUNK):
        chosen = starts[begin : begin + _CHUNK]
        left = ends[np.searchsorted(ends, chosen)] - chosen  # tokens up to the end of the row
        window = tokens[chosen[:, None] + np.arange(width)]
        window[np.arange(width) >= left[:, None]] = _END
        yield window
