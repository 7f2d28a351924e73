"""Which transcripts a model has seen, so that no tainted reference enters a test."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance.errors import TaintedReference


class Ordered(Protocol):
    """A transcript, in memory (``Transcript``) or on disk (``StoredTranscript``)."""

    @property
    def digest(self) -> str:
        """Hex Merkle root of its rows."""
        ...

    @property
    def digests(self) -> frozenset[str]:
        """Digests by which a lineage may know the order."""
        ...


@dataclass(frozen=True)
class Lineage:
    """The digests of all transcripts that a model, or an ancestor of it, was trained on."""

    digests: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *transcripts: Ordered) -> "Lineage":
        """Return the lineage of a model trained on ``transcripts``."""
        return cls(frozenset(t.digest for t in transcripts))

    def __or__(self, other: "Lineage") -> "Lineage":
        """Return the lineage of a model that descends from both (fine-tune, merge, student)."""
        return Lineage(self.digests | other.digests)

    def has_seen(self, transcript: Ordered) -> bool:
        """Say whether a model of this lineage depends on the order of ``transcript``."""
        return bool(transcript.digests & self.digests)


@dataclass(frozen=True)
class Reference:
    """Scores of a reference model together with what that model has seen.

    Attributes:
        scores: log-likelihood of every example, shape (n,).
        lineage: declared by whoever trained the reference; empty says "independent of every
            transcript under test".
        name: shown in results.
    """

    scores: NDArray[np.float64]
    lineage: Lineage = field(default_factory=Lineage)
    name: str = "reference"

    @classmethod
    def from_scores(
        cls, scores: ArrayLike, lineage: Lineage | None = None, name: str = "reference"
    ) -> "Reference":
        """Build a reference from anything array-like."""
        return cls(np.asarray(scores, dtype=float), lineage or Lineage(), name)

    def require_untainted(self, transcript: Ordered) -> None:
        """Raise TaintedReference if the reference depends on the order under test."""
        if self.lineage.has_seen(transcript):
            raise TaintedReference(
                f"`{self.name}` was itself trained on transcript {transcript.digest[:12]}: an"
                " innocent suspect would look guilty; use a model trained in another order"
            )
