"""The parts that evidence is put together from: examples with proof, scores, weights, options."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance.errors import BadEvidence, BadScores
from provenance.evidence.inclusion import shared_nodes
from provenance.evidence.schema import Commitment, Examples, Model, Weights
from provenance.lineage import Reference
from provenance.transcript import PAD, Proof, Transcript
from provenance.weights import PositionWeights


class Provable(Protocol):
    """A whole transcript, in memory or stored: knows its root and proves its rows."""

    @property
    def digest(self) -> str:
        """Hex Merkle root."""
        ...

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def take(self, index: NDArray[np.int64], /) -> Transcript:
        """Return the given rows."""
        ...

    def prove(self, rows: NDArray[np.int64], /) -> list[Proof]:
        """Return an inclusion proof a row."""
        ...


def defaults_of(test: Callable[..., object], leave_out: frozenset[str]) -> dict[str, Any]:
    """Return a test's keyword arguments with their defaults: evidence holds all of them."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(test).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in leave_out
    }


def show(
    transcript: Provable, rows: NDArray[np.int64], disclose_tokens: bool = False
) -> tuple[Examples, NDArray[np.int64]]:
    """Return the examples of some rows with their proof, and the order that sorts the rows.

    Raises:
        BadEvidence: a row twice.
    """
    proofs = transcript.prove(rows)
    order = np.argsort([proof.index for proof in proofs])
    ranked = [proofs[i] for i in order]
    nodes = shared_nodes(ranked)
    tokens = None
    if disclose_tokens:
        tokens = [row[row != PAD].tolist() for row in transcript.take(rows[order]).rows]
    examples = Examples(
        index=[p.index for p in ranked],
        stratum=[p.stratum for p in ranked],
        position=[p.position for p in ranked],
        tokens_sha256=[p.token_digest.hex() for p in ranked],
        size=len(transcript),
        nodes=[node.hex() for node in nodes],
        tokens=tokens,
    )
    return examples, order


def column(scores: ArrayLike, order: NDArray[np.int64]) -> list[float]:
    """Return scores in the order of the examples shown.

    Raises:
        BadScores: not one score a row.
    """
    values = np.asarray(scores, dtype=float)
    if values.shape != order.shape:
        raise BadScores(f"{len(order)} rows but scores of shape {values.shape}")
    return [float(v) for v in values[order]]


def reference_model(reference: Reference | None, order: NDArray[np.int64]) -> Model | None:
    """Return a reference as evidence holds it."""
    if reference is None:
        return None
    return Model(
        name=reference.name,
        scores=column(reference.scores, order),
        lineage=sorted(reference.lineage.digests),
    )


def covariate_models(
    covariates: Sequence[Reference] | None, order: NDArray[np.int64]
) -> list[Model] | None:
    """Return covariates as evidence holds them."""
    if covariates is None:
        return None
    return [model for c in covariates if (model := reference_model(c, order)) is not None]


def weights_model(weights: PositionWeights | None) -> Weights | None:
    """Return weights as evidence holds them."""
    if weights is None:
        return None
    return Weights(
        points=weights.points.tolist(),
        values=weights.values.tolist(),
        source=weights.source,
        lineage=sorted(weights.lineage.digests),
    )


def checked_commitment(commitment: Commitment | None, transcript: Provable) -> Commitment:
    """Return the commitment, or one that was not published, for a transcript.

    Raises:
        BadEvidence: it is to another transcript.
    """
    root, size = transcript.digest, len(transcript)
    made = commitment or Commitment(root=root, size=size, time="not published")
    if (made.root, made.size) != (root, size):
        raise BadEvidence(
            f"the commitment is to {made.size} examples under root {made.root[:12]}, the"
            f" transcript has {size} under {root[:12]}"
        )
    return made
