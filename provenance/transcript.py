"""The transcript of a training run: which example was seen when.

Assumption A1 of every test: within each stratum the order was drawn uniformly at random.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance.errors import BadTranscript

PAD = -1
"""Fills rows up to a common length; never a token."""

_HEADER = b"transcript:1\n"
_COMMITMENT = b"transcript-commitment:1\n"


@dataclass(frozen=True, eq=False)
class Transcript:
    """Examples with their positions in training order; rows may stand in any order.

    Attributes:
        rows: token ids of each example, shape (n, length), filled up with ``PAD``; or ids of
            the examples, shape (n, 1).
        positions: position (example counter or optimizer step) at which each row was seen,
            shape (n,); ties are allowed.
        strata: label of the part within which the order was shuffled (curriculum stage, epoch),
            shape (n,); one stratum by default.
        origin: digest of the whole transcript that this one is a part of, if any.
    """

    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    strata: NDArray[np.int64]
    origin: str | None = None

    @classmethod
    def of(
        cls,
        rows: ArrayLike | Sequence[Sequence[int]],
        positions: ArrayLike,
        strata: ArrayLike | None = None,
        origin: str | None = None,
    ) -> "Transcript":
        """Build a transcript from ids (n,), a rectangle (n, length) or ragged token lists.

        Raises:
            BadTranscript: lengths that differ, numbers that are no integers, no row at all.
        """
        table = pad_rows(rows)
        where = _integers(positions, "positions")
        stages = np.zeros(len(where), np.int64) if strata is None else _integers(strata, "strata")
        if not len(table) == len(where) == len(stages):
            raise BadTranscript(
                f"{len(table)} rows, {len(where)} positions and {len(stages)} strata"
            )
        if len(table) == 0:
            raise BadTranscript("a transcript needs at least one row")
        for array in (table, where, stages):
            array.setflags(write=False)
        return cls(table, where, stages, origin)

    @classmethod
    def in_training_order(cls, rows: ArrayLike | Sequence[Sequence[int]]) -> "Transcript":
        """Build the transcript of rows listed in the order in which they were seen."""
        table = pad_rows(rows)
        return cls.of(table, np.arange(len(table)))

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.positions)

    @property
    def n_tokens(self) -> int:
        """Number of token ids, padding excluded."""
        return int(np.count_nonzero(self.rows != PAD))

    def take(self, index: ArrayLike) -> "Transcript":
        """Return the sub-transcript of the given rows (a random subset is as valid a test)."""
        chosen = np.asarray(index)
        return Transcript.of(
            self.rows[chosen],
            self.positions[chosen],
            self.strata[chosen],
            origin=self.origin or self.digest,
        )

    @property
    def digests(self) -> frozenset[str]:
        """Digests by which a lineage may know this order: its own and that of the whole."""
        return frozenset({self.digest} | ({self.origin} if self.origin else set()))

    @cached_property
    def digest(self) -> str:
        """Hex sha256 over (stratum, position, tokens) of all rows, whatever order they stand in."""
        entries = np.column_stack([self.strata, self.positions, self.rows])
        # lexsort takes its last key first: strata, then positions, then the tokens.
        entries = entries[np.lexsort(entries.T[::-1])]
        h = hashlib.sha256(_HEADER)
        for entry in entries:
            tokens = entry[2:][entry[2:] != PAD]
            h.update(np.array([entry[0], entry[1], len(tokens)], "<i8").tobytes())
            h.update(tokens.astype("<i8").tobytes())
        return h.hexdigest()

    def commitment(self, nonce: bytes) -> str:
        """Return a hash to publish before training; it hides the digest until ``nonce`` is shown.

        Args:
            nonce: secret random bytes, at least 16, kept with the transcript.

        Raises:
            BadTranscript: if the nonce is too short to hide anything.
        """
        if len(nonce) < 16:
            raise BadTranscript("a commitment needs a random nonce of at least 16 bytes")
        return hashlib.sha256(_COMMITMENT + nonce + bytes.fromhex(self.digest)).hexdigest()

    def opens(self, commitment: str, nonce: bytes) -> bool:
        """Say whether this transcript and ``nonce`` are what ``commitment`` was made from."""
        return hmac.compare_digest(self.commitment(nonce), commitment)


def pad_rows(rows: ArrayLike | Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return rows of token ids as one rectangle, shape (n, longest), filled up with ``PAD``.

    Raises:
        BadTranscript: if an entry is no integer, or a token id is negative.
    """
    if isinstance(rows, np.ndarray) or not _is_ragged(rows):
        table = _integers(rows, "rows")
        table = table[:, None] if table.ndim == 1 else table.copy()
        if table.ndim != 2 or (table < PAD).any():
            raise BadTranscript("rows must be token ids of shape (n,) or (n, length)")
        return table
    lists = [_integers(row, "rows") for row in rows]  # type: ignore[union-attr]
    table = np.full((len(lists), max((len(r) for r in lists), default=0)), PAD, np.int64)
    for target, row in zip(table, lists, strict=True):
        if (row < 0).any():
            raise BadTranscript("token ids must not be negative")
        target[: len(row)] = row
    return table


def _is_ragged(rows: object) -> bool:
    lengths = {len(r) if isinstance(r, Sequence | np.ndarray) else -1 for r in rows}  # type: ignore[attr-defined]
    return len(lengths) > 1 or lengths == {0}


def _integers(values: object, what: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise BadTranscript(f"{what} must be integers, got {array.dtype}")
    return array.astype(np.int64)
