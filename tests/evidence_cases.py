"""Signed evidence of each kind for the tests: planted signals on small transcripts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import provenance as pv
from provenance.evidence import (
    Commitment,
    Evidence,
    Selection,
    Subject,
    generate_key,
    load_private_key,
)

OPTIONS = {"permutations": 99, "resamples": 40, "seed": 3}
FAMILY = ["bob", "carol"]
NONCE = bytes(range(16))


@dataclass(frozen=True)
class Case:
    """Evidence on file and what it was made from."""

    path: Path
    private: Path
    public: Path
    whole: pv.Transcript
    rows: np.ndarray
    scores: Any
    reference: Any
    result: Any
    evidence: Evidence


def keys(folder: Path) -> tuple[Path, Path]:
    """Return a private and a public key of the folder, made once."""
    private = folder / "key.pem"
    if not private.exists():
        generate_key(private)
    return private, folder / "key.pem.pub"


def transcript(n: int = 60, seed: int = 0) -> pv.Transcript:
    """Return a transcript of n examples of 4 to 7 tokens, listed out of order."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 50, rng.integers(4, 8)).tolist() for _ in range(n)]
    return pv.Transcript.of(rows, rng.permutation(n))


def commitment(whole: pv.Transcript) -> Commitment:
    """Return an opened commitment."""
    return Commitment(
        root=whole.digest,
        size=len(whole),
        time="2026-01-01T00:00:00+00:00",
        value=whole.commitment(NONCE),
        nonce=NONCE.hex(),
        published_at="the tests",
    )


def save(folder: Path, name: str, evidence: Evidence) -> Path:
    """Sign with the folder's key and write."""
    private, _ = keys(folder)
    return evidence.sign(load_private_key(private)).save(folder / name)


def query_case(folder: Path) -> Case:
    """Return evidence of one suspect with a reference, tokens shown."""
    whole, rng = transcript(), np.random.default_rng(1)
    rows = rng.choice(len(whole), 40, replace=False)
    base = rng.normal(0, 5, 40)
    scores = base + 0.1 * whole.positions[rows] + rng.normal(0, 1, 40)
    reference = pv.Reference(base, pv.Lineage(frozenset({"cd" * 32})), "sibling")
    result = pv.query_test(whole.take(rows), scores, reference, **OPTIONS)
    evidence = Evidence.of_query(
        result,
        whole,
        rows,
        scores,
        reference,
        suspect=Subject(name="bob", sha256="ab" * 32),
        commitment=commitment(whole),
        options=OPTIONS,
        disclose_tokens=True,
    )
    path = save(folder, "query.json", evidence)
    return Case(path, *keys(folder), whole, rows, scores, reference, result, evidence)


def family_case(folder: Path) -> Case:
    """Return evidence of a guilty and an innocent suspect, no reference, tokens hidden."""
    whole, rng = transcript(), np.random.default_rng(2)
    rows = np.arange(len(whole))
    scores = {
        "bob": whole.positions + rng.normal(0, 10, len(whole)),
        "carol": rng.normal(0, 1, len(whole)),
    }
    result = pv.query_family(whole.take(rows), scores, **OPTIONS)
    evidence = Evidence.of_query(
        result,
        whole,
        rows,
        scores,
        suspect=[Subject(name=n, sha256=f"{i}a" * 32) for i, n in enumerate(FAMILY)],
        commitment=commitment(whole),
        options=OPTIONS,
    )
    path = save(folder, "family.json", evidence)
    return Case(path, *keys(folder), whole, rows, scores, None, result, evidence)


def in_leaf_order(whole: pv.Transcript) -> pv.Transcript:
    """Return it with its rows in the order of the leaves, so that a choice can be made again."""
    order = np.argsort(whole.positions)
    return pv.Transcript.of(whole.rows[order], whole.positions[order])


def weighted_case(folder: Path) -> Case:
    """Return evidence with weights, a covariate and extreme positions."""
    whole, rng = in_leaf_order(transcript(80)), np.random.default_rng(6)
    weights = pv.PositionWeights.from_schedule(np.linspace(1, 0.1, 80))
    rows = pv.choose_positions(whole.positions, 50, weights, design="extreme", seed=4)
    covariate = pv.Reference(rng.normal(0, 3, 50), name="length")
    scores = 20 * weights.at(whole.positions[rows]) + covariate.scores + rng.normal(0, 1, 50)
    options = OPTIONS | {"weights": weights, "covariates": [covariate], "stop_after": 30}
    result = pv.query_test(whole.take(rows), scores, **options)
    evidence = Evidence.of_query(
        result,
        whole,
        rows,
        scores,
        suspect=Subject(name="bob", sha256="ab" * 32),
        commitment=commitment(whole),
        options=options,
        selection=Selection(method="extreme", n=50, seed=4),
    )
    path = save(folder, "weighted.json", evidence)
    return Case(path, *keys(folder), whole, rows, scores, None, result, evidence)


def sequential_case(folder: Path) -> Case:
    """Return evidence of an anytime-valid test that stopped at 1e-3."""
    whole, rng = in_leaf_order(transcript(120)), np.random.default_rng(7)
    drawn = np.random.default_rng(8).choice(120, 120, replace=False)
    base = rng.normal(0, 5, 120)
    scores = base + whole.positions[drawn] + rng.normal(0, 20, 120)
    spread = float(np.std(whole.positions))
    test = pv.SequentialQueryTest(spread, seed=2)
    for row, score, known in zip(drawn, scores, base, strict=True):
        test.update(float(whole.positions[row]), float(score), float(known))
        if test.reached(1e-3):
            break
    n = test.n
    reference = pv.Reference(base[:n], pv.Lineage(frozenset({"cd" * 32})), "sibling")
    evidence = Evidence.of_sequential(
        test,
        whole,
        drawn[:n],
        scores[:n],
        reference,
        suspect=Subject(name="bob", sha256="ab" * 32),
        commitment=commitment(whole),
        selection=Selection(method="uniform", n=120, seed=8),
    )
    path = save(folder, "sequential.json", evidence)
    return Case(path, *keys(folder), whole, drawn[:n], scores[:n], reference, test, evidence)


def reshuffle_case(folder: Path) -> Case:
    """Return evidence of a reshuffle test with 9 re-runs."""
    whole, rng = transcript(), np.random.default_rng(3)
    scores = rng.normal(-100, 1, 9)
    result = pv.reshuffle_test(-95.0, scores)
    evidence = Evidence.of_reshuffle(
        result,
        -95.0,
        scores,
        suspect=Subject(name="dave", sha256="ef" * 32, what="text"),
        commitment=commitment(whole),
        orders_seed=7,
        true_order_sha256="12" * 32,
    )
    path = save(folder, "reshuffle.json", evidence)
    return Case(path, *keys(folder), whole, np.arange(0), scores, None, result, evidence)


def partition_case(folder: Path) -> Case:
    """Return evidence of a text that repeats late examples, two weightings, text shown."""
    whole, rng = transcript(), np.random.default_rng(4)
    late = np.argsort(whole.positions)[-25:]
    text = [whole.rows[i][whole.rows[i] != pv.PAD].tolist() for i in rng.choice(late, 30)]
    options = OPTIONS | {"weightings": ("inverse", "count"), "n_max": 3}
    result = pv.partition_test(whole, text, **options)
    evidence = Evidence.of_partition(
        result, whole, text, suspect="dave", commitment=commitment(whole), options=options
    )
    path = save(folder, "partition.json", evidence)
    return Case(path, *keys(folder), whole, np.arange(len(whole)), text, None, result, evidence)
