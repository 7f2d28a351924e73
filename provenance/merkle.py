"""Merkle trees of RFC 6962 (Certificate Transparency), section 2.1.

Own code: pymerkle, the library that would do this, is under the GPL and pins its dependencies.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from provenance.errors import BadTranscript

Hashes = NDArray[np.uint8]

_LEAF, _NODE = b"\x00", b"\x01"
WIDTH = 32
"""Bytes of a hash."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256 of 0x00 and the data."""
    return hashlib.sha256(_LEAF + data).digest()


def leaf_hashes(data: NDArray[np.uint8]) -> Hashes:
    """Return ``leaf_hash`` of every row of ``data``, shape (n, bytes); result (n, 32)."""
    return hash_rows(np.pad(data, ((0, 0), (1, 0)), constant_values=_LEAF[0]))


def hash_rows(data: NDArray[np.uint8]) -> Hashes:
    """Return the SHA-256 of every row of ``data``, shape (n, bytes); result (n, 32)."""
    n, width = data.shape
    flat, sha256 = memoryview(data.tobytes()), hashlib.sha256
    digests = b"".join([sha256(flat[i : i + width]).digest() for i in range(0, n * width, width)])
    return np.frombuffer(digests, np.uint8).reshape(n, WIDTH)


def root(hashes: Hashes) -> bytes:
    """Return the tree's root over leaf hashes, shape (n, 32); SHA-256 of nothing for n = 0."""
    if len(hashes) == 0:
        return hashlib.sha256(b"").digest()
    top: bytes = perfect_roots(hashes, 1 << (len(hashes) - 1).bit_length())[0].tobytes()
    return top


def perfect_roots(hashes: Hashes, size: int) -> Hashes:
    """Return the roots of the subtrees over each ``size`` leaves; the last may hold fewer.

    The root of the whole tree is ``root`` of these, as ``size`` is a power of two.

    Args:
        hashes: leaf hashes, shape (n, 32).
        size: leaves a subtree, a power of two.
    """
    for _ in range(size.bit_length() - 1):
        hashes = _parents(hashes)
    return hashes


def inclusion_proof(hashes: Hashes, index: int) -> list[bytes]:
    """Return the audit path of leaf ``index``: the siblings from the leaf up to the root.

    Raises:
        BadTranscript: no such leaf.
    """
    return inclusion_proofs(hashes, [index])[0]


def inclusion_proofs(hashes: Hashes, indices: Sequence[int]) -> list[list[bytes]]:
    """Return the audit paths of several leaves, hashing the tree once.

    Raises:
        BadTranscript: an index outside the tree.
    """
    if any(not 0 <= i < len(hashes) for i in indices):
        raise BadTranscript(f"no such row: the tree has {len(hashes)} leaves, counted from 0")
    paths: list[list[bytes]] = [[] for _ in indices]
    level, places = hashes, list(indices)
    while len(level) > 1:
        for path, place in zip(paths, places, strict=True):
            if place ^ 1 < len(level):
                path.append(level[place ^ 1].tobytes())
        places = [place >> 1 for place in places]
        level = _parents(level)
    return paths


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Say whether ``proof`` shows that the tree under ``root`` holds ``leaf`` at ``index``.

    Source: RFC 9162, section 2.1.3.2.

    Args:
        leaf: hash of the leaf, 32 bytes.
        index: its number, counted from 0.
        size: leaves in the tree; the root does not fix it (sizes whose path to the leaf has one
            shape cannot be told apart), so a commitment must state it beside the root.
        proof: the audit path, from the leaf up.
        root: root of the tree.
    """
    if not 0 <= index < size:
        return False
    place, last, current = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            current = _node(sibling, current)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            current = _node(current, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and current == root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


def _parents(level: Hashes) -> Hashes:
    """Hash neighbours in pairs; an odd one out moves up, which is RFC 6962's split at 2^k."""
    pairs = len(level) // 2
    if len(level) < 2:
        return level
    data = np.full((pairs, 1 + 2 * WIDTH), _NODE[0], np.uint8)
    data[:, 1:] = level[: 2 * pairs].reshape(pairs, 2 * WIDTH)
    parents = hash_rows(data)
    return np.concatenate([parents, level[2 * pairs :]]) if len(level) % 2 else parents
