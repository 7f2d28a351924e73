"""Transcripts on disk: 10^8 examples are opened without being loaded, and sampled in seconds.

A stored transcript is a folder with

- ``part-*.parquet``: columns ``stratum``, ``index`` (position) and ``tokens``, rows in canonical
  order, in row groups of 2^k rows, so that each row group is a perfect subtree of the Merkle tree;
- ``roots.npy``: the roots of these subtrees, shape (row groups, 32);
- ``manifest.json``: ``Manifest``.

A proof needs one row group and the stored roots. The published layout (parquet files with columns
``index`` and ``tokens``, without a manifest) is read as it is; its digest is computed when asked
for.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance import merkle, parquet
from provenance.errors import BadTranscript
from provenance.manifest import (
    MANIFEST,
    Manifest,
    file_sha256,
    read_manifest,
    read_roots,
)
from provenance.parquet import Columns, Files, joined
from provenance.transcript import Leaves, Proof, Transcript
from provenance.writer import TranscriptWriter

Progress = Callable[[int, int], object]
"""Called with the rows done and the rows in all."""

_BATCH = 1 << 16
_COLUMNS = ("stratum", "index", "tokens")


class StoredTranscript:
    """A transcript on disk; ``open`` makes one.

    Rows are numbered as they stand in the files: in canonical order if there is a manifest.

    Attributes:
        path: folder or file.
        manifest: None for the published layout.
    """

    def __init__(
        self, path: Path, files: Files, manifest: Manifest | None, roots: merkle.Hashes | None
    ) -> None:
        self.path, self.manifest = path, manifest
        self._files, self._roots = files, roots

    @classmethod
    def open(cls, path: str | Path) -> "StoredTranscript":
        """Open a stored transcript, or parquet files in the published layout, loading no row.

        Raises:
            BadTranscript: nothing there, files that are truncated, lack columns or do not fit the
                manifest, an ``index`` of the published layout that holds duplicates.
        """
        path = Path(path)
        if (path / MANIFEST).exists():
            manifest = read_manifest(path)
            files = Files.of(
                [path / p.file for p in manifest.parts], [p.rows for p in manifest.parts]
            )
            return cls(path, files, manifest, read_roots(path, manifest))
        return cls(path, _published(path), None, None)

    def __len__(self) -> int:
        """Return the number of examples."""
        return int(self._files.starts[-1])

    @cached_property
    def digest(self) -> str:
        """Hex Merkle root; hashes every row if there is no manifest."""
        if self.manifest is not None:
            return self.manifest.root
        return self._leaves.root

    @property
    def digests(self) -> frozenset[str]:
        """Digests by which a lineage may know this order."""
        return frozenset({self.digest})

    def sample(self, n: int, seed: int) -> Transcript:
        """Return n rows drawn uniformly without replacement.

        Every set of n rows is equally likely: ``numpy.random.default_rng(seed).choice``, sorted.

        Raises:
            BadTranscript: fewer than n rows, n under 1.
        """
        return self.take(self.sample_rows(n, seed))

    def sample_rows(self, n: int, seed: int) -> NDArray[np.int64]:
        """Return the row numbers of ``sample``, sorted.

        Raises:
            BadTranscript: fewer than n rows, n under 1.
        """
        if not 1 <= n <= len(self):
            raise BadTranscript(f"cannot draw {n} of {len(self)} rows")
        return np.sort(uniform_rows(len(self), n, seed))

    def take(self, indices: ArrayLike) -> Transcript:
        """Return the given rows, reading only the row groups that hold them.

        The files are not hashed here: ``verify`` does that for all, ``prove`` for single rows.

        Raises:
            BadTranscript: a row outside the transcript, a file that cannot be read.
        """
        chosen = np.atleast_1d(np.asarray(indices, np.int64))
        return Columns.of_table(self._files.fetch(chosen, self._names)).transcript(self.digest)

    def read(self) -> Transcript:
        """Load all rows into memory."""
        columns = [Columns.of_table(t) for t in self._files.batches(self._names)]
        return joined(columns).transcript()

    def batches(self) -> Iterator[Transcript]:
        """Read all rows in the files' order, a few thousand at a time."""
        for table in self._files.batches(self._names):
            yield Columns.of_table(table).transcript(self.digest)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns of the files, such as those of pre-computed losses."""
        return list(parquet.opened(self._files.paths[0]).schema_arrow.names)

    def columns(
        self, names: Sequence[str], indices: ArrayLike | None = None
    ) -> dict[str, list[NDArray[np.float64]]]:
        """Read numeric columns, such as pre-computed losses: for each name one array a row.

        Args:
            names: columns of the files.
            indices: row numbers; all rows by default.

        Raises:
            BadTranscript: no such column or row, missing values.
        """
        parquet.require(self.column_names, names, self.path)
        chosen = np.arange(len(self)) if indices is None else np.asarray(indices, np.int64)
        table = self._files.fetch(np.atleast_1d(chosen), names)
        return {name: parquet.floats(table, name) for name in names}

    def prove(self, indices: ArrayLike) -> list[Proof]:
        """Return for each of the given rows the proof that ``digest`` covers it.

        With a manifest this reads the rows' own row groups only.

        Raises:
            BadTranscript: a row outside the transcript, rows that do not fit the manifest.
        """
        chosen = np.atleast_1d(np.asarray(indices, np.int64))
        if self.manifest is None or self._roots is None:
            return self._leaves.prove(chosen)
        if ((chosen < 0) | (chosen >= len(self))).any():
            raise BadTranscript(f"no such row: the transcript has {len(self)}, counted from 0")
        size = self.manifest.rows_per_group
        groups = chosen // size
        touched = np.unique(groups)
        upper = merkle.inclusion_proofs(self._roots, touched.tolist())
        proofs: dict[int, Proof] = {}
        for group, above in zip(touched, upper, strict=True):
            start = int(group) * size
            leaves = self._group(start, min(start + size, len(self)), self._roots[group].tobytes())
            proofs |= {
                p.index + start: replace(
                    p, index=p.index + start, size=len(self), path=(*p.path, *above)
                )
                for p in leaves.prove(chosen[groups == group] - start)
            }
        return [proofs[int(row)] for row in chosen]

    def _group(self, start: int, stop: int, root: bytes) -> Leaves:
        """Read the leaves of one row group and check them against its subtree root."""
        table = self._files.fetch(np.arange(start, stop), _COLUMNS)
        leaves = Columns.of_table(table).leaves()
        if leaves.root != root.hex() or not leaves.is_sorted:
            raise BadTranscript(
                f"rows {start} to {stop - 1} of {self.path} do not fit the Merkle root: the file"
                " was changed after it was written; copy it again from its source"
            )
        return leaves

    def verify(self, progress: Progress | None = None) -> None:
        """Recompute everything that the manifest states from the rows themselves.

        Args:
            progress: called with the rows done and the rows in all.

        Raises:
            BadTranscript: there is no manifest, or something does not fit it.
        """
        if self.manifest is None or self._roots is None:
            raise BadTranscript(
                f"{self.path} has no {MANIFEST} to verify: write one with write_transcript, or"
                " compare `digest` with what was published"
            )
        for part in self.manifest.parts:
            if file_sha256(self.path / part.file) != part.sha256:
                raise BadTranscript(
                    f"{self.path / part.file} does not have the SHA-256 of the manifest: it was"
                    " changed or damaged; copy it again from its source"
                )
        self._verify_rows(self.manifest, self._roots, progress)

    def _verify_rows(
        self, manifest: Manifest, roots: merkle.Hashes, progress: Progress | None
    ) -> None:
        done, tokens, strata = 0, 0, Counter[int]()
        last: tuple[int, int, bytes] | None = None
        for table in self._files.batches(_COLUMNS):
            columns = Columns.of_table(table)
            leaves = columns.leaves()
            first_group = done // manifest.rows_per_group
            found = merkle.perfect_roots(leaves.hashes, manifest.rows_per_group)
            expected = roots[first_group : first_group + len(found)]
            if not np.array_equal(found, expected) or not leaves.is_sorted:
                raise BadTranscript(
                    f"rows {done} to {done + len(columns) - 1} of {self.path} do not fit the"
                    " Merkle root: write the transcript again from its source"
                )
            if last is not None and leaves.key(0) < last:
                raise BadTranscript(f"{self.path}: row {done} is out of order; write it again")
            last = leaves.key(-1)
            done, tokens = done + len(columns), tokens + len(columns.tokens)
            strata.update(columns.strata.tolist())
            if progress is not None:
                progress(done, len(self))
        if (done, tokens, dict(strata)) != (manifest.rows, manifest.tokens, manifest.strata):
            raise BadTranscript(f"{self.path / MANIFEST}: counts of rows, tokens or strata differ")

    @property
    def _names(self) -> list[str]:
        if self.manifest is not None:
            return list(_COLUMNS)
        return [n for n in _COLUMNS if n != "stratum" or n in self.column_names]

    @cached_property
    def _leaves(self) -> Leaves:
        """The leaves of all rows; their tokens are not kept."""
        return joined_leaves(
            [Columns.of_table(t).leaves() for t in self._files.batches(self._names)]
        )


def write_transcript(
    path: str | Path,
    transcript: Transcript | Iterable[Transcript],
    tokenizer: object | None = None,
    *,
    rows_per_group: int | None = None,
    progress: Progress | None = None,
) -> StoredTranscript:
    """Write a transcript to a new folder and open it.

    Args:
        path: the folder; it appears when everything is written.
        transcript: a whole transcript in memory, or batches in training order (sorted by stratum
            and position; rows within a position in any order), which takes constant memory.
        tokenizer: of the token ids: a transformers tokenizer or a ``TokenizerIdentity``.
        rows_per_group: rows of a row group, a power of two; by default at most 1,024, fewer where
            rows are long, so that a draw of single rows reads little besides them.
        progress: called with the rows written and the rows in all (0 if not known).

    Raises:
        BadTranscript: something is there already, batches out of order, no row at all.
    """
    batches = in_canonical_order(transcript) if isinstance(transcript, Transcript) else transcript
    total = len(transcript) if isinstance(transcript, Transcript) else 0
    with TranscriptWriter(path, tokenizer, rows_per_group) as writer:
        for batch in batches:
            writer.add(batch)
            if progress is not None:
                progress(writer.rows, total)
    return StoredTranscript.open(path)


def in_canonical_order(transcript: Transcript) -> Iterator[Transcript]:
    """Yield the rows of a transcript in canonical order, some thousands at a time."""
    order = transcript.canonical_order
    for start in range(0, len(order), _BATCH):
        yield transcript.take(order[start : start + _BATCH])


def joined_leaves(pieces: Sequence[Leaves]) -> Leaves:
    """Return the leaves of several pieces, one after another."""
    return Leaves(
        np.concatenate([p.strata for p in pieces]),
        np.concatenate([p.positions for p in pieces]),
        np.concatenate([p.digests for p in pieces]),
    )


def uniform_rows(size: int, n: int, seed: int) -> NDArray[np.int64]:
    """Draw n distinct row numbers below ``size`` uniformly, in random order, shape (n,)."""
    return np.random.default_rng(seed).choice(size, n, replace=False)


def _published(path: Path) -> Files:
    """Open files in the published layout; their rows may stand in any order."""
    paths = [path] if path.is_file() else sorted(path.glob("**/*.parquet"))
    if not paths:
        raise BadTranscript(f"{path} holds neither {MANIFEST} nor parquet files")
    files = [parquet.opened(p) for p in paths]
    for file, name in zip(files, paths, strict=True):
        parquet.require(file.schema_arrow.names, ["index", "tokens"], name)
    made = Files.of(paths, [f.metadata.num_rows for f in files])
    positions = [parquet.integers(t, "index") for t in made.batches(["index"])]
    if not positions:
        raise BadTranscript(f"{path} holds no row")
    _refuse_duplicates(np.concatenate(positions), path)
    return made


def _refuse_duplicates(positions: NDArray[np.int64], path: Path) -> None:
    ordered = np.sort(positions)
    twice = ordered[1:][np.diff(ordered) == 0]
    if len(twice):
        raise BadTranscript(
            f"{path}: {len(twice)} values of `index` come more than once, {twice[0]} first. Drop"
            " the duplicates; where `index` counts optimizer steps, so that several examples share"
            " one, build a Transcript from the columns and store it with write_transcript"
        )
