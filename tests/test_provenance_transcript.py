"""Transcripts: canonical digest, commitment, padding."""

import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import provenance as pv
from provenance import merkle
from provenance.transcript import example_leaf, pad_rows, token_digest

ROWS = st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=6), min_size=2, max_size=12)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(0, 1000))
def test_digest_ignores_the_order_of_rows_and_nothing_else(
    rows: list[list[int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    positions = rng.permutation(len(rows))
    base = pv.Transcript.of(rows, positions)
    shuffled = rng.permutation(len(rows))
    again = pv.Transcript.of([rows[i] for i in shuffled], positions[shuffled])
    assert again.digest == base.digest
    assert pv.Transcript.of(rows, positions + 1).digest != base.digest
    changed = [[*rows[0], 7], *rows[1:]]
    assert pv.Transcript.of(changed, positions).digest != base.digest
    assert pv.Transcript.of(rows, positions, np.arange(len(rows))).digest != base.digest


def test_digest_ignores_the_width_of_padding() -> None:
    ragged = pv.Transcript.of([[1, 2], [3]], [0, 1])
    wide = pv.Transcript.of(np.array([[1, 2, -1, -1], [3, -1, -1, -1]]), [0, 1])
    assert ragged.digest == wide.digest
    assert ragged.n_tokens == 3


def test_digest_is_stable() -> None:
    """Golden: stored evidence must stay checkable."""
    digest = pv.Transcript.of([[1, 2, 3], [4, 5]], [1, 0]).digest
    leaves = []
    for position, tokens in enumerate([[4, 5], [1, 2, 3]]):
        inner = hashlib.sha256(struct.pack(f"<{len(tokens)}q", *tokens)).digest()
        leaves.append(hashlib.sha256(b"\0" + struct.pack("<qq", 0, position) + inner).digest())
    assert digest == hashlib.sha256(b"\1" + b"".join(leaves)).hexdigest()
    assert digest == "4f48ee871cd4da48e52729fdb6ad1d1c6ba92d8e4c3b38fe4ce52051b0151c8e"


def test_ties_are_ordered_by_the_digest_of_the_tokens() -> None:
    rows = np.arange(40).reshape(20, 2)
    tied = pv.Transcript.of(rows, np.zeros(20, int))
    leaves = sorted(token_digest(row) for row in rows)
    expected = merkle.root(
        np.array([list(merkle.leaf_hash(example_leaf(0, 0, d))) for d in leaves], np.uint8)
    )
    assert tied.digest == expected.hex()


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(0, 1000))
def test_every_row_proves_its_place(rows: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions, strata = rng.integers(4, size=len(rows)), rng.integers(2, size=len(rows))
    transcript = pv.Transcript.of(rows, positions, strata)
    proofs = transcript.prove(np.arange(len(rows)))
    for row, proof in enumerate(proofs):
        assert proof.holds(transcript.digest)
        assert proof.shows(transcript.rows[row])
        assert proof.position == positions[row]
        assert proof.stratum == strata[row]
        assert not proof.shows([*rows[row], 7])
        assert not replace(proof, position=proof.position + 1).holds(transcript.digest)
        assert not replace(proof, stratum=proof.stratum - 1).holds(transcript.digest)
        assert not replace(proof, token_digest=bytes(32)).holds(transcript.digest)
    assert sorted(p.index for p in proofs) == list(range(len(rows)))


def test_a_part_cannot_prove_against_the_whole() -> None:
    whole = pv.Transcript.in_training_order(np.arange(50))
    with pytest.raises(pv.BadTranscript, match="cannot prove membership in the whole"):
        whole.take([1, 2]).prove([0])
    with pytest.raises(pv.BadTranscript, match="no such row"):
        whole.prove([50])


def test_commitment_opens_only_with_its_transcript_and_nonce() -> None:
    transcript = pv.Transcript.in_training_order([[1, 2], [3, 4], [5, 6]])
    other = pv.Transcript.in_training_order([[3, 4], [1, 2], [5, 6]])
    nonce = bytes(range(16))
    commitment = transcript.commitment(nonce)
    assert transcript.opens(commitment, nonce)
    assert not transcript.opens(commitment, bytes(16))
    assert not other.opens(commitment, nonce)
    with pytest.raises(pv.BadTranscript, match="16 bytes"):
        transcript.commitment(b"short")


def test_a_part_remembers_the_whole() -> None:
    whole = pv.Transcript.in_training_order(np.arange(50))
    part = whole.take(np.arange(0, 50, 2))
    assert len(part) == 25
    assert part.origin == whole.digest
    assert part.take([0, 1, 2]).origin == whole.digest
    assert pv.Lineage.of(whole).has_seen(part)


def test_transcripts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(pv.BadTranscript, match="2 rows, 3 positions"):
        pv.Transcript.of([1, 2], [0, 1, 2])
    with pytest.raises(pv.BadTranscript, match="integers"):
        pv.Transcript.of([1, 2], [0.5, 1.5])
    with pytest.raises(pv.BadTranscript, match="at least one row"):
        pv.Transcript.of(np.zeros((0, 3), int), np.zeros(0, int))
    with pytest.raises(pv.BadTranscript, match="negative"):
        pv.Transcript.of([[1, -2], [3]], [0, 1])
    with pytest.raises(pv.BadTranscript, match="shape"):
        pv.Transcript.of(np.zeros((2, 2, 2), int), [0, 1])


def test_arrays_cannot_be_changed_after_hashing() -> None:
    transcript = pv.Transcript.in_training_order(np.arange(30))
    with pytest.raises(ValueError, match="read-only"):
        transcript.positions[0] = 5


def test_pad_rows() -> None:
    assert pad_rows([[1, 2, 3], [4], []]).tolist() == [[1, 2, 3], [4, -1, -1], [-1, -1, -1]]
    assert pad_rows([5, 6]).tolist() == [[5], [6]]
