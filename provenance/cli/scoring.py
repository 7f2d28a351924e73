"""From what the user calls a suspect or a reference to scores of the examples asked."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provenance.cli.inputs import load_tokenizer, rows_without_padding
from provenance.errors import BadScores
from provenance.evidence import Subject, subject_of_endpoint, subject_of_path
from provenance.evidence.canonical import sha256_of
from provenance.scorers import Scorer, column_scores, sequence_scores
from provenance.store import StoredTranscript

COLUMN = "column:"
TOKEN = "OPENAI_API_KEY"
"""Environment variable that holds the bearer token of an end point."""

Progress = Callable[[int, int], None]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """A suspect or a reference, ready to be asked.

    Attributes:
        subject: who it is.
        ask: from row numbers of the transcript, shape (n,), to scores, shape (n,).
    """

    subject: Subject
    ask: Callable[[Rows], NDArray[np.float64]]


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


@contextmanager
def source(
    name: str, transcript: StoredTranscript, access: Access, progress: Progress
) -> Iterator[Source]:
    """Open what the user calls a suspect or a reference.

    Args:
        name: ``column:NAME`` of the transcript's own files (losses), a parquet file with columns
            ``row`` and ``score``, an end point's address (http...), or a model's folder, GGUF
            file or hub id.
        transcript: whose rows will be asked.
        access: for end points.
        progress: called with rows done and all rows.

    Raises:
        ProvenanceError: no such source; ``ask`` raises it for scores that are missing.
    """
    if name.startswith(COLUMN):
        yield _column(name.removeprefix(COLUMN), transcript)
    elif name.startswith(("http://", "https://")):
        with _endpoint(name, transcript, access, progress) as opened:
            yield opened
    elif name.endswith(".parquet"):
        yield _table(Path(name))
    else:
        yield _model(name, transcript, progress)


def _column(name: str, transcript: StoredTranscript) -> Source:
    digest = sha256_of({"column": name, "transcript": transcript.digest})
    subject = Subject(name=name, sha256=digest, what="scores")
    return Source(subject, lambda rows: column_scores(transcript.columns([name], rows)[name]))


def _table(path: Path) -> Source:
    import pandas as pd
    import pyarrow as pa

    try:
        table = pd.read_parquet(path, columns=["row", "score"])
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
        raise BadScores(f"{path}: needs columns `row` and `score` ({error})") from None
    if table["row"].duplicated().any():
        raise BadScores(f"{path}: the same row has several scores; keep one each")
    by_row = table.set_index("row")["score"]

    def ask(rows: Rows) -> NDArray[np.float64]:
        scores = by_row.reindex(rows).to_numpy(float)
        if missing := int(np.isnan(scores).sum()):
            raise BadScores(f"{path}: {missing} of the {len(scores)} rows asked have no score")
        return np.asarray(scores, dtype=float)

    return Source(subject_of_path(path.stem, path), ask)


@contextmanager
def _endpoint(
    url: str, transcript: StoredTranscript, access: Access, progress: Progress
) -> Iterator[Source]:
    from provenance.scorers import CompletionsScorer, Endpoint

    if access.model is None or access.tokenizer is None:
        raise BadScores(f"{url} is an end point: give --model-name and the --tokenizer of the ids")
    tokenizer = load_tokenizer(access.tokenizer)
    endpoint = Endpoint(url, access.model, cache=access.cache, token=os.environ.get(TOKEN))
    try:
        scorer = CompletionsScorer(endpoint, tokenizer, progress=progress)
        subject = subject_of_endpoint(access.model, url, access.model)
        yield Source(subject, _asks(scorer, transcript))
    finally:
        endpoint.close()


def _model(name: str, transcript: StoredTranscript, progress: Progress) -> Source:
    from provenance.scorers import TransformersScorer

    scorer = TransformersScorer.load(name, progress=progress)
    path = Path(name)
    if path.exists():
        subject = subject_of_path(path.stem, path).model_copy(update={"what": "model"})
    else:
        # A hub id names no weights: the digest of those that were loaded does.
        subject = Subject(name=name, sha256=scorer.digest, what="model")
    return Source(subject, _asks(scorer, transcript))


def _asks(scorer: Scorer, transcript: StoredTranscript) -> Callable[[Rows], NDArray[np.float64]]:
    return lambda rows: sequence_scores(
        scorer.log_probs(rows_without_padding(transcript.take(rows)))
    )
