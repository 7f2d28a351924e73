"""Files and names of the command line turned into rows, transcripts and texts."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance.errors import BadTranscript, ProvenanceError
from provenance.transcript import PAD, Transcript

Row = NDArray[np.int64]
Encode = Callable[[str], list[int]]

SECRET_MODE = 0o600


def read_examples(path: Path, tokenizer: str | None) -> list[list[int]]:
    """Read one example a line (.txt, .jsonl) or a row (.parquet), as token ids.

    Args:
        path: .txt holds texts; .jsonl and .parquet token ids (a list, or a field ``tokens``) or
            texts (a string, or a field ``text``).
        tokenizer: folder, hub id or ``tokenizer.json`` of the tokenizer that texts need.

    Raises:
        BadTranscript: no such file, a kind not known, a broken line, texts without a tokenizer.
    """
    encode = encoder(tokenizer) if tokenizer else None
    if not path.is_file():
        raise BadTranscript(f"{path}: no such file")
    readers: dict[str, Callable[[Path], Iterable[Any]]] = {
        ".txt": _lines,
        ".jsonl": _json_lines,
        ".parquet": _parquet_rows,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise BadTranscript(f"{path}: give a .txt, .jsonl or .parquet file")
    rows = [_tokens(entry, encode, f"{path}, example {i}") for i, entry in enumerate(reader(path))]
    if not rows:
        raise BadTranscript(f"{path}: no example")
    return rows


def encoder(tokenizer: str) -> Encode:
    """Return the function from text to token ids of a tokenizer; no special tokens are added."""
    loaded = load_tokenizer(tokenizer)
    return lambda text: list(loaded.encode(text, add_special_tokens=False))


def load_tokenizer(name: str) -> Any:
    """Load a tokenizer: a folder, a hub id, or a ``tokenizer.json``.

    Raises:
        BadTranscript: it cannot be had.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        if name.endswith(".json"):
            made: Any = PreTrainedTokenizerFast
            return made(tokenizer_file=name)
        return AutoTokenizer.from_pretrained(name)
    except Exception as error:  # `tokenizers` raises bare Exceptions
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadTranscript(f"{name}: no tokenizer ({first})") from None


def rows_without_padding(sample: Transcript) -> list[Row]:
    """Return the token ids of each example."""
    return [row[row != PAD] for row in sample.rows]


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ProvenanceError: no such file, or no JSON.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise ProvenanceError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ProvenanceError(f"{path}: no JSON ({error})") from None


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(path, flags, SECRET_MODE), "w") as file:
        file.write(text)


def _lines(path: Path) -> Iterable[str]:
    return (line for line in path.read_text().splitlines() if line.strip())


def _json_lines(path: Path) -> Iterable[Any]:
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise BadTranscript(f"{path}, line {number}: no JSON ({error})") from None


def _parquet_rows(path: Path) -> Iterable[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadTranscript(f"{path}: no readable parquet ({error})") from None
    for name in ("tokens", "text"):
        if name in table.column_names:
            return list(table[name].to_pylist())
    raise BadTranscript(f"{path}: needs a column `tokens` or `text`, has {table.column_names}")


def _tokens(entry: Any, encode: Encode | None, where: str) -> list[int]:
    if isinstance(entry, dict):
        entry = entry.get("tokens", entry.get("text"))
    if isinstance(entry, str):
        if encode is None:
            raise BadTranscript(f"{where} is a text: give --tokenizer to turn it into token ids")
        entry = encode(entry)
    whole = isinstance(entry, list) and all(type(t) is int and t >= 0 for t in entry)
    if not whole or not entry:
        raise BadTranscript(f"{where} holds neither token ids nor a text")
    return list(entry)
