"""What one process consumed, optimizer step by optimizer step, in a file that survives a crash."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_TABLE = """create table if not exists steps
(step integer primary key, epoch integer, world integer, lengths blob, tokens blob)"""


@dataclass(frozen=True)
class Step:
    """The examples that one process fed into one optimizer step.

    Attributes:
        step: number of the optimizer step, from 0.
        epoch: pass over the data.
        world: number of processes that took part.
        rows: token ids of each example.
    """

    step: int
    epoch: int
    world: int
    rows: list[NDArray[np.int64]]


class StepLog:
    """An SQLite file with one record an optimizer step, each written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _base(self) -> sqlite3.Connection:
        base = sqlite3.connect(self.path, timeout=60, check_same_thread=False)
        base.execute("pragma journal_mode = wal")
        base.execute("pragma synchronous = normal")
        base.execute(_TABLE)
        return base

    @property
    def end(self) -> int:
        """Number of the first step that is not recorded."""
        last = self._base.execute("select max(step) from steps").fetchone()[0]
        return 0 if last is None else int(last) + 1

    def epoch_of(self, step: int) -> int | None:
        """Return the epoch of a recorded step."""
        found = self._base.execute("select epoch from steps where step = ?", (step,)).fetchone()
        return None if found is None else int(found[0])

    def append(self, step: int, epoch: int, world: int, rows: Sequence[NDArray[np.int64]]) -> None:
        """Record a step."""
        lengths = np.array([len(row) for row in rows], "<i8").tobytes()
        tokens = np.concatenate(rows).astype("<i8").tobytes() if rows else b""
        with self._base:
            self._base.execute(
                "insert into steps values (?, ?, ?, ?, ?)", (step, epoch, world, lengths, tokens)
            )

    def drop_from(self, step: int) -> None:
        """Forget this step and all later ones."""
        with self._base:
            self._base.execute("delete from steps where step >= ?", (step,))

    def flush(self) -> None:
        """Bring all records to the disk, so that they outlive a loss of power."""
        self._base.execute("pragma wal_checkpoint(full)")

    def close(self) -> None:
        """Close the file; it opens again when it is next used."""
        self._base.close()
        del self._base

    def __iter__(self) -> Iterator[Step]:
        """Yield the steps in order."""
        query = "select step, epoch, world, lengths, tokens from steps order by step"
        for step, epoch, world, lengths, tokens in self._base.execute(query):
            ends = np.cumsum(np.frombuffer(lengths, "<i8"))
            rows = np.split(np.frombuffer(tokens, "<i8").astype(np.int64), ends[:-1])
            yield Step(step, epoch, world, rows if len(ends) else [])
