"""One Merkle proof for many leaves: the nodes that several audit paths share are stored once.

The tree is that of RFC 6962: a range of n > 1 leaves splits at the largest power of two below n.
The nodes needed are the roots of the largest ranges without a shown leaf, from left to right.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from provenance.errors import BadEvidence
from provenance.transcript import Proof


def shared_nodes(proofs: Sequence[Proof]) -> list[bytes]:
    """Return the nodes that turn the shown leaves into the root, each once.

    Args:
        proofs: audit paths of distinct leaves of one tree.

    Raises:
        BadEvidence: no proof, proofs of several trees, or one leaf twice.
    """
    sizes = {proof.size for proof in proofs}
    indices = sorted(proof.index for proof in proofs)
    if len(sizes) != 1 or len(set(indices)) < len(indices):
        raise BadEvidence("proofs must be of distinct leaves of one tree")
    size = sizes.pop()
    known: dict[tuple[int, int], bytes] = {}
    for proof in proofs:
        ranges = _sibling_ranges(proof.index, size)
        known.update(zip(ranges, reversed(proof.path), strict=True))
    return [known[gap] for gap in _gaps(indices, 0, size)]


def root_of(leaves: Mapping[int, bytes], size: int, nodes: Sequence[bytes]) -> bytes:
    """Return the root of a tree from leaf hashes by index and the nodes of ``shared_nodes``.

    Raises:
        BadEvidence: an index outside the tree, or too few or too many nodes.
    """
    indices = sorted(leaves)
    if not indices or indices[0] < 0 or indices[-1] >= size:
        raise BadEvidence(f"leaves {indices[:1]}..{indices[-1:]} do not fit a tree of {size}")
    rest = iter(nodes)

    def build(low: int, high: int) -> bytes:
        if not _holds(indices, low, high):
            node = next(rest, None)
            if node is None:
                raise BadEvidence("the Merkle proof lacks nodes")
            return node
        if high - low == 1:
            return leaves[low]
        middle = low + _split(high - low)
        left = build(low, middle)
        return hashlib.sha256(b"\x01" + left + build(middle, high)).digest()

    root = build(0, size)
    if next(rest, None) is not None:
        raise BadEvidence("the Merkle proof has nodes to spare")
    return root


def _split(n: int) -> int:
    return 1 << ((n - 1).bit_length() - 1)


def _holds(indices: Sequence[int], low: int, high: int) -> bool:
    place = bisect_left(indices, low)
    return place < len(indices) and indices[place] < high


def _gaps(indices: Sequence[int], low: int, high: int) -> list[tuple[int, int]]:
    """Return the largest ranges without a shown leaf, from left to right."""
    if not _holds(indices, low, high):
        return [(low, high)]
    if high - low == 1:
        return []
    middle = low + _split(high - low)
    return _gaps(indices, low, middle) + _gaps(indices, middle, high)


def _sibling_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Return the ranges whose roots are on the audit path of a leaf, from the root down."""
    low, high, ranges = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    return ranges
