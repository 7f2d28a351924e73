"""What all tests of the command line share: the answer's form, commitment, and signed evidence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provenance.cli import ownership
from provenance.evidence import Commitment, Evidence, commitments, load_private_key
from provenance.store import StoredTranscript

Answer = tuple[list[str], dict[str, Any]]
"""The result in words, and as plain JSON values."""


@dataclass(frozen=True)
class Signing:
    """What evidence needs; no file, no evidence."""

    evidence: Path | None
    key: Path | None
    committed: str | None
    published: str | None


def commitment_of(
    request: Signing, folder: Path, transcript: StoredTranscript, open_seed: bool = False
) -> Commitment:
    """Return the folder's commitment with its root opened, and its seed on request.

    Raises:
        ProvenanceError: it is to another transcript, or the stated time is none.
    """
    opened = ownership.opened(folder, transcript)
    kept = opened if open_seed else commitments.sealed(opened)
    return ownership.published_at(kept, request.committed, request.published)


def write(evidence: Evidence, request: Signing) -> None:
    """Sign and write evidence, if the user asked for it."""
    if request.evidence is not None and request.key is not None:
        evidence.sign(load_private_key(request.key)).save(request.evidence)
