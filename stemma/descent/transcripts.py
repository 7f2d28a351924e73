"""Transcripts that a user may choose from."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from provenance.manifest import MANIFEST, ROOTS

_MOST = 100


def transcripts(root: Path) -> list[Path]:
    """Return the folders below ``root`` that hold a stored transcript, a hundred at most.

    Links are not followed, hidden folders left out.
    """
    return list(islice(_below(root), _MOST))


def _below(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        if MANIFEST in names and ROOTS in names:
            below.clear()
            yield Path(folder)
        else:
            below[:] = sorted(name for name in below if not name.startswith("."))
