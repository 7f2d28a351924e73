"""Verification: sound evidence passes; a change of any field is noticed or named as asserted."""

import base64
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence_cases import (
    Case,
    family_case,
    partition_case,
    query_case,
    reshuffle_case,
    sequential_case,
    transcript,
    weighted_case,
)

import provenance as pv
from provenance.errors import BadEvidence
from provenance.evidence import (
    SignedEvidence,
    explain,
    generate_key,
    load_private_key,
    load_public_key,
)
from provenance.evidence.canonical import dumps
from provenance.evidence.envelope import PAYLOAD_TYPE
from provenance.store import StoredTranscript, write_transcript
from provenance.verify import Report, verify

CASES: dict[str, Callable[[Path], Case]] = {
    "query": query_case,
    "family": family_case,
    "partition": partition_case,
    "reshuffle": reshuffle_case,
    "sequential": sequential_case,
    "weighted": weighted_case,
}

ASSERTED = {
    # What no recomputation can see, whoever signs it; the report calls each by its name.
    "query": [
        "commitment.time",
        "commitment.published_at",
        "software.",
        "time",
        "selection.method",
        "reference.lineage[]",
        "suspects[].subject.",
    ],
    "partition": [
        "commitment.time",
        "commitment.published_at",
        "software.",
        "time",
        "subject.name",
        "subject.what",
        "n_min",
        "n_max",
    ],
    "reshuffle": [
        "commitment.time",
        "commitment.published_at",
        "software.",
        "time",
        "subject.",
        "commitment.size",
        "orders_seed",
        "true_order_sha256",
        "adapted",
    ],
}
ASSERTED["family"] = ASSERTED["query"]
ASSERTED["weighted"] = [
    *ASSERTED["query"],
    "covariates[].lineage",
    "weights.lineage",
    "selection.seed",  # seen with the transcript alone, see below
    "weights.values[]",  # between the points asked
    "weights.points[]",
]
ASSERTED["sequential"] = [
    "commitment.time",
    "commitment.published_at",
    "software.",
    "time",
    "suspect.subject.",
    "reference.name",
    "reference.lineage[]",
    "options.seed",  # of the keys that break ties: there are none
]


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    made = CASES[request.param](tmp_path_factory.mktemp(request.param))
    return made


def kind(case: Case) -> str:
    return case.path.stem


def statement_of(case: Case) -> dict[str, Any]:
    statement: dict[str, Any] = json.loads(SignedEvidence.load(case.path).envelope.payload)
    return statement


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        for name, entry in value.items():
            yield from leaves(entry, (*path, name))
    elif isinstance(value, list) and value:
        for place, entry in enumerate(value):
            yield from leaves(entry, (*path, place))
    else:
        yield path


