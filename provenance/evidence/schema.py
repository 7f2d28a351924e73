"""What stands in evidence: strict models, one predicate a kind of test; unknown fields refused."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_PREFIX = "urn:stemma:provenance:"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

Kind = Literal["query", "sequential", "partition", "reshuffle"]
Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    """Base of all models: frozen, no field but those declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Subject(Strict):
    """Who is suspected.

    Attributes:
        name: shown in reports.
        sha256: of the model's weights, of the text's token ids, or of the end point's identity.
        what: which of the three.
    """

    name: Annotated[str, StringConstraints(min_length=1)]
    sha256: Hex32
    what: Literal["model", "text", "endpoint", "scores"] = "model"


class Commitment(Strict):
    """What Alice published before training, and what she has opened of it since.

    Attributes:
        root: Merkle root of the transcript, hex.
        size: number of examples of the transcript; a root alone does not fix it.
        time: when it was published, ISO 8601, as the signer says.
        value: the published hash, if it hid the root: see ``Transcript.commitment``.
        nonce: hex; opens ``value``.
        seed_commitment: published hash of the seed from which the order was drawn.
        seed_nonce: hex; with ``seed`` opens ``seed_commitment``.
        seed: of the order, if opened.
        published_at: where to look it up.
    """

    root: Hex32
    size: Count
    time: str
    value: Hex32 | None = None
    nonce: str | None = None
    seed_commitment: Hex32 | None = None
    seed_nonce: str | None = None
    seed: int | None = None
    published_at: str | None = None


class Selection(Strict):
    """How the examples were chosen: a seeded choice can be made again by anyone.

    Attributes:
        method: ``uniform``; ``all``; ``extreme`` of ``provenance.planning``; or ``stated``, which
            nobody can repeat.
        n: how many were chosen.
        seed: of the choice.
    """

    method: Literal["uniform", "all", "extreme", "stated"]
    n: Count
    seed: Count | None = None


class Examples(Strict):
    """Examples shown, in canonical order (stratum, position, token digest): columns.

    Attributes:
        index: place of each leaf in the transcript's Merkle tree.
        stratum: stratum of each.
        position: training position of each.
        tokens_sha256: digest of the token ids of each.
        size: number of leaves of the whole tree.
        nodes: the nodes that complete the tree, each once, from left to right, hex.
        tokens: the token ids themselves, if disclosed.
    """

    index: list[Count]
    stratum: list[int]
    position: list[int]
    tokens_sha256: list[Hex32]
    size: Count
    nodes: list[Hex32]
    tokens: list[list[int]] | None = None


class Model(Strict):
    """A reference model: its scores and the transcripts that it is declared to have seen."""

    name: str
    scores: list[Finite]
    lineage: list[Hex32]


class Weights(Strict):
    """Weights of the positions, fixed by a schedule or a twin: a function given by its points.

    Attributes:
        points: positions, increasing.
        values: weight at each.
        source: what they were made from.
        lineage: transcripts whose order they are declared to depend on.
    """

    points: list[Finite]
    values: list[Finite]
    source: str
    lineage: list[Hex32]


class Suspect(Strict):
    """One suspect's scores and what the test said of them."""

    subject: Subject
    scores: list[Finite]
    result: dict[str, Any]


class Software(Strict):
    """What computed the result: stated by the signer, compared with the verifier's own."""

    version: str
    sources_sha256: Hex32
    python: str
    numpy: str
    scipy: str
    platform: str


class Predicate(Strict):
    """What every kind of evidence holds.

    Attributes:
        commitment: the transcript's.
        software: that computed the result.
        signer: raw ed25519 public key, hex, of whoever signs; empty until signed.
        time: when the evidence was made, ISO 8601.
    """

    commitment: Commitment
    software: Software
    signer: str = ""
    time: str


class QueryPredicate(Predicate):
    """Evidence of a query test of one suspect or a family."""

    examples: Examples
    selection: Selection
    suspects: list[Suspect]
    reference: Model | None
    covariates: list[Model] | None
    weights: Weights | None
    options: dict[str, Any]
    holm: dict[str, Finite]


class SequentialPredicate(Predicate):
    """Evidence of an anytime-valid query test of one suspect.

    Attributes:
        examples: those asked.
        asked: their numbers in ``examples`` in the order of asking.
        selection: the draw whose first examples were asked.
        suspect: subject, scores and result.
        reference: whose scores were subtracted.
        weights: of the positions.
        options: of ``SequentialQueryTest``.
    """

    examples: Examples
    asked: list[Count]
    selection: Selection
    suspect: Suspect
    reference: Model | None
    weights: Weights | None
    options: dict[str, Any]


class PartitionPredicate(Predicate):
    """Evidence of a partition test: what each example of the whole transcript counted.

    Attributes:
        examples: all of them.
        subject: the text.
        text: its token ids, if disclosed: with the transcript they let the counts be made again.
        n_tokens: number of its tokens.
        counts: ``overlap`` of the text with each example, by weighting.
        n_min: shortest n-gram that counted.
        n_max: longest n-gram looked for.
        options: of ``counts_test``.
        result: tests and adjusted p-values, by weighting.
    """

    examples: Examples
    subject: Subject
    text: list[list[int]] | None
    n_tokens: Count
    counts: dict[str, list[Finite]]
    n_min: Count
    n_max: Count
    options: dict[str, Any]
    result: dict[str, Any]


class ReshufflePredicate(Predicate):
    """Evidence of a reshuffle test.

    Attributes:
        subject: the text.
        true_score: its score under the re-run in the true order.
        reshuffled_scores: its scores under the m re-runs in other orders.
        orders_seed: from which ``reshuffled_orders`` drew them.
        true_order_sha256: digest of the true order of the phase.
        adapted: whether every re-run was first trained on the text.
        result: of the test.
    """

    subject: Subject
    true_score: Finite
    reshuffled_scores: list[Finite]
    orders_seed: Count | None
    true_order_sha256: Hex32 | None
    adapted: bool
    result: dict[str, Any]


PREDICATES: dict[str, type[Predicate]] = {
    "query": QueryPredicate,
    "sequential": SequentialPredicate,
    "partition": PartitionPredicate,
    "reshuffle": ReshufflePredicate,
}


def predicate_type(kind: Kind) -> str:
    """Return the predicate type of a kind of evidence: a URN that claims no host."""
    return f"{PREDICATE_PREFIX}{kind}:v1"
