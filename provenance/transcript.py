"""The transcript of a training run: which example was seen when.

Assumption A1 of every test: within each stratum the order was drawn uniformly at random.
"""

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance import merkle
from provenance.errors import BadTranscript

PAD = -1
"""Fills rows up to a common length; never a token."""

_COMMITMENT = b"transcript-commitment:1\n"


def token_digest(tokens: ArrayLike) -> bytes:
    """Return the SHA-256 of the tokens of one example as little-endian 64-bit integers."""
    return hashlib.sha256(np.asarray(tokens, "<i8").tobytes()).digest()


def example_leaf(stratum: int, position: int, digest: bytes) -> bytes:
    """Return the data of one example's leaf: stratum, position and the digest of its tokens.

    The tokens enter by their digest, so that an example can be located in the order without being
    shown.
    """
    return struct.pack("<qq", stratum, position) + digest


@dataclass(frozen=True)
class Proof:
    """Shows that the tree of a transcript holds an example at a place in the order.

    Attributes:
        index: number of the example's leaf in canonical order.
        size: number of examples in the transcript.
        stratum: stratum of the example.
        position: position of the example.
        token_digest: ``token_digest`` of its tokens, 32 bytes.
        path: audit path from the leaf up to the root.
    """

    index: int
    size: int
    stratum: int
    position: int
    token_digest: bytes
    path: tuple[bytes, ...]

    def holds(self, digest: str) -> bool:
        """Say whether the transcript with this digest (hex root) holds the example."""
        leaf = merkle.leaf_hash(example_leaf(self.stratum, self.position, self.token_digest))
        root = bytes.fromhex(digest)
        return merkle.verify_inclusion(leaf, self.index, self.size, self.path, root)

    def shows(self, tokens: ArrayLike) -> bool:
        """Say whether these are the example's tokens, padding left out."""
        row = np.asarray(tokens, np.int64)
        return hmac.compare_digest(token_digest(row[row != PAD]), self.token_digest)


@dataclass(frozen=True, eq=False)
class Leaves:
    """The leaves of a transcript's Merkle tree; rows may stand in any order.

    Attributes:
        strata: stratum of each example, shape (n,).
        positions: position of each example, shape (n,).
        digests: ``token_digest`` of each example, shape (n, 32).
    """

    strata: NDArray[np.int64]
    positions: NDArray[np.int64]
    digests: merkle.Hashes

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Row numbers in canonical order: by stratum, position and, where these tie, digest."""
        order = np.lexsort((self.positions, self.strata))
        same = (np.diff(self.positions[order]) == 0) & (np.diff(self.strata[order]) == 0)
        if not same.any():
            return order
        # Big-endian words compare as the bytes do; lexsort takes its last key first.
        words = np.ascontiguousarray(self.digests).view(">u8")
        return np.lexsort((*words.T[::-1], self.positions, self.strata))

    @property
    def is_sorted(self) -> bool:
        """Whether the rows stand in canonical order."""
        return bool((np.diff(self.order) > 0).all())

    def key(self, row: int) -> tuple[int, int, bytes]:
        """Return what canonical order sorts by."""
        return int(self.strata[row]), int(self.positions[row]), self.digests[row].tobytes()

    @cached_property
    def hashes(self) -> merkle.Hashes:
        """Leaf hashes in canonical order, shape (n, 32)."""
        numbers = np.column_stack([self.strata, self.positions]).astype("<i8", copy=False)
        data = np.hstack([numbers.view(np.uint8), self.digests])
        return merkle.leaf_hashes(data[self.order])

    @cached_property
    def root(self) -> str:
        """Hex root of the tree."""
        return merkle.root(self.hashes).hex()

    def prove(self, rows: ArrayLike) -> list[Proof]:
        """Return the proofs of the given rows.

        Raises:
            BadTranscript: no such row.
        """
        n = len(self.positions)
        chosen = np.atleast_1d(rows)
        if ((chosen < 0) | (chosen >= n)).any():
            raise BadTranscript(f"no such row: the transcript has {n}, counted from 0")
        place = np.empty(n, np.int64)
        place[self.order] = np.arange(n)
        indices = place[chosen].tolist()
        paths = merkle.inclusion_proofs(self.hashes, indices)
        return [
            Proof(
                index,
                n,
                int(self.strata[row]),
                int(self.positions[row]),
                self.digests[row].tobytes(),
                tuple(path),
            )
            for index, row, path in zip(indices, chosen, paths, strict=True)
        ]


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
        """Hex Merkle root over all rows in canonical order, whatever order they stand in.

        Canonical order sorts by stratum, position, token digest; a leaf is ``example_leaf``.
        """
        return self._leaves.root

    def prove(self, rows: ArrayLike) -> list[Proof]:
        """Return for each of the given rows the proof that ``digest`` covers it.

        Raises:
            BadTranscript: this is a part of a transcript, or has no such row.
        """
        if self.origin is not None:
            raise BadTranscript(
                "a part of a transcript cannot prove membership in the whole: call prove() of the"
                f" whole, digest {self.origin[:12]}, with the row numbers there"
            )
        return self._leaves.prove(_integers(rows, "row numbers"))

    @property
    def canonical_order(self) -> NDArray[np.int64]:
        """Row numbers in canonical order: a leaf's number in the tree is its place here."""
        return self._leaves.order

    @cached_property
    def _leaves(self) -> "Leaves":
        return Leaves(self.strata, self.positions, token_digests(*flat_rows(self.rows)))

    def commitment(self, nonce: bytes) -> str:
        """Return a hash to publish before training; it hides the digest until ``nonce`` is shown.

        Args:
            nonce: secret random bytes, at least 16, kept with the transcript.

        Raises:
            BadTranscript: if the nonce is too short to hide anything.
        """
        return commitment_hash(self.digest, nonce)

    def opens(self, commitment: str, nonce: bytes) -> bool:
        """Say whether this transcript and ``nonce`` are what ``commitment`` was made from."""
        return hmac.compare_digest(self.commitment(nonce), commitment)


def commitment_hash(digest: str, nonce: bytes) -> str:
    """Return ``Transcript.commitment`` of a transcript of which only the digest is known.

    Raises:
        BadTranscript: if the nonce is too short to hide anything.
    """
    if len(nonce) < 16:
        raise BadTranscript("a commitment needs a random nonce of at least 16 bytes")
    return hashlib.sha256(_COMMITMENT + nonce + bytes.fromhex(digest)).hexdigest()


def flat_rows(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all token ids of padded rows, one row after another, and each row's length (n,)."""
    real = rows != PAD
    return rows[real], np.count_nonzero(real, axis=1)


def token_digests(tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> merkle.Hashes:
    """Return ``token_digest`` of rows given one after another, shape (n, 32).

    Args:
        tokens: token ids of all rows, shape (sum of lengths,).
        lengths: number of tokens of each row, shape (n,).
    """
    flat, sha256 = memoryview(tokens.astype("<i8", copy=False).tobytes()), hashlib.sha256
    ends = (8 * np.cumsum(lengths)).tolist()
    starts = [0, *ends[:-1]]
    hashes = [sha256(flat[a:b]).digest() for a, b in zip(starts, ends, strict=True)]
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(len(lengths), merkle.WIDTH)


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
