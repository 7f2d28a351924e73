"""Finished parts of a long job on disk, so that an interrupted one goes on where it stopped."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from provenance.scorers.base import LogProbs, Row


class Shards:
    """A folder of shards; each file is named by the digest of what it holds the scores of."""

    def __init__(self, folder: Path, identity: str) -> None:
        """Use a folder, which is made if missing.

        Args:
            folder: where the shards lie.
            identity: digest of the model and of every setting that changes a score.
        """
        self._folder, self._identity = folder, identity
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, rows: Sequence[Row], lengths: Sequence[int]) -> list[LogProbs] | None:
        """Return the stored values of these rows, or None if they are not (wholly) there."""
        path = self._path(rows)
        try:
            flat = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if flat.shape != (sum(lengths),):
            return None
        return np.split(flat, np.cumsum(lengths)[:-1])

    def write(self, rows: Sequence[Row], values: Sequence[LogProbs]) -> None:
        """Store the values of these rows; a reader sees all of them or nothing."""
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, np.concatenate(values))
            os.replace(name, self._path(rows))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _path(self, rows: Sequence[Row]) -> Path:
        whole = hashlib.sha256(self._identity.encode())
        for row in rows:
            whole.update(len(row).to_bytes(8, "little"))
            whole.update(row.astype("<i8").tobytes())
        return self._folder / f"{whole.hexdigest()[:40]}.npy"
