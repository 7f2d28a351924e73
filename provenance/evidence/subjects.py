"""Who is suspected, by content: a model's weights, a text's tokens, an end point's identity."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from provenance.errors import BadEvidence
from provenance.evidence import canonical
from provenance.evidence.schema import Subject
from provenance.transcript import PAD


def subject_of_tokens(name: str, rows: Sequence[Sequence[int]]) -> Subject:
    """Return a text as subject: the digest of its token ids, texts one after the other."""
    return Subject(name=name, sha256=text_digest(rows), what="text")


def text_digest(rows: Sequence[Sequence[int]]) -> str:
    """Return the hex sha256 of the canonical JSON of texts as lists of token ids."""
    return canonical.sha256_of([[int(t) for t in row if t != PAD] for row in rows])


def subject_of_endpoint(name: str, url: str, model: str) -> Subject:
    """Return an end point as subject: the digest of its address and the name of its model."""
    return Subject(
        name=name, sha256=canonical.sha256_of({"model": model, "url": url}), what="endpoint"
    )


def subject_of_path(name: str, path: str | Path) -> Subject:
    """Return a model's folder (every weight file), or a file, as subject.

    Raises:
        BadEvidence: nothing there, or a folder without weights.
    """
    place = Path(path)
    if place.is_file():
        return Subject(name=name, sha256=_file_digest(place), what="scores")
    suffixes = {".safetensors", ".bin", ".pt", ".gguf"}
    files = sorted(f for f in place.glob("*") if f.suffix in suffixes)
    if not files:
        raise BadEvidence(f"{place}: no weights (.safetensors, .bin, .pt, .gguf) to identify it by")
    digests = {file.name: _file_digest(file) for file in files}
    return Subject(name=name, sha256=canonical.sha256_of(digests), what="model")


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
