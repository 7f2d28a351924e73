"""``query``, ``partition`` and ``reshuffle``: from files and names to a result and its evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from provenance.cli import ownership
from provenance.cli.inputs import read_examples, read_json
from provenance.cli.output import progress_bar
from provenance.cli.scoring import Access, Asked, Scored, score
from provenance.errors import ProvenanceError
from provenance.evidence import (
    Commitment,
    Evidence,
    Selection,
    Subject,
    canonical,
    commitments,
    explain,
    load_private_key,
)
from provenance.lineage import Lineage, Reference
from provenance.ngrams import NgramIndex
from provenance.partition import partition_test
from provenance.query import query_family
from provenance.ranks import Alternative
from provenance.reshuffle import reshuffle_test
from provenance.store import StoredTranscript

Answer = tuple[list[str], dict[str, Any]]
"""The result in words, and as plain JSON values."""


@dataclass(frozen=True)
class Signing:
    """What evidence needs; no file, no evidence."""

    evidence: Path | None
    key: Path | None
    committed: str | None
    published: str | None


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
    disclose_tokens: bool
    open_seed: bool


@dataclass(frozen=True)
class PartitionRequest(Signing):
    """What the user asked of ``partition``."""

    folder: Path
    text: Path
    name: str | None
    weightings: Sequence[Any]
    n_max: int
    tokenizer: str | None
    permutations: int
    seed: int


@dataclass(frozen=True)
class ReshuffleRequest(Signing):
    """What the user asked of ``reshuffle``."""

    scores: Path
    folder: Path | None


class ReshuffleScores(BaseModel):
    """The JSON file that ``reshuffle`` reads."""

    model_config = ConfigDict(extra="forbid")

    name: str
    sha256: str
    true: float
    reshuffled: list[float]
    seeds: list[int] | None = None
    true_order_sha256: str | None = None
    adapted: bool = False


def run_query(request: QueryRequest) -> Answer:
    """Score, test, sign.

    Raises:
        ProvenanceError: any input that does not fit.
    """
    transcript = StoredTranscript.open(request.folder)
    rows = _rows(transcript, request.n, request.seed)
    asked = Asked(transcript, rows, transcript.take(rows))
    suspects = _all_scores(request, request.suspects, asked)
    reference = _reference(request, asked)
    options = {
        "alternative": request.alternative,
        "permutations": request.permutations,
        "seed": request.seed,
    }
    scores = {scored.subject.name: scored.scores for scored in suspects}
    if len(scores) < len(suspects):
        raise ProvenanceError("two suspects have one name; rename a folder or file")
    family = query_family(asked.sample, scores, reference, **options)  # type: ignore[arg-type]
    if request.evidence is not None:
        evidence = Evidence.of_query(
            family,
            transcript,
            rows,
            scores,
            reference,
            suspect=[scored.subject for scored in suspects],
            commitment=_commitment(request, request.folder, transcript, request.open_seed),
            options=options,
            selection=_selection(transcript, request.n, request.seed),
            disclose_tokens=request.disclose_tokens,
        )
        _write(evidence, request)
    words = []
    for name, result in family.results.items():
        words += [explain.in_words(name, family.family.adjusted[name]), f"  {result.summary()}"]
    data = {
        "results": canonical.plain(family.results),
        "holm": family.family.adjusted,
        "evidence": str(request.evidence) if request.evidence else None,
    }
    return words, data


def run_partition(request: PartitionRequest) -> Answer:
    """Index, match, test, sign.

    Raises:
        ProvenanceError: any input that does not fit.
    """
    stored = StoredTranscript.open(request.folder)
    whole = stored.read()
    text = read_examples(request.text, request.tokenizer)
    index = NgramIndex.build(whole.rows, request.n_max)
    options = {
        "weightings": tuple(request.weightings),
        "n_max": request.n_max,
        "permutations": request.permutations,
        "seed": request.seed,
    }
    result = partition_test(whole, text, index=index, **options)  # type: ignore[arg-type]
    name = request.name or request.text.stem
    if request.evidence is not None:
        evidence = Evidence.of_partition(
            result,
            whole,
            text,
            suspect=name,
            commitment=_commitment(request, request.folder, stored),
            options=options,
            index=index,
        )
        _write(evidence, request)
    words = [explain.in_words(name, result.p), f"  {result.summary()}"]
    return words, {"result": canonical.plain(result), "p": result.p}


def run_reshuffle(request: ReshuffleRequest) -> Answer:
    """Test, sign.

    Raises:
        ProvenanceError: any input that does not fit.
    """
    try:
        given = ReshuffleScores.model_validate(read_json(request.scores))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProvenanceError(f"{request.scores}: {where}: {first['msg']}") from None
    result = reshuffle_test(given.true, given.reshuffled)
    if request.evidence is not None and request.folder is not None:
        stored = StoredTranscript.open(request.folder)
        evidence = Evidence.of_reshuffle(
            result,
            given.true,
            given.reshuffled,
            suspect=Subject(name=given.name, sha256=given.sha256, what="text"),
            commitment=_commitment(request, request.folder, stored),
            order_seeds=given.seeds,
            true_order_sha256=given.true_order_sha256,
            adapted=given.adapted,
        )
        _write(evidence, request)
    words = [explain.in_words(given.name, result.p), f"  {result.summary()}"]
    return words, {"result": canonical.plain(result), "p": result.p}


def _rows(transcript: StoredTranscript, n: int | None, seed: int) -> NDArray[np.int64]:
    return np.arange(len(transcript)) if n is None else transcript.sample_rows(n, seed)


def _selection(transcript: StoredTranscript, n: int | None, seed: int) -> Selection:
    if n is None:
        return Selection(method="all", n=len(transcript))
    # Only with a manifest are rows numbered as the leaves are, so that anyone can draw them again.
    if transcript.manifest is None:
        return Selection(method="stated", n=n)
    return Selection(method="uniform", n=n, seed=seed)


def _all_scores(request: QueryRequest, sources: Sequence[str], asked: Asked) -> list[Scored]:
    folder = request.folder
    cache = folder.with_name(folder.name + ".answers")
    access = Access(request.model_name, request.tokenizer, cache)
    scored = []
    for source in sources:
        with progress_bar(f"Scoring {source}") as progress:
            scored.append(score(source, asked, access, progress))
    return scored


def _reference(request: QueryRequest, asked: Asked) -> Reference | None:
    if not request.references:
        return None
    scored = _all_scores(request, request.references, asked)
    mean = np.mean([s.scores for s in scored], axis=0)
    name = " + ".join(s.subject.name for s in scored)
    return Reference(mean, Lineage(frozenset(request.seen)), name)


def _commitment(
    request: Signing, folder: Path, transcript: StoredTranscript, open_seed: bool = False
) -> Commitment:
    opened = ownership.opened(folder, transcript)
    kept = opened if open_seed else commitments.sealed(opened)
    return ownership.published_at(kept, request.committed, request.published)


def _write(evidence: Evidence, request: Signing) -> None:
    if request.evidence is not None and request.key is not None:
        evidence.sign(load_private_key(request.key)).save(request.evidence)
