"""``record``, ``commit`` and ``keygen``: what an owner does before and while training."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from provenance.cli.inputs import load_tokenizer, read_examples, read_json, write_secret
from provenance.cli.output import progress_bar
from provenance.errors import BadEvidence, ProvenanceError
from provenance.evidence import Commitment, canonical, commitments, load_private_key
from provenance.evidence.build import now
from provenance.store import StoredTranscript, write_transcript
from provenance.transcript import Transcript

COMMITMENT, SECRET, ORDER = "commitment.json", "secret.json", "order.npy"
PAYLOAD_TYPE = "application/vnd.stemma.provenance.commitment+json"


def draw_order(source: Path, tokenizer: str | None, seed: int, out: Path) -> StoredTranscript:
    """Draw a uniform order of a file's examples, store it and commit to it.

    ``order.npy`` lists for each training position the number of the example in the file.
    """
    rows = read_examples(source, tokenizer)
    order = np.random.default_rng(seed).permutation(len(rows))
    ordered = Transcript.in_training_order([rows[i] for i in order])
    with progress_bar("Writing") as progress:
        stored = write_transcript(
            out, ordered, load_tokenizer(tokenizer) if tokenizer else None, progress=progress
        )
    np.save(out / ORDER, order)
    keep(out, commitments.commit(stored.digest, len(stored), now(), seed))
    return stored


def import_published(source: Path, out: Path) -> StoredTranscript:
    """Store a transcript in the published layout with manifest and Merkle root."""
    whole = StoredTranscript.open(source).read()
    with progress_bar("Writing") as progress:
        stored = write_transcript(out, whole, progress=progress)
    keep(out, commitments.commit(stored.digest, len(stored), now()))
    return stored


def keep(folder: Path, commitment: Commitment) -> None:
    """Write the opened commitment for its owner alone, and its public part."""
    write_secret(folder / SECRET, commitment.model_dump_json(indent=1, exclude_none=True) + "\n")
    text = json.dumps(commitments.public(commitment), indent=1)
    (folder / COMMITMENT).write_text(text + "\n")


def opened(folder: Path, transcript: StoredTranscript) -> Commitment:
    """Return the commitment of a folder with its openings; a new one if there is none yet.

    Raises:
        BadEvidence: the commitment on file is to another transcript.
    """
    if not (folder / SECRET).is_file():
        if not folder.is_dir():
            return Commitment(root=transcript.digest, size=len(transcript), time="not published")
        keep(folder, commitments.commit(transcript.digest, len(transcript), now()))
    commitment = Commitment.model_validate(read_json(folder / SECRET))
    if (commitment.root, commitment.size) != (transcript.digest, len(transcript)):
        raise BadEvidence(f"{folder / SECRET} is a commitment to another transcript")
    return commitment


def publishable(folder: Path, hide_root: bool, key: Path | None) -> dict[str, Any]:
    """Return the public part of the commitment, in a signed DSSE envelope if there is a key."""
    commitment = opened(folder, StoredTranscript.open(folder))
    data = commitments.public(commitment, hide_root)
    if key is None:
        return data
    from securesystemslib.dsse import Envelope

    envelope = Envelope(canonical.dumps(data), PAYLOAD_TYPE, {})
    envelope.sign(load_private_key(key))
    return envelope.to_dict()


def published_at(commitment: Commitment, when: str | None, where: str | None) -> Commitment:
    """Return the commitment with time and place of publication as the user states them.

    Raises:
        ProvenanceError: a time that is not ISO 8601.
    """
    if when is not None:
        try:
            datetime.fromisoformat(when)
        except ValueError:
            raise ProvenanceError(
                f"`{when}` is no time: write it as 2026-01-31T12:00:00Z"
            ) from None
    stated = {"time": when, "published_at": where}
    return commitment.model_copy(update={k: v for k, v in stated.items() if v is not None})