def sampled(paths: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Every leaf, of long lists the first, one in the middle and the last."""
    kept = []
    for path in paths:
        shape = tuple("[]" if isinstance(part, int) else part for part in path)
        kept.append((shape, path))
    groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for shape, path in kept:
        groups.setdefault(shape, []).append(path)
    return [
        group[i] for group in groups.values() for i in sorted({0, len(group) // 2, len(group) - 1})
    ]


def changed(value: Any) -> Any:
    """A value of the same type that says something else."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1 if value != 39 else value - 1
        case str() if len(value) == 64:
            return value[::-1] if value != value[::-1] else "0" * 64
        case str():
            return value + "x"
        case None:
            return 1
        case [] | {}:
            return [1] if isinstance(value, list) else {"x": 1}
    raise AssertionError(value)


def edited(statement: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    new = copy.deepcopy(statement)
    *parents, last = path
    place: Any = new
    for part in parents:
        place = place[part]
    place[last] = (
        reranked(place, last) if {"scores", "counts"} & set(path) else changed(place[last])
    )
    if path[:1] == ("predicate",) and "subject" in path and last in ("name", "sha256"):
        mirror_subject(new)
    return new


def reranked(scores: list[float], place: int) -> float:
    """Another score at another rank: only ranks enter a test without a reference."""
    highest = scores[place] == max(scores)
    return min(scores) - 1.5 if highest else max(scores) + 1.5


def mirror_subject(statement: dict[str, Any]) -> None:
    """A careful forger changes the subject in both places."""
    predicate = statement["predicate"]
    many = [s["subject"] for s in predicate.get("suspects", [])]
    if "suspect" in predicate:
        many = [predicate["suspect"]["subject"]]
    many = many or [predicate["subject"]]
    statement["subject"] = [{"name": s["name"], "digest": {"sha256": s["sha256"]}} for s in many]


def written(case: Case, folder: Path, statement: dict[str, Any], sign_with: Path | None) -> Path:
    """The statement in an envelope: freshly signed, or with the old signature left in place."""
    from securesystemslib.dsse import Envelope

    payload = dumps(statement)
    target = folder / "tampered.json"
    if sign_with is not None:
        envelope = Envelope(payload, PAYLOAD_TYPE, {})
        envelope.sign(load_private_key(sign_with))
        return SignedEvidence(envelope).save(target)
    raw = json.loads(case.path.read_text())
    raw["payload"] = base64.b64encode(payload).decode()
    target.write_text(json.dumps(raw))
    return target


def name_of(path: tuple[Any, ...]) -> str:
    text = ""
    for part in path[1:]:
        text += "[]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def test_sound_evidence_is_verified(case: Case) -> None:
    report = verify(case.path, load_public_key(case.public))
    assert report.ok, report.text()
    assert report.text().startswith("VERIFIED")
    without = verify(case.path)
    assert without.ok
    assert any(check.name == "signer" for check in without.findings)


def test_every_changed_field_breaks_the_signature(case: Case, tmp_path: Path) -> None:
    statement = statement_of(case)
    for path in sampled(list(leaves(statement))):
        tampered = written(case, tmp_path, edited(statement, path), sign_with=None)
        for key in (load_public_key(case.public), None):
            report = verify(tampered, key)
            assert not report.ok, path
            assert not report.conclusion
            assert not report.proved


def test_every_changed_field_signed_by_another_key_fails_under_the_right_one(
    case: Case, tmp_path: Path
) -> None:
    generate_key(tmp_path / "mallory.pem")
    statement = statement_of(case)
    mallory = load_private_key(tmp_path / "mallory.pem").public_key.keyval["public"]
    statement["predicate"]["signer"] = mallory
    for path in sampled(list(leaves(statement))):
        tampered = written(case, tmp_path, edited(statement, path), tmp_path / "mallory.pem")
        assert not verify(tampered, load_public_key(case.public)).ok, path


def test_fields_that_pass_when_signed_by_the_right_key_are_those_called_asserted(
    case: Case, tmp_path: Path
) -> None:
    """The signer lies about one field: the recomputation sees it, or the report says whose word."""
    statement, key = statement_of(case), load_public_key(case.public)
    unseen = set()
    for path in sampled(list(leaves(statement))):
        tampered = written(case, tmp_path, edited(statement, path), case.private)
        if verify(tampered, key).ok:
            unseen.add(name_of(path))
    allowed = ASSERTED[kind(case)]
    surprising = {
        name
        for name in unseen
        if not any(name == a or (a.endswith(".") and name.startswith(a)) for a in allowed)
    }
    assert not surprising
    if kind(case) == "query":
        assert {"commitment.time", "suspects[].subject.sha256"} <= unseen


def test_what_is_only_asserted_is_called_so(case: Case) -> None:
    report = verify(case.path, load_public_key(case.public))
    asserted = {check.name for check in report.findings if check.status == "asserted"}
    expected = {"query": {"scores", "time", "software", "lineage", "subject", "selection"}}
    expected["family"] = {"scores", "time", "software", "subject", "tokens"}
    expected["partition"] = {"counts", "time", "software", "subject"}
    expected["weighted"] = {"scores", "weights", "lineage", "time", "selection"}
    expected["sequential"] = {"scores", "lineage", "time", "software", "subject"}
    expected["reshuffle"] = {"time", "software", "subject", "re-runs"}
    assert expected[kind(case)] <= asserted


def test_a_field_more_or_less_is_refused(case: Case, tmp_path: Path) -> None:
    statement = statement_of(case)
    more = copy.deepcopy(statement)
    more["predicate"]["remark"] = "trust me"
    less = copy.deepcopy(statement)
    del less["predicate"]["time"]
    for broken in (more, less):
        report = verify(written(case, tmp_path, broken, case.private))
        assert not report.ok
        assert [check.name for check in report.failed] == ["format"]


def test_the_statement_is_not_another_kind(case: Case, tmp_path: Path) -> None:
    for name, value in (
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("predicateType", "urn:stemma:provenance:horoscope:v1"),
        ("predicateType", "query"),
        ("subject", []),
    ):
        broken = statement_of(case) | {name: value}
        assert not verify(written(case, tmp_path, broken, case.private)).ok


def test_the_payload_must_be_canonical(tmp_path: Path) -> None:
    from securesystemslib.dsse import Envelope

    case = query_case(tmp_path)
    loose = json.dumps(statement_of(case)).encode()
    envelope = Envelope(loose, PAYLOAD_TYPE, {})
    envelope.sign(load_private_key(case.private))
    report = verify(SignedEvidence(envelope).save(tmp_path / "loose.json"))
    assert "canonical" in report.failed[0].sentence


def test_another_payload_type_is_not_signed_evidence(tmp_path: Path) -> None:
    from securesystemslib.dsse import Envelope

    case = query_case(tmp_path)
    envelope = Envelope(SignedEvidence.load(case.path).envelope.payload, "text/plain", {})
    envelope.sign(load_private_key(case.private))
    path = SignedEvidence(envelope).save(tmp_path / "plain.json")
    assert not verify(path, load_public_key(case.public)).ok


def test_without_a_signature_it_fails(case: Case, tmp_path: Path) -> None:
    raw = json.loads(case.path.read_text()) | {"signatures": []}
    path = tmp_path / "unsigned.json"
    path.write_text(json.dumps(raw))
    for key in (None, load_public_key(case.public)):
        assert [check.name for check in verify(path, key).failed] == ["signature"]


def test_the_transcript_is_held_against_the_commitment(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    key = load_public_key(case.public)
    assert verify(case.path, key, case.whole).ok
    other = verify(case.path, key, transcript(seed=9))
    assert [check.name for check in other.failed] == ["transcript"]


def test_counts_are_made_again_with_the_transcript(tmp_path: Path) -> None:
    case = partition_case(tmp_path)
    key = load_public_key(case.public)
    report = verify(case.path, key, case.whole)
    assert report.ok, report.text()
    assert "counts" in {check.name for check in report.findings if check.status == "passed"}
    for field, value in (("n_min", 3), ("n_max", 2)):
        statement = statement_of(case)
        statement["predicate"][field] = value
        lied = verify(written(case, tmp_path, statement, case.private), key, case.whole)
        assert [check.name for check in lied.failed] == ["counts"]


def test_a_partition_with_an_example_left_out_fails(tmp_path: Path) -> None:
    """Leaving out early examples that the text shares would be a choice after the fact."""
    case = partition_case(tmp_path)
    statement = statement_of(case)
    shown = statement["predicate"]["examples"]
    for column in ("index", "stratum", "position", "tokens_sha256"):
        del shown[column][0]
    for column in statement["predicate"]["counts"].values():
        del column[0]
    proof = case.whole.prove(np.argsort(case.whole.positions)[1:])
    from provenance.evidence.inclusion import shared_nodes

    shown["nodes"] = [node.hex() for node in shared_nodes(proof)]
    report = verify(written(case, tmp_path, statement, case.private))
    assert "completeness" in [check.name for check in report.failed]
    assert "inclusion" not in [check.name for check in report.failed]


def test_the_order_of_asking_is_held_to_its_draw(tmp_path: Path) -> None:
    """Leaving out an answer that hurts, or asking it later, would break validity."""
    case = sequential_case(tmp_path)
    key = load_public_key(case.public)
    assert verify(case.path, key, case.whole).ok
    asked = statement_of(case)["predicate"]["asked"]
    assert 20 < len(asked) < 120
    for other in (asked[::-1], asked[:-1], [*asked[:-1], asked[0]]):
        statement = statement_of(case)
        statement["predicate"]["asked"] = other
        report = verify(written(case, tmp_path, statement, case.private), key)
        assert "selection" in [check.name for check in report.failed]
    statement = statement_of(case)
    statement["predicate"]["selection"] = {"method": "stated", "n": len(asked), "seed": None}
    report = verify(written(case, tmp_path, statement, case.private), key)
    assert report.ok
    assert "selection" in [c.name for c in report.findings if c.status == "asserted"]


def test_extreme_positions_are_chosen_again_with_the_transcript(tmp_path: Path) -> None:
    case = weighted_case(tmp_path)
    key = load_public_key(case.public)
    report = verify(case.path, key, case.whole)
    assert report.ok, report.text()
    assert "selection" in [c.name for c in report.findings if c.status == "passed"]
    statement = statement_of(case)
    statement["predicate"]["examples"]["index"][0] += 1
    assert not verify(written(case, tmp_path, statement, case.private), key, case.whole).ok


@pytest.mark.parametrize("field", ["weights", "covariates"])
def test_weights_and_covariates_that_saw_the_order_fail(tmp_path: Path, field: str) -> None:
    case = weighted_case(tmp_path)
    statement = statement_of(case)
    declared = statement["predicate"][field]
    (declared if field == "weights" else declared[0])["lineage"].append(case.whole.digest)
    report = verify(written(case, tmp_path, statement, case.private))
    assert len(report.failed) == 1


def test_a_stored_transcript_that_lies_about_its_root_fails(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    other = write_transcript(tmp_path / "other", transcript(seed=9))
    manifest = tmp_path / "other" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(other.digest, case.whole.digest))
    try:
        lying = StoredTranscript.open(tmp_path / "other")
    except pv.BadTranscript:
        return
    assert not verify(case.path, None, lying).ok


def test_scores_that_no_test_takes_are_a_failed_check_not_a_crash(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    statement = statement_of(case)
    constant = statement["predicate"]["reference"]["scores"]
    for scores in (constant, [1.0, 2.0], []):
        statement["predicate"]["suspects"][0]["scores"] = scores
        report = verify(written(case, tmp_path, statement, case.private))
        assert any("cannot be recomputed" in check.sentence for check in report.failed)


def test_options_unknown_to_the_test_fail(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    statement = statement_of(case)
    statement["predicate"]["options"]["leniency"] = 1
    assert not verify(written(case, tmp_path, statement, case.private)).ok


def test_truncated_files_are_unreadable_not_verified(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    text = case.path.read_text()
    for length in (0, 10, len(text) // 2, len(text) - 3):
        (tmp_path / "cut.json").write_text(text[:length])
        report = verify(tmp_path / "cut.json")
        assert not report.ok
        assert report.kind is None
    with pytest.raises(BadEvidence, match="no such file"):
        verify(tmp_path / "none.json")


def test_the_two_consequences_stand_beside_every_result(case: Case) -> None:
    report: Report = verify(case.path)
    words = report.text()
    for sentence in (explain.SAME_ORDER, explain.SAME_DATA, explain.REPORTED, explain.TIME):
        assert sentence in words
    assert "ok" in report.as_dict()
    json.dumps(report.as_dict())


def test_a_reference_that_saw_the_order_fails(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    statement = statement_of(case)
    statement["predicate"]["reference"]["lineage"].append(case.whole.digest)
    report = verify(written(case, tmp_path, statement, case.private))
    assert [check.name for check in report.failed] == ["reference"]


def test_steps_are_reported(tmp_path: Path) -> None:
    seen: list[str] = []
    verify(query_case(tmp_path).path, progress=seen.append)
    assert {"reading", "inclusion", "result"} <= set(seen)


def test_shuffled_rows_give_the_same_evidence(tmp_path: Path) -> None:
    case = query_case(tmp_path)
    from evidence_cases import OPTIONS

    from provenance.evidence import Evidence

    order = np.random.default_rng(5).permutation(len(case.rows))
    reference = pv.Reference(case.reference.scores[order], case.reference.lineage, "sibling")
    again = Evidence.of_query(
        pv.query_test(case.whole.take(case.rows[order]), case.scores[order], reference, **OPTIONS),
        case.whole,
        case.rows[order],
        case.scores[order],
        reference,
        suspect=case.evidence.predicate.suspects[0].subject,  # type: ignore[attr-defined]
        commitment=case.evidence.predicate.commitment,
        options=OPTIONS,
        disclose_tokens=True,
    )
    same = {"software", "time"}
    assert again.predicate.model_dump(exclude=same) == case.evidence.predicate.model_dump(
        exclude=same
    )
