"""Evidence: Merkle proofs of many leaves, floats to the bit, envelopes, refusals."""

import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from evidence_cases import FAMILY, OPTIONS, Case, family_case, query_case
from hypothesis import given, settings
from hypothesis import strategies as st

import provenance as pv
from provenance import merkle
from provenance.errors import BadEvidence
from provenance.evidence import (
    Commitment,
    Evidence,
    SignedEvidence,
    Subject,
    canonical,
    generate_key,
    load_private_key,
    load_public_key,
    subject_of_endpoint,
    subject_of_path,
    subject_of_tokens,
)
from provenance.evidence.inclusion import root_of, shared_nodes


def tree(size: int) -> np.ndarray:
    leaves = [merkle.leaf_hash(bytes([i % 251, i // 251])) for i in range(size)]
    return np.frombuffer(b"".join(leaves), np.uint8).reshape(size, 32)


def proofs(hashes: np.ndarray, chosen: list[int]) -> list[pv.Proof]:
    return [
        pv.Proof(i, len(hashes), 0, i, b"", tuple(merkle.inclusion_proof(hashes, i)))
        for i in chosen
    ]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_shared_nodes_lead_to_the_root(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    chosen = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))
    hashes = tree(size)
    nodes = shared_nodes(proofs(hashes, chosen))
    leaves = {i: hashes[i].tobytes() for i in chosen}
    assert root_of(leaves, size, nodes) == merkle.root(hashes)
    # No node can be derived from another: the proof is as short as it can be.
    assert len(nodes) == len(set(nodes))
    for place in range(len(nodes)):
        with pytest.raises(BadEvidence, match="lacks nodes"):
            root_of(leaves, size, nodes[:place] + nodes[place + 1 :])
    with pytest.raises(BadEvidence, match="to spare"):
        root_of(leaves, size, [*nodes, b"\0" * 32])


def test_all_leaves_need_no_node_and_one_leaf_its_audit_path() -> None:
    hashes = tree(13)
    assert shared_nodes(proofs(hashes, list(range(13)))) == []
    (one,) = proofs(hashes, [5])
    assert sorted(shared_nodes([one])) == sorted(one.path)


def test_a_wrong_leaf_or_node_gives_another_root() -> None:
    hashes, chosen = tree(21), [0, 3, 4, 17]
    nodes = shared_nodes(proofs(hashes, chosen))
    leaves = {i: hashes[i].tobytes() for i in chosen}
    root = merkle.root(hashes)
    swapped = leaves | {3: leaves[4], 4: leaves[3]}
    assert root_of(swapped, 21, nodes) != root
    for place in range(len(nodes)):
        changed = [*nodes[:place], bytes(32), *nodes[place + 1 :]]
        assert root_of(leaves, 21, changed) != root
    with pytest.raises(BadEvidence, match="do not fit"):
        root_of({21: bytes(32)}, 21, nodes)


def test_proofs_of_two_trees_or_one_leaf_twice_are_refused() -> None:
    hashes = tree(9)
    with pytest.raises(BadEvidence, match="distinct leaves of one tree"):
        shared_nodes(proofs(hashes, [2, 2]))
    with pytest.raises(BadEvidence, match="distinct leaves of one tree"):
        shared_nodes([*proofs(hashes, [2]), *proofs(tree(8), [3])])
    with pytest.raises(BadEvidence, match="distinct leaves of one tree"):
        shared_nodes([])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_come_back_to_the_bit(values: list[float]) -> None:
    again = [float(v) for v in json.loads(canonical.dumps({"x": values}))["x"]]
    assert again == values


def test_values_without_json_are_named_not_dropped() -> None:
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": np.float64(0.5), "e": (1, 2)}
    assert canonical.plain(values) == {
        "a": None,
        "b": "Infinity",
        "c": "-Infinity",
        "d": 0.5,
        "e": [1, 2],
    }
    with pytest.raises(BadEvidence, match="no place in evidence"):
        canonical.plain(object())
    with pytest.raises(BadEvidence, match="smaller seeds"):
        canonical.dumps({"seed": 2**53})


def test_differences_name_the_field() -> None:
    stated = {"p": 0.25, "test": {"rho": 0.5, "n": 20}, "low": None}
    assert canonical.differences(stated, {**stated, "test": {"rho": 0.5 + 1e-12, "n": 20}}) == []
    assert canonical.differences(stated, {**stated, "test": {"rho": 0.5001, "n": 20}}) == [
        "test.rho"
    ]
    assert canonical.differences(stated, {**stated, "p": math.nextafter(0.25, 1)}) == ["p"]
    assert canonical.differences(stated, {"p": 0.25, "low": None}) == ["test"]
    assert canonical.differences({"n": 1}, {"n": True}) == ["n"]


def test_a_key_is_private_and_never_overwritten(tmp_path: Path) -> None:
    public = generate_key(tmp_path / "k.pem")
    assert stat.S_IMODE(os.stat(tmp_path / "k.pem").st_mode) == 0o600
    assert load_private_key(tmp_path / "k.pem").public_key == load_public_key(public)
    with pytest.raises(BadEvidence, match="not overwritten"):
        generate_key(tmp_path / "k.pem")
    with pytest.raises(BadEvidence, match="no public key"):
        load_public_key(tmp_path / "k.pem")
    with pytest.raises(BadEvidence, match="no unencrypted private key"):
        load_private_key(public)
    with pytest.raises(BadEvidence, match="provenance keygen"):
        load_private_key(tmp_path / "none.pem")


def test_the_envelope_is_dsse_and_in_toto(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    raw = json.loads(case.path.read_text())
    assert set(raw) == {"payload", "payloadType", "signatures"}
    assert raw["payloadType"] == "application/vnd.in-toto+json"
    signed = SignedEvidence.load(case.path)
    statement = json.loads(signed.envelope.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "urn:stemma:provenance:query:v1"
    assert statement["subject"] == [{"name": "bob", "digest": {"sha256": "ab" * 32}}]
    assert b"NaN" not in signed.envelope.payload
    assert signed.signed_by(load_public_key(case.public))


def test_scores_are_on_file_to_the_bit_in_canonical_order(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    _, predicate = SignedEvidence.load(case.path).read()
    place = np.argsort(case.whole.positions[case.rows])
    assert predicate.suspects[0].scores == case.scores[place].tolist()  # type: ignore[attr-defined]
    assert predicate.examples.position == sorted(predicate.examples.position)  # type: ignore[attr-defined]


def test_a_result_that_does_not_follow_is_not_signed(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    subject = Subject(name="bob", sha256="ab" * 32)

    def make(scores: np.ndarray, **changed: object) -> Evidence:
        options = OPTIONS | changed
        return Evidence.of_query(
            case.result,
            case.whole,
            case.rows,
            scores,
            case.reference,
            suspect=subject,
            options=options,
        )

    make(case.scores)
    for scores, changed in (
        (case.scores[::-1].copy(), {}),
        (case.scores, {"seed": 1}),
        (case.scores, {"permutations": 98}),
        (case.scores, {"alternative": "two-sided"}),
    ):
        with pytest.raises(BadEvidence, match="does not follow"):
            make(scores, **changed)
    with pytest.raises(pv.BadScores, match="scores of shape"):
        make(case.scores[:-1])


def test_a_commitment_to_another_transcript_is_refused(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    for root, size in (("00" * 32, len(case.whole)), (case.whole.digest, 7)):
        with pytest.raises(BadEvidence, match="the commitment is to"):
            Evidence.of_query(
                case.result,
                case.whole,
                case.rows,
                case.scores,
                case.reference,
                suspect=Subject(name="bob", sha256="ab" * 32),
                commitment=Commitment(root=root, size=size, time="2026-01-01T00:00:00+00:00"),
                options=OPTIONS,
            )


def test_a_tainted_reference_is_refused(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    tainted = pv.Reference(case.reference.scores, pv.Lineage.of(case.whole), "alice")
    with pytest.raises(pv.TaintedReference):
        Evidence.of_query(
            case.result,
            case.whole,
            case.rows,
            case.scores,
            tainted,
            suspect=Subject(name="bob", sha256="ab" * 32),
            options=OPTIONS,
        )


def test_one_row_twice_is_refused(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    rows = np.append(case.rows[:-1], case.rows[0])
    with pytest.raises(BadEvidence, match="distinct leaves"):
        Evidence.of_query(
            case.result,
            case.whole,
            rows,
            case.scores,
            suspect=Subject(name="bob", sha256="ab" * 32),
            options=OPTIONS,
        )


def test_a_family_needs_scores_and_results_of_the_same_names(tmp_path: Path) -> None:
    case: Case = family_case(tmp_path)
    _, predicate = SignedEvidence.load(case.path).read()
    assert predicate.holm == case.result.family.adjusted  # type: ignore[attr-defined]
    assert [s.subject.name for s in predicate.suspects] == FAMILY  # type: ignore[attr-defined]
    with pytest.raises(BadEvidence, match="subjects"):
        Evidence.of_query(
            case.result,
            case.whole,
            case.rows,
            {},
            suspect=[Subject(name="nobody", sha256="ab" * 32)],
            options=OPTIONS,
        )


def test_what_is_no_envelope_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    for text in ("", "{", "[]", "{}", '{"payload": "", "payloadType": "x", "signatures": [{}]}'):
        path.write_text(text)
        with pytest.raises(BadEvidence, match="no DSSE envelope"):
            SignedEvidence.load(path)
    with pytest.raises(BadEvidence, match="No such file"):
        SignedEvidence.load(tmp_path / "none.json")


def test_subjects_are_told_apart_by_content(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = subject_of_path("bob", tmp_path)
    weights.write_bytes(b"two")
    assert subject_of_path("bob", tmp_path).sha256 != first.sha256
    assert subject_of_path("bob", weights).what == "scores"
    assert subject_of_tokens("t", [[1, 2], [3]]) != subject_of_tokens("t", [[1], [2, 3]])
    assert subject_of_tokens("t", [[1, 2], [3]]) == subject_of_tokens("t", [[1, 2], [3, pv.PAD]])
    assert subject_of_endpoint("e", "u", "a").sha256 != subject_of_endpoint("e", "u", "b").sha256
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadEvidence, match="no weights"):
        subject_of_path("bob", tmp_path / "empty")
