"""Asking suspects and references: all rows, part after part, or only as far as is needed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenance.cli.scoring import Source
from provenance.errors import ProvenanceError
from provenance.lineage import Lineage, Reference
from provenance.store import StoredTranscript
from provenance.weights import PositionWeights

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

BATCH = 8
"""Examples that the anytime-valid test asks at once; at most 7 are asked and not needed."""

_FIRST_PART = 32


@dataclass(frozen=True)
class Asking:
    """The transcript, the sources to ask and the weights of its positions."""

    transcript: StoredTranscript
    suspects: list[Source]
    references: list[Source]
    weights: PositionWeights | None
    seen: Lineage

    def reference(self, rows: Rows) -> Reference | None:
        """Return the mean scores of all references, or None if there is none."""
        if not self.references:
            return None
        return self.named(np.mean([r.ask(rows) for r in self.references], axis=0))

    def named(self, mean: Floats) -> Reference:
        """Return mean scores of the references as one reference."""
        return Reference(mean, self.seen, " + ".join(r.subject.name for r in self.references))


class Sheet(NamedTuple):
    """Scores of the same rows by all suspects and the references."""

    rows: Rows
    scores: dict[str, Floats]
    reference: Reference | None


def whole_sheet(asking: Asking, rows: Rows) -> Sheet:
    """Ask for all rows at once.

    Raises:
        ProvenanceError: two suspects have one name, or one gives no score.
    """
    scores = {suspect.subject.name: suspect.ask(rows) for suspect in asking.suspects}
    if len(scores) < len(asking.suspects):
        raise ProvenanceError("two suspects have one name; rename a folder or file")
    return Sheet(rows, scores, asking.reference(rows))


def growing_sheets(asking: Asking, rows: Rows, seed: int) -> Iterator[Sheet]:
    """Ask in random order, and yield what is known after each part; the last sheet is whole.

    Each part is half as large as all before it, so that a test of every sheet costs no more than
    three tests of the last. The rows of a sheet stand in the order of ``rows``.

    Raises:
        ProvenanceError: as ``whole_sheet``.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    names = [suspect.subject.name for suspect in asking.suspects]
    table, means = np.empty((len(rows), len(names))), np.empty(len(rows))
    asked = 0
    while asked < len(rows):
        part = order[asked : asked + max(_FIRST_PART, asked // 2)]
        given = whole_sheet(asking, rows[part])
        table[part] = np.column_stack([given.scores[name] for name in names])
        if given.reference is not None:
            means[part] = given.reference.scores
        asked += len(part)
        known = np.sort(order[:asked])
        scores = {name: table[known, column] for column, name in enumerate(names)}
        yield Sheet(rows[known], scores, asking.named(means[known]) if given.reference else None)


class Answer(NamedTuple):
    """What is known of one example asked."""

    position: float
    stratum: int
    score: float
    reference: float


def one_by_one(asking: Asking, rows: Rows) -> Iterator[Answer]:
    """Ask suspect and references, a batch at a time and only as far as answers are taken."""
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        sample, reference = asking.transcript.take(batch), asking.reference(batch)
        if reference is not None:
            reference.require_untainted(sample)
        known = np.zeros(len(batch)) if reference is None else reference.scores
        given = (sample.positions, sample.strata, asking.suspects[0].ask(batch), known)
        for position, stratum, score, base in zip(*given, strict=True):
            yield Answer(float(position), int(stratum), float(score), float(base))
