"""``query`` and ``plan``: which examples to ask, asking them, and what the answers say."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenance.cli.output import progress_bar
from provenance.cli.scoring import Access, Source, source
from provenance.cli.shape import columns, position_weights
from provenance.cli.signing import Answer, Signing, commitment_of, write
from provenance.errors import ProvenanceError
from provenance.evidence import Evidence, Selection, SignedEvidence, canonical, explain
from provenance.evidence.recompute import sequential_result
from provenance.evidence.schema import QueryPredicate
from provenance.lineage import Lineage, Reference
from provenance.planning import Design, choose_positions, plan_queries
from provenance.query import query_family
from provenance.ranks import Alternative
from provenance.sequential import SequentialQueryTest
from provenance.store import StoredTranscript, uniform_rows
from provenance.weights import PositionWeights

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

BATCH = 8
"""Examples that the anytime-valid test asks at once; at most 7 are asked and not needed."""


@dataclass(frozen=True)
class QueryRequest(Signing):
    """What the user asked of ``query``."""

    folder: Path
    suspects: Sequence[str]
    references: Sequence[str]
    seen: Sequence[str]
    n: int | None
    model_name: str | None
    tokenizer: str | None
    alternative: Alternative
    permutations: int
    seed: int
    weights: str | None
    design: Design
    leave_out: Path | None
    stop: float | None
    disclose_tokens: bool
    open_seed: bool


@dataclass(frozen=True)
class _Asking:
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


def run_query(request: QueryRequest) -> Answer:
    """Score, test, sign.

    Raises:
        ProvenanceError: any input that does not fit.
    """
    transcript = StoredTranscript.open(request.folder)
    seen = Lineage(frozenset(request.seen))
    weights = _weights(request.weights, seen, transcript)
    cache = request.folder.with_name(request.folder.name + ".answers")
    access = Access(request.model_name, request.tokenizer, cache)
    with ExitStack() as stack:
        update = stack.enter_context(progress_bar("Scoring"))
        suspects, references = (
            [stack.enter_context(source(name, transcript, access, update)) for name in names]
            for names in (request.suspects, request.references)
        )
        asking = _Asking(transcript, suspects, references, weights, seen)
        if request.stop is None:
            return _at_once(request, asking)
        return _one_by_one(request, asking, request.stop)


def _at_once(request: QueryRequest, asking: _Asking) -> Answer:
    rows, selection = _choose(request, asking)
    options = {
        "alternative": request.alternative,
        "permutations": request.permutations,
        "seed": request.seed,
        "weights": asking.weights,
    }
    scores = {suspect.subject.name: suspect.ask(rows) for suspect in asking.suspects}
    if len(scores) < len(asking.suspects):
        raise ProvenanceError("two suspects have one name; rename a folder or file")
    reference = asking.reference(rows)
    family = query_family(asking.transcript.take(rows), scores, reference, **options)  # type: ignore[arg-type]
    if request.evidence is not None:
        evidence = Evidence.of_query(
            family,
            asking.transcript,
            rows,
            scores,
            reference,
            suspect=[suspect.subject for suspect in asking.suspects],
            commitment=commitment_of(request, request.folder, asking.transcript, request.open_seed),
            options=options,
            selection=selection,
            disclose_tokens=request.disclose_tokens,
        )
        write(evidence, request)
    words = []
    for name, result in family.results.items():
        words += [explain.in_words(name, family.family.adjusted[name]), f"  {result.summary()}"]
    return words, {"results": canonical.plain(family.results), "holm": family.family.adjusted}


def _one_by_one(request: QueryRequest, asking: _Asking, level: float) -> Answer:
    """Ask in random order until the evidence reaches the level, or the examples end."""
    if len(asking.suspects) != 1 or request.design != "random" or request.leave_out:
        raise ProvenanceError(
            "--stop asks one suspect in random order: no second one, no --design, no --leave-out"
        )
    whole, subject = asking.transcript, asking.suspects[0].subject
    most = request.n or len(whole)
    if most > len(whole):
        raise ProvenanceError(f"cannot draw {most} of {len(whole)} rows")
    drawn = uniform_rows(len(whole), most, request.seed)
    test = SequentialQueryTest.of(
        _order(whole)[0], asking.weights, alternative=request.alternative, seed=request.seed
    )
    answers = []
    for answer in _answers(asking, drawn):
        answers.append(answer)
        test.update(answer.position, answer.score, answer.reference, stratum=answer.stratum)
        if test.reached(level):
            break
    if request.evidence is not None:
        against = np.array([answer.reference for answer in answers])
        evidence = Evidence.of_sequential(
            test,
            whole,
            drawn[: test.n],
            [answer.score for answer in answers],
            asking.named(against) if asking.references else None,
            suspect=subject,
            commitment=commitment_of(request, request.folder, whole, request.open_seed),
            selection=_drawn(whole, most, request.seed, test.n),
            disclose_tokens=request.disclose_tokens,
        )
        write(evidence, request)
    reached = "reached" if test.reached(level) else "not reached"
    words = [
        explain.in_words(subject.name, test.p),
        f"  {test.summary()}; the level {level:g} was {reached}",
    ]
    return words, {"result": sequential_result(test), "reached": test.reached(level)}


class _Answer(NamedTuple):
    """What is known of one example asked."""

    position: float
    stratum: int
    score: float
    reference: float


def _answers(asking: _Asking, rows: Rows) -> Iterator[_Answer]:
    """Ask suspect and references, a batch at a time and only as far as answers are taken."""
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        sample, reference = asking.transcript.take(batch), asking.reference(batch)
        if reference is not None:
            reference.require_untainted(sample)
        known = np.zeros(len(batch)) if reference is None else reference.scores
        given = (sample.positions, sample.strata, asking.suspects[0].ask(batch), known)
        for position, stratum, score, base in zip(*given, strict=True):
            yield _Answer(float(position), int(stratum), float(score), float(base))


def _choose(request: QueryRequest, asking: _Asking) -> tuple[Rows, Selection]:
    transcript, n, seed, pilot = asking.transcript, request.n, request.seed, request.leave_out
    if n is None and pilot is None:
        return np.arange(len(transcript)), Selection(method="all", n=len(transcript))
    if request.design == "random" and n is not None and pilot is None:
        return transcript.sample_rows(n, seed), _drawn(transcript, n, seed, n)
    asked = _rows_of_pilot(pilot, transcript) if pilot else np.array([], np.int64)
    positions, strata = _order(transcript)
    n = n or len(transcript) - len(asked)
    rows = choose_positions(
        positions,
        n,
        asking.weights,
        design=request.design,
        strata=strata,
        leave_out=asked,
        seed=seed,
    )
    if transcript.manifest is None or pilot is not None:
        return rows, Selection(method="stated", n=n)
    return rows, Selection(method="extreme", n=n, seed=seed)


def _rows_of_pilot(path: Path, transcript: StoredTranscript) -> Rows:
    if transcript.manifest is None:
        raise ProvenanceError(
            "--leave-out needs a transcript with a manifest: import it with"
            " `stemma provenance record --published-layout`"
        )
    return np.array(_pilot_predicate(path, transcript).examples.index)


def _drawn(transcript: StoredTranscript, n: int, seed: int, asked: int) -> Selection:
    # Only with a manifest are rows numbered as the leaves are, so that anyone can draw them again.
    if transcript.manifest is None:
        return Selection(method="stated", n=asked)
    return Selection(method="uniform", n=n, seed=seed)


def _order(transcript: StoredTranscript) -> tuple[Rows, Rows]:
    """Return positions and strata of all rows; their tokens are held a batch at a time."""
    parts = [(batch.positions, batch.strata) for batch in transcript.batches()]
    positions, strata = (np.concatenate(column) for column in zip(*parts, strict=True))
    return positions, strata


def _weights(
    name: str | None, seen: Lineage, transcript: StoredTranscript
) -> PositionWeights | None:
    if name is None:
        return None
    weights = position_weights(name, seen)
    weights.require_untainted(transcript)
    return weights


@dataclass(frozen=True)
class PlanRequest:
    """What the user asked of ``plan``."""

    pilot: Path
    folder: Path
    p: float
    power: float
    design: Design
    weights: str | None
    seen: Sequence[str]


def run_plan(request: PlanRequest) -> Answer:
    """Plan the number of queries from a pilot.

    Raises:
        ProvenanceError: any input that does not fit.
    """
    transcript = StoredTranscript.open(request.folder)
    weights = _weights(request.weights, Lineage(frozenset(request.seen)), transcript)
    positions, scores = _pilot(request.pilot, transcript)
    plan = plan_queries(
        positions,
        scores,
        _order(transcript)[0],
        weights,
        alpha=request.p,
        power=request.power,
        design=request.design,
    )
    words = [
        plan.summary(),
        "  leave the pilot's examples out (--leave-out), or use --stop, which may count them",
    ]
    return words, canonical.plain(plan)


def _pilot(path: Path, transcript: StoredTranscript) -> tuple[Floats, Floats]:
    """Read a pilot: evidence of a query test, or a table of positions and scores.

    The scores of a reference are subtracted.

    Raises:
        ProvenanceError: neither of the two, or evidence about another transcript.
    """
    if path.suffix == ".parquet":
        return columns(path, ("position", "score"))
    predicate = _pilot_predicate(path, transcript)
    asked = np.array(predicate.suspects[0].scores)
    if predicate.reference is not None:
        asked = asked - np.array(predicate.reference.scores)
    return np.array(predicate.examples.position, dtype=float), asked


def _pilot_predicate(path: Path, transcript: StoredTranscript) -> QueryPredicate:
    predicate = SignedEvidence.load(path).read()[1]
    if not isinstance(predicate, QueryPredicate) or len(predicate.suspects) != 1:
        raise ProvenanceError(f"{path}: a pilot is evidence of a query test of one suspect")
    if predicate.commitment.root != transcript.digest:
        raise ProvenanceError(f"{path} is about another transcript")
    return predicate
