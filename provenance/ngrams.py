"""An exact n-gram index of a transcript in numpy arrays: no hashing, no Python dictionaries.

The n-grams of length k are numbered through those of length k - 1: the pair (number of the first
k - 1 tokens, last token) is one integer key, and its rank among the sorted distinct keys is the
number of the k-gram. Equal n-grams get equal numbers and different ones different numbers, so that
look-ups are exact whatever the load of the machine. N-grams never cross the border of an example.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance.errors import ProvenanceError
from provenance.transcript import PAD

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Level:
    """All n-grams of one length.

    Attributes:
        keys: sorted distinct keys, shape (grams,).
        offsets: where the occurrences of each gram start in ``examples``, shape (grams + 1,).
        examples: row of every occurrence, grouped by gram, shape (occurrences,).
    """

    keys: Ints
    offsets: Ints
    examples: Ints


@dataclass(frozen=True, eq=False)
class NgramIndex:
    """The n-grams of length 1 to ``len(levels)`` of the rows of a transcript."""

    levels: tuple[Level, ...]
    vocabulary: int
    n_examples: int

    @classmethod
    def build(cls, rows: Ints, n_max: int) -> "NgramIndex":
        """Index all n-grams up to length ``n_max`` of padded rows, shape (n, length).

        Raises:
            ProvenanceError: ``n_max`` below 1, or keys that would not fit 64 bits.
        """
        if n_max < 1:
            raise ProvenanceError("n_max must be at least 1")
        vocabulary = int(rows.max(initial=0)) + 1
        if float(rows.size) * vocabulary >= 2.0**63:
            raise ProvenanceError("transcript too large for 64-bit n-gram keys: index it in parts")
        names = np.where(rows == PAD, PAD, 0)  # number of the empty gram at every position
        levels = []
        for k in range(1, n_max + 1):
            names, level = _next_level(rows, names, k, vocabulary)
            levels.append(level)
        return cls(tuple(levels), vocabulary, len(rows))

    def match(self, rows: Ints) -> list[tuple[int, Ints]]:
        """Find the longest indexed n-gram that starts at each position of the text.

        Args:
            rows: token ids of the text, padded, shape (texts, length).

        Returns:
            For each length k from the longest to 1: (k, numbers of the k-grams matched, one an
            occurrence in the text); positions whose longest match is k appear at k only.
        """
        found = self.names(rows)
        taken = np.zeros(rows.shape, bool)
        matches = []
        for k in range(len(found), 0, -1):
            fresh = (found[k - 1] != PAD) & ~taken
            taken |= fresh
            matches.append((k, found[k - 1][fresh]))
        return matches

    def names(self, rows: Ints) -> list[Ints]:
        """Return, per length k, the number of the k-gram starting at each position (PAD: none)."""
        names = np.where(rows == PAD, PAD, 0)
        found = []
        for k, level in enumerate(self.levels, start=1):
            keys = _keys(rows, names, k, self.vocabulary)
            place = np.searchsorted(level.keys, keys)
            hit = keys != PAD
            if len(level.keys):
                hit &= level.keys[np.minimum(place, len(level.keys) - 1)] == keys
            else:
                hit[:] = False
            names = np.where(hit, place, PAD)
            found.append(names)
        return found


def _keys(rows: Ints, names: Ints, k: int, vocabulary: int) -> Ints:
    """Keys of the k-grams starting at each position, from the names of the (k-1)-grams there."""
    last = np.full_like(rows, PAD)
    if k <= rows.shape[1]:
        last[:, : rows.shape[1] - k + 1] = rows[:, k - 1 :]
    whole = (names != PAD) & (last != PAD) & (last < vocabulary)
    return np.where(whole, names * vocabulary + last, PAD)


def _next_level(rows: Ints, names: Ints, k: int, vocabulary: int) -> tuple[Ints, Level]:
    keys = _keys(rows, names, k, vocabulary)
    present = keys != PAD
    distinct, number, counts = np.unique(keys[present], return_inverse=True, return_counts=True)
    example = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)[present]
    grouped = example[np.argsort(number, kind="stable")]
    fresh = np.full_like(rows, PAD)
    fresh[present] = number
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return fresh, Level(distinct, offsets, grouped)
