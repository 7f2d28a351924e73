"""Finished parts of a long job on disk, so that an interrupted one goes on where it stopped."""

import hashlib
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from provenance.scorers.base import LogProbs, Row

_DIGEST = 32  # bytes of the sha256 that ends a file


class Shards:
    """A folder of shards; each file is named by the digest of what it holds the scores of.

    A file is what ``numpy.save`` writes, followed by its sha256: nothing else would show
    that a flipped bit has made a wrong score.
    """

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
        try:
            content = self._path(rows).read_bytes()
        except OSError:
            return None
        array, digest = content[:-_DIGEST], content[-_DIGEST:]
        if hashlib.sha256(array).digest() != digest:
            return None
        flat = np.load(io.BytesIO(array), allow_pickle=False)
        if flat.shape != (sum(lengths),):
            return None
        return np.split(flat, np.cumsum(lengths)[:-1])

    def write(self, rows: Sequence[Row], values: Sequence[LogProbs]) -> None:
        """Store the values of these rows; a reader sees all of them or nothing."""
        array = io.BytesIO()
        np.save(array, np.concatenate(values))
        content = array.getvalue()
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content + hashlib.sha256(content).digest())
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
