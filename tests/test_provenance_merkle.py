"""Merkle trees: published vectors, an independent definition, every forgery refused."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance import merkle
from provenance.errors import BadTranscript

# The eight leaves used by the test suites of Certificate Transparency, and the roots of the trees
# over the first n of them.
LEAVES = [
    bytes.fromhex(h)
    for h in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def hashes_of(data: list[bytes]) -> merkle.Hashes:
    joined = b"".join(merkle.leaf_hash(d) for d in data)
    return np.frombuffer(joined, np.uint8).reshape(len(data), merkle.WIDTH)


def recursive_root(data: list[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written: split at the largest power of two below n."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\0" + data[0]).digest()
    k = 1
    while 2 * k < len(data):
        k *= 2
    left, right = recursive_root(data[:k]), recursive_root(data[k:])
    return hashlib.sha256(b"\1" + left + right).digest()


def recursive_path(data: list[bytes], m: int) -> list[bytes]:
    """RFC 6962, 2.1.1."""
    if len(data) == 1:
        return []
    k = 1
    while 2 * k < len(data):
        k *= 2
    if m < k:
        return [*recursive_path(data[:k], m), recursive_root(data[k:])]
    return [*recursive_path(data[k:], m - k), recursive_root(data[:k])]


@pytest.mark.parametrize("n", sorted(ROOTS))
def test_published_roots(n: int) -> None:
    assert merkle.root(hashes_of(LEAVES[:n])).hex() == ROOTS[n]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70))
def test_roots_and_paths_follow_the_recursive_definition(n: int) -> None:
    data = [bytes([i]) * (i % 5) for i in range(n)]
    hashes = hashes_of(data)
    assert merkle.root(hashes) == recursive_root(data)
    for m in range(n):
        assert merkle.inclusion_proof(hashes, m) == recursive_path(data, m)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(0, 5))
def test_the_root_of_perfect_subtrees_is_the_root(n: int, k: int) -> None:
    hashes = hashes_of([i.to_bytes(2, "big") for i in range(n)])
    parts = merkle.perfect_roots(hashes, 2**k)
    assert len(parts) == -(-n // 2**k)
    assert merkle.root(parts) == merkle.root(hashes)
    for i, part in enumerate(parts):
        assert part.tobytes() == merkle.root(hashes[i << k : (i + 1) << k])


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_proofs_verify_and_forgeries_do_not(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 60))
    index = data.draw(st.integers(0, n - 1))
    leaves = [i.to_bytes(2, "big") for i in range(n)]
    hashes = hashes_of(leaves)
    root, path = merkle.root(hashes), merkle.inclusion_proof(hashes, index)
    leaf = hashes[index].tobytes()
    assert merkle.verify_inclusion(leaf, index, n, path, root)
    for wrong in {*range(-1, n + 1)} - {index}:
        assert not merkle.verify_inclusion(leaf, wrong, n, path, root)
    for i in range(len(path)):
        flipped = [*path]
        flipped[i] = flip(path[i], data.draw(st.integers(0, 255)))
        assert not merkle.verify_inclusion(leaf, index, n, flipped, root)
    bit = data.draw(st.integers(0, 255))
    assert not merkle.verify_inclusion(flip(leaf, bit), index, n, path, root)
    assert not merkle.verify_inclusion(leaf, index, n, path, flip(root, bit))
    assert not merkle.verify_inclusion(leaf, index, n, [*path, leaf], root)
    if path:
        assert not merkle.verify_inclusion(leaf, index, n, path[:-1], root)
    # A size whose path has another shape is refused; one shape, one answer (see the docstring).
    for size in range(index + 1, 2 * n):
        if shape(index, size) != shape(index, n):
            assert not merkle.verify_inclusion(leaf, index, size, path, root)


def shape(m: int, n: int) -> str:
    """Sides from which the siblings join, from the leaf up."""
    if n == 1:
        return ""
    k = 1 << (n - 1).bit_length() - 1
    return shape(m, k) + "r" if m < k else shape(m - k, n - k) + "l"


def flip(data: bytes, bit: int) -> bytes:
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def test_a_leaf_outside_the_tree_is_refused() -> None:
    with pytest.raises(BadTranscript, match="no such row"):
        merkle.inclusion_proof(hashes_of(LEAVES), 8)
