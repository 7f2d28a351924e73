"""``query`` and ``plan``: which examples to ask, asking them, and what the answers say."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from provenance.cli.asking import (
    BATCH,
    Asking,
    Floats,
    Rows,
    Sheet,
    growing_sheets,
    one_by_one,
    whole_sheet,
)
from provenance.cli.curve import Curve
from provenance.cli.output import progress_bar
from provenance.cli.scoring import Access, source
from provenance.cli.shape import columns, position_weights
from provenance.cli.signing import Answer, Signing, commitment_of, write
from provenance.errors import BadScores, ProvenanceError, TooFewExamples
from provenance.evidence import Evidence, Selection, SignedEvidence, canonical, explain
from provenance.evidence.recompute import sequential_result
from provenance.evidence.schema import QueryPredicate
from provenance.lineage import Lineage
from provenance.planning import Design, choose_positions, plan_queries
from provenance.query import QueryFamily, query_family
from provenance.ranks import Alternative
from provenance.sequential import SequentialQueryTest
from provenance.store import StoredTranscript, uniform_rows
from provenance.weights import PositionWeights


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
    progress: Path | None = None


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
        asking = Asking(transcript, suspects, references, weights, seen)
        if request.stop is None:
            return _at_once(request, asking)
        return _one_by_one(request, asking, request.stop)


def _at_once(request: QueryRequest, asking: Asking) -> Answer:
    rows, selection = _choose(request, asking)
    options = {
        "alternative": request.alternative,
        "permutations": request.permutations,
        "seed": request.seed,
        "weights": asking.weights,
    }
    curve = Curve(request.progress)
    sheet = _watched(asking, rows, options, curve) if curve.is_wanted else whole_sheet(asking, rows)
    family = _test(asking, sheet, options)
    curve.add(len(rows), min(family.family.adjusted.values()), last=True)
    if request.evidence is not None:
        evidence = Evidence.of_query(
            family,
            asking.transcript,
            rows,
            sheet.scores,
            sheet.reference,
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


def _watched(asking: Asking, rows: Rows, options: dict[str, Any], curve: Curve) -> Sheet:
    """Ask part after part, with the p-value of each but the last; return the whole sheet."""
    for sheet in growing_sheets(asking, rows, options["seed"]):
        if len(sheet.rows) < len(rows):
            with suppress(BadScores, TooFewExamples):  # a part may be constant, the whole not
                so_far = _test(asking, sheet, options | {"resamples": 0})
                curve.add(len(sheet.rows), min(so_far.family.adjusted.values()))
    return sheet


def _test(asking: Asking, sheet: Sheet, options: dict[str, Any]) -> QueryFamily:
    sample = asking.transcript.take(sheet.rows)
    return query_family(sample, sheet.scores, sheet.reference, **options)


def _one_by_one(request: QueryRequest, asking: Asking, level: float) -> Answer:
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
    curve = Curve(request.progress)
    answers = []
    for answer in one_by_one(asking, drawn):
        answers.append(answer)
        test.update(answer.position, answer.score, answer.reference, stratum=answer.stratum)
        if test.reached(level):
            break
        if test.n % BATCH == 0:
            curve.add(test.n, test.p)
    curve.add(test.n, test.p, last=True)
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


def _choose(request: QueryRequest, asking: Asking) -> tuple[Rows, Selection]:
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
