"""The manifest of a stored transcript: what it holds, and the hashes of its files."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from provenance import merkle
from provenance.errors import BadTranscript

MANIFEST, ROOTS = "manifest.json", "roots.npy"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenizerIdentity(_Strict):
    """Which tokenizer made the token ids.

    Attributes:
        name: shown in results.
        sha256: of its serialized form.
    """

    name: str
    sha256: str


class Part(_Strict):
    """One parquet file: name, rows, bytes, SHA-256, and root of its subtree (hex)."""

    file: str
    rows: int
    bytes: int
    sha256: str
    root: str


class Manifest(_Strict):
    """What a stored transcript holds.

    Attributes:
        format: version of the layout.
        tokenizer: of the token ids, if known.
        rows: number of examples.
        tokens: number of token ids.
        strata: number of examples of each stratum.
        rows_per_group: rows of a row group, a power of two.
        root: Merkle root over all examples, hex: the transcript's digest.
        roots_sha256: SHA-256 of ``roots.npy``.
        parts: the parquet files in canonical order.
    """

    format: Literal["provenance-transcript/1"] = "provenance-transcript/1"
    tokenizer: TokenizerIdentity | None
    rows: int
    tokens: int
    strata: dict[int, int]
    rows_per_group: int
    root: str
    roots_sha256: str
    parts: tuple[Part, ...]


def identity_of(tokenizer: Any) -> TokenizerIdentity | None:
    """Return name and hash of a transformers (or tokenizers) tokenizer.

    The hash is of its serialized form, which fixes how text is cut; of the vocabulary where a
    tokenizer cannot be serialized.

    Raises:
        BadTranscript: an object that is no tokenizer.
    """
    if tokenizer is None or isinstance(tokenizer, TokenizerIdentity):
        return tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(backend, "to_str"):
        form = backend.to_str()
    elif hasattr(tokenizer, "get_vocab"):
        form = json.dumps(tokenizer.get_vocab(), sort_keys=True)
    else:
        raise BadTranscript(
            f"{type(tokenizer).__name__} is no tokenizer: pass a transformers tokenizer or"
            " TokenizerIdentity(name, sha256)"
        )
    name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
    return TokenizerIdentity(name=name, sha256=hashlib.sha256(form.encode()).hexdigest())


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a folder and check that the files have the stated sizes.

    Raises:
        BadTranscript: no manifest of this version, a part that is missing or truncated.
    """
    try:
        manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
    except ValidationError as error:
        raise BadTranscript(
            f"{path / MANIFEST} is no manifest of this version: {error.errors()[0]['msg']} at"
            f" {'.'.join(map(str, error.errors()[0]['loc'])) or 'the top'}; write the transcript"
            " again with write_transcript"
        ) from error
    for part in manifest.parts:
        file = path / part.file
        if not file.exists() or file.stat().st_size != part.bytes:
            raise BadTranscript(
                f"{file} is missing or truncated: the manifest states {part.bytes} bytes; copy it"
                " again from its source"
            )
    return manifest


def read_roots(path: Path, manifest: Manifest) -> merkle.Hashes:
    """Read the subtree roots, shape (row groups, 32), and check that they make up the root.

    Raises:
        BadTranscript: the file was changed, or does not fit the manifest.
    """
    file = path / ROOTS
    data = file.read_bytes() if file.exists() else b""
    if hashlib.sha256(data).hexdigest() != manifest.roots_sha256:
        raise BadTranscript(f"{file} is missing or was changed: copy it again from its source")
    roots: merkle.Hashes = np.load(file, allow_pickle=False)
    groups = -(-manifest.rows // manifest.rows_per_group)
    if len(roots) != groups or merkle.root(roots).hex() != manifest.root:
        raise BadTranscript(
            f"{path / MANIFEST} does not fit {ROOTS}: its root or its number of rows was changed;"
            " copy the folder again from its source"
        )
    if sum(p.rows for p in manifest.parts) != manifest.rows:
        raise BadTranscript(f"{path / MANIFEST}: the parts' rows do not add up to {manifest.rows}")
    return roots
