"""From what the user calls a suspect or a reference to scores of the examples asked."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provenance.cli.inputs import load_tokenizer, rows_without_padding
from provenance.errors import BadScores
from provenance.evidence import Subject, subject_of_endpoint, subject_of_path
from provenance.evidence.canonical import sha256_of
from provenance.scorers import column_scores, sequence_scores
from provenance.store import StoredTranscript
from provenance.transcript import Transcript

COLUMN = "column:"
TOKEN = "OPENAI_API_KEY"
"""Environment variable that holds the bearer token of an end point."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Scored:
    """Scores of the examples asked, shape (n,), and whose they are."""

    subject: Subject
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """The examples asked: of which transcript, which rows, and their token ids."""

    transcript: StoredTranscript
    rows: NDArray[np.int64]
    sample: Transcript


@dataclass(frozen=True)
class Access:
    """How to reach an end point.

    Attributes:
        model: name by which it knows its model.
        tokenizer: of the transcript: folder, hub id or ``tokenizer.json``.
        cache: folder that keeps its answers, so that nothing is asked twice.
    """

    model: str | None
    tokenizer: str | None
    cache: Path


def score(source: str, asked: Asked, access: Access, progress: Progress) -> Scored:
    """Score examples.

    Args:
        source: ``column:NAME`` of the transcript's own files (losses), a parquet file with
            columns ``row`` and ``score``, an end point's address (http...), or a model's
            folder, GGUF file or hub id.
        asked: the examples.
        access: for end points.
        progress: called with rows done and all rows.

    Raises:
        ProvenanceError: no such source, or scores that are missing or not finite.
    """
    if source.startswith(COLUMN):
        return _column(source.removeprefix(COLUMN), asked)
    if source.startswith(("http://", "https://")):
        return _endpoint(source, asked, access, progress)
    if source.endswith(".parquet"):
        return _table(Path(source), asked)
    return _model(source, asked, progress)


def _column(name: str, asked: Asked) -> Scored:
    values = asked.transcript.columns([name], asked.rows)[name]
    digest = sha256_of({"column": name, "transcript": asked.transcript.digest})
    return Scored(Subject(name=name, sha256=digest, what="scores"), column_scores(values))


def _table(path: Path, asked: Asked) -> Scored:
    import pandas as pd
    import pyarrow as pa

    try:
        table = pd.read_parquet(path, columns=["row", "score"])
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
        raise BadScores(f"{path}: needs columns `row` and `score` ({error})") from None
    if table["row"].duplicated().any():
        raise BadScores(f"{path}: the same row has several scores; keep one each")
    scores = table.set_index("row")["score"].reindex(asked.rows).to_numpy(float)
    if missing := int(np.isnan(scores).sum()):
        raise BadScores(f"{path}: {missing} of the {len(scores)} rows asked have no score in it")
    return Scored(subject_of_path(path.stem, path), scores)


def _endpoint(url: str, asked: Asked, access: Access, progress: Progress) -> Scored:
    from provenance.scorers import CompletionsScorer, Endpoint

    if access.model is None or access.tokenizer is None:
        raise BadScores(f"{url} is an end point: give --model-name and the --tokenizer of the ids")
    endpoint = Endpoint(url, access.model, cache=access.cache, token=os.environ.get(TOKEN))
    try:
        scorer = CompletionsScorer(endpoint, load_tokenizer(access.tokenizer), progress=progress)
        scores = sequence_scores(scorer.log_probs(rows_without_padding(asked.sample)))
    finally:
        endpoint.close()
    return Scored(subject_of_endpoint(access.model, url, access.model), scores)


def _model(source: str, asked: Asked, progress: Progress) -> Scored:
    from provenance.scorers import TransformersScorer

    scorer = TransformersScorer.load(source, progress=progress)
    scores = sequence_scores(scorer.log_probs(rows_without_padding(asked.sample)))
    path = Path(source)
    if path.exists():
        named = subject_of_path(path.stem, path).model_copy(update={"what": "model"})
        return Scored(named, scores)
    # A hub id names no weights: the digest of those that were loaded does.
    from provenance.scorers.local import model_digest

    return Scored(Subject(name=source, sha256=model_digest(scorer._model), what="model"), scores)
