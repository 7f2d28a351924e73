"""Writes a transcript to disk batch by batch, in constant memory."""

import shutil
from collections import Counter
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow.parquet as pq

from provenance import merkle
from provenance.errors import BadTranscript
from provenance.manifest import MANIFEST, ROOTS, Manifest, Part, file_sha256, identity_of
from provenance.parquet import ENCODING, SCHEMA, Columns, joined
from provenance.transcript import Transcript

_GROUPS_A_PART = 1024
_MOST_ROWS, _LEAST_ROWS = 1024, 16
_TOKENS_A_GROUP = 1 << 18


class TranscriptWriter:
    """Writes batches that come in training order; ``with`` closes it, or removes a failed attempt.

    Attributes:
        rows: number of examples written or held back so far.
    """

    def __init__(
        self, path: str | Path, tokenizer: object | None = None, rows_per_group: int | None = None
    ) -> None:
        """Begin a transcript.

        Args:
            path: the folder, which must not exist; it appears on ``close``.
            tokenizer: see ``identity_of``.
            rows_per_group: a power of two; chosen from the first batch by default.

        Raises:
            BadTranscript: something is at ``path`` already, or no power of two.
        """
        self._path = Path(path)
        if self._path.exists():
            raise BadTranscript(f"{path} exists: a transcript is never overwritten; move it away")
        if rows_per_group is not None and rows_per_group.bit_count() != 1:
            raise BadTranscript(f"rows_per_group must be a power of two, not {rows_per_group}")
        self._tokenizer = identity_of(tokenizer)
        self._size = rows_per_group
        self._partial = self._path.with_name(self._path.name + ".partial")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self.rows = 0
        self._held: Columns | None = None
        self._roots: list[merkle.Hashes] = []
        self._parts: list[Part] = []
        self._file: pq.ParquetWriter | None = None
        self._in_part = 0
        self._tokens = 0
        self._strata: Counter[int] = Counter()

    def __enter__(self) -> "TranscriptWriter":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; on an error remove what was written."""
        if error is None:
            self.close()
        else:
            self._abandon()

    def add(self, batch: Transcript) -> None:
        """Write a batch of examples.

        Args:
            batch: its rows in any order, none earlier than the last position written before.

        Raises:
            BadTranscript: the batch goes back in the order.
        """
        columns = Columns.of_transcript(batch)
        if self._size is None:
            self._size = _fitting(len(columns.tokens) / len(columns))
        held = columns
        if self._held is not None:
            self._refuse_to_go_back(columns, self._held)
            held = joined([self._held, columns])
        self.rows += len(columns)
        if not _strictly_rising(held):
            held = held.reordered(held.leaves().order)
        # Rows of the last position may still be joined by others, which come before or after them.
        last = (held.strata == held.strata[-1]) & (held.positions == held.positions[-1])
        final = len(held) - int(last.sum())
        whole = final // self._size * self._size
        if whole:
            self._write(held.rows(0, whole))
        self._held = held.rows(whole, len(held))

    def close(self) -> None:
        """Write what is held back, the subtree roots and the manifest.

        Raises:
            BadTranscript: no row was added.
        """
        if self._held is None or self._size is None:
            self._abandon()
            raise BadTranscript("a transcript needs at least one row")
        self._write(self._held)
        self._end_part()
        roots = np.concatenate(self._roots)
        np.save(self._partial / ROOTS, roots)
        manifest = Manifest(
            tokenizer=self._tokenizer,
            rows=self.rows,
            tokens=self._tokens,
            strata=dict(sorted(self._strata.items())),
            rows_per_group=self._size,
            root=merkle.root(roots).hex(),
            roots_sha256=file_sha256(self._partial / ROOTS),
            parts=tuple(self._parts),
        )
        (self._partial / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
        self._partial.rename(self._path)

    def _write(self, columns: Columns) -> None:
        """Write whole row groups (the last of all may be shorter)."""
        assert self._size is not None
        room = self._size * _GROUPS_A_PART
        start = 0
        while start < len(columns):
            stop = min(len(columns), start + room - self._in_part)
            self._write_in_part(columns.rows(start, stop), self._size)
            start = stop
            if self._in_part == room:
                self._end_part()

    def _write_in_part(self, columns: Columns, size: int) -> None:
        if self._file is None:
            self._file = pq.ParquetWriter(
                self._partial / _part_name(len(self._parts)),
                SCHEMA,
                compression="zstd",
                use_dictionary=False,
                write_statistics=False,
                column_encoding=ENCODING,
            )
        self._file.write_table(columns.table(), row_group_size=size)
        self._roots.append(merkle.perfect_roots(columns.leaves().hashes, size))
        self._in_part += len(columns)
        self._tokens += len(columns.tokens)
        labels, counts = np.unique(columns.strata, return_counts=True)
        self._strata.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))

    def _end_part(self) -> None:
        if self._file is None or self._size is None:
            return
        self._file.close()
        self._file = None
        name = _part_name(len(self._parts))
        file = self._partial / name
        groups = -(-self._in_part // self._size)
        self._parts.append(
            Part(
                file=name,
                rows=self._in_part,
                bytes=file.stat().st_size,
                sha256=file_sha256(file),
                root=merkle.root(np.concatenate(self._roots)[-groups:]).hex(),
            )
        )
        self._in_part = 0

    def _refuse_to_go_back(self, columns: Columns, held: Columns) -> None:
        """Check a new batch against the last position so far, which is always held back."""
        stratum, position = held.strata[-1], held.positions[-1]
        back = (columns.strata < stratum) | (
            (columns.strata == stratum) & (columns.positions < position)
        )
        if back.any():
            raise BadTranscript(
                f"a batch goes back before stratum {stratum}, position {position}: give batches in"
                " training order, or one Transcript with all rows, which is sorted here"
            )

    def _abandon(self) -> None:
        if self._file is not None:
            self._file.close()
        shutil.rmtree(self._partial, ignore_errors=True)


def _part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _fitting(tokens_a_row: float) -> int:
    """Return the largest power of two of rows that holds about a mebibyte of token ids."""
    most = max(1, int(_TOKENS_A_GROUP / max(tokens_a_row, 1.0)))
    return int(min(_MOST_ROWS, max(_LEAST_ROWS, 1 << (most.bit_length() - 1))))


def _strictly_rising(columns: Columns) -> bool:
    steps, moves = np.diff(columns.strata), np.diff(columns.positions)
    return bool(((steps > 0) | ((steps == 0) & (moves > 0))).all())
