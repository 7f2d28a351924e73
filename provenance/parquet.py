"""Transcripts as parquet columns: what the files hold, and how rows are fetched from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from provenance.errors import BadTranscript
from provenance.transcript import PAD, Leaves, Transcript, flat_rows, token_digests

Integers = NDArray[np.int64]

SCHEMA = pa.schema(
    {"stratum": pa.int64(), "index": pa.int64(), "tokens": pa.list_(pa.int32())},
)
ENCODING = {
    "stratum": "DELTA_BINARY_PACKED",
    "index": "DELTA_BINARY_PACKED",
    "tokens.list.element": "PLAIN",
}
_GROUPS_A_READ = 64


@dataclass(frozen=True)
class Columns:
    """Examples as flat columns, rows one after another.

    Attributes:
        strata: stratum of each row, shape (n,).
        positions: position of each row, shape (n,).
        tokens: token ids of all rows, shape (sum of lengths,).
        lengths: tokens of each row, shape (n,).
    """

    strata: Integers
    positions: Integers
    tokens: Integers
    lengths: Integers

    def table(self) -> pa.Table:
        """Return the columns as they are stored.

        Raises:
            BadTranscript: a token id that 32 bits cannot hold.
        """
        if self.tokens.size and self.tokens.max() >= 2**31:
            raise BadTranscript("token ids must be under 2^31 to be stored")
        offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32)
        tokens = pa.ListArray.from_arrays(offsets, self.tokens.astype(np.int32))
        return pa.table([self.strata, self.positions, tokens], schema=SCHEMA)

    @classmethod
    def of_table(cls, table: pa.Table) -> "Columns":
        """Read the columns of a table; without ``stratum`` all rows share one.

        Raises:
            BadTranscript: a column is missing, of the wrong type, or holds nulls.
        """
        positions = integers(table, "index")
        strata = integers(table, "stratum") if "stratum" in table.column_names else positions * 0
        tokens, lengths = _lists(table, "tokens")
        ids = tokens.astype(np.int64)
        if not np.issubdtype(tokens.dtype, np.integer) or (ids < 0).any():
            raise BadTranscript("column `tokens` must hold lists of token ids, none negative")
        return cls(strata, positions, ids, lengths)

    @classmethod
    def of_transcript(cls, transcript: Transcript) -> "Columns":
        """Return the columns of a transcript in memory."""
        return cls(transcript.strata, transcript.positions, *flat_rows(transcript.rows))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.positions)

    def leaves(self) -> Leaves:
        """Return the leaves of the rows' Merkle tree."""
        digests = token_digests(self.tokens, self.lengths)
        return Leaves(self.strata, self.positions, digests)

    def rows(self, start: int, stop: int) -> "Columns":
        """Return the rows from ``start`` up to ``stop``."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        here = slice(start, stop)
        tokens = self.tokens[ends[start] : ends[stop]]
        return Columns(self.strata[here], self.positions[here], tokens, self.lengths[here])

    def reordered(self, order: Integers) -> "Columns":
        """Return the rows in another order."""
        lengths = self.lengths[order]
        starts = (np.cumsum(self.lengths) - self.lengths)[order]
        # Token t of a new row lies t places after the start of the old one.
        within = np.arange(len(self.tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        tokens = self.tokens[np.repeat(starts, lengths) + within]
        return Columns(self.strata[order], self.positions[order], tokens, lengths)

    def transcript(self, origin: str | None = None) -> Transcript:
        """Return the rows as a transcript in memory."""
        rows = np.full((len(self.lengths), int(self.lengths.max(initial=0))), PAD, np.int64)
        rows[np.arange(rows.shape[1]) < self.lengths[:, None]] = self.tokens
        return Transcript.of(rows, self.positions, self.strata, origin)


def joined(pieces: Sequence[Columns]) -> Columns:
    """Return the rows of several pieces, one after another."""
    return Columns(
        np.concatenate([p.strata for p in pieces]),
        np.concatenate([p.positions for p in pieces]),
        np.concatenate([p.tokens for p in pieces]),
        np.concatenate([p.lengths for p in pieces]),
    )


@dataclass(frozen=True)
class Files:
    """Parquet files that hold the rows of a transcript, one file after another.

    Attributes:
        paths: the files.
        starts: number of the first row of each file, and of all rows, shape (files + 1,).
    """

    paths: tuple[Path, ...]
    starts: Integers

    @classmethod
    def of(cls, paths: Sequence[Path], rows: Sequence[int]) -> "Files":
        """Join files with the given numbers of rows."""
        return cls(tuple(paths), np.concatenate([[0], np.cumsum(rows)]).astype(np.int64))

    def fetch(self, indices: Integers, columns: Sequence[str]) -> pa.Table:
        """Read rows, in the order asked for, from the row groups that hold them and no others.

        Raises:
            BadTranscript: a row outside the transcript, a file that cannot be read.
        """
        if ((indices < 0) | (indices >= self.starts[-1])).any():
            raise BadTranscript(f"no such row: the transcript has {self.starts[-1]} (from 0)")
        wanted, back = np.unique(indices, return_inverse=True)
        if len(wanted) == 0:
            raise BadTranscript("no row was asked for")
        cuts = np.searchsorted(wanted, self.starts)
        pieces = [
            piece
            for k, path in enumerate(self.paths)
            if cuts[k] < cuts[k + 1]
            for piece in _fetch(path, wanted[cuts[k] : cuts[k + 1]] - self.starts[k], columns)
        ]
        return pa.concat_tables(pieces).combine_chunks().take(back)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read all rows in the files' order, some row groups at a time.

        Raises:
            BadTranscript: a file that cannot be read.
        """
        for path in self.paths:
            file = opened(path)
            for group in range(0, file.num_row_groups, _GROUPS_A_READ):
                stop = min(file.num_row_groups, group + _GROUPS_A_READ)
                yield _read(file, path, range(group, stop), columns)


def opened(path: Path) -> pq.ParquetFile:
    """Open a parquet file, reading no row.

    Raises:
        BadTranscript: no parquet file, or a truncated one.
    """
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadTranscript(_unreadable(path, error)) from error


def floats(table: pa.Table, name: str) -> list[NDArray[np.float64]]:
    """Return a numeric column as one array a row; a plain number makes an array of one.

    Raises:
        BadTranscript: the column holds nulls or no numbers.
    """
    column = table.column(name)
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        values, lengths = _numbers(column, name), np.ones(len(column), np.int64)
    else:
        values, lengths = _lists(table, name)
    return np.split(values.astype(np.float64), np.cumsum(lengths)[:-1])


def require(names: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    """Check that a file has the wanted columns.

    Raises:
        BadTranscript: one is missing.
    """
    if missing := [name for name in wanted if name not in names]:
        raise BadTranscript(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(names) or 'none'}:"
            " a transcript needs `index` (position in training order) and `tokens` (token ids)"
        )


def _fetch(path: Path, rows: Integers, columns: Sequence[str]) -> Iterator[pa.Table]:
    file = opened(path)
    sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    groups = np.searchsorted(starts, rows, side="right") - 1
    touched = np.unique(groups)
    for low in range(0, len(touched), _GROUPS_A_READ):
        some = touched[low : low + _GROUPS_A_READ]
        lengths = np.asarray(sizes)[some]
        # Where each of these row groups begins in the file, less where it begins in the piece.
        shift = starts[some] - (np.cumsum(lengths) - lengths)
        here = (groups >= some[0]) & (groups <= some[-1])
        local = rows[here] - shift[np.searchsorted(some, groups[here])]
        yield _read(file, path, some.tolist(), columns).combine_chunks().take(local)


def _read(
    file: pq.ParquetFile, path: Path, groups: Sequence[int], columns: Sequence[str]
) -> pa.Table:
    try:
        return file.read_row_groups(list(groups), columns=list(columns), use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise BadTranscript(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    first = str(error).splitlines()[0]
    return f"{path} is missing, damaged or truncated ({first}): copy it again from its source"


def integers(table: pa.Table, name: str) -> Integers:
    """Return a column of integers, shape (n,).

    Raises:
        BadTranscript: the column holds nulls or no integers.
    """
    values = _numbers(table.column(name), name)
    if not np.issubdtype(values.dtype, np.integer):
        raise BadTranscript(f"column `{name}` must hold integers, not {values.dtype}")
    return values.astype(np.int64)


def _lists(table: pa.Table, name: str) -> tuple[NDArray[np.generic], Integers]:
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        raise BadTranscript(f"column `{name}` must hold a list a row, not {column.type}")
    if column.null_count:
        raise BadTranscript(f"column `{name}` has {column.null_count} empty rows: drop them")
    return _numbers(column.flatten(), name), np.diff(column.offsets.to_numpy()).astype(np.int64)


def _numbers(column: pa.ChunkedArray | pa.Array, name: str) -> NDArray[np.generic]:
    if column.null_count:
        raise BadTranscript(f"column `{name}` has {column.null_count} missing values: drop them")
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise BadTranscript(f"column `{name}` must hold numbers, not {column.type}")
    values: NDArray[np.generic] = column.to_numpy()
    return values
