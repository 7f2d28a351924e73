"""Whether a finished run consumed what was committed to before its first step."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provenance.store import StoredTranscript
from provenance.transcript import flat_rows, token_digests

COMMITMENT, SECRET, DATA = "commitment.json", "secret.json", "data.npy"


@dataclass(frozen=True)
class Outcome:
    """What a finished run consumed, and whether that is what was committed to.

    Attributes:
        transcript: what was consumed.
        agrees: whether it is.
        message: the same in words.
    """

    transcript: StoredTranscript
    agrees: bool
    message: str


def compared(folder: Path, found: StoredTranscript) -> Outcome:
    """Compare what a run consumed with the commitment in its folder."""
    published = json.loads((folder / COMMITMENT).read_text())
    root, size = published["root"], published["size"]
    if published.get("of") == "data":
        return _compared_data(folder, found)
    if (found.digest, len(found)) == (root, size):
        return Outcome(
            found, True, f"consumed exactly what was committed to: {size} examples, {root[:12]}"
        )
    if len(found) != size:
        how = f"{len(found)} examples were consumed, {size} were planned"
    else:
        how = f"{size} examples as planned, but in another order or with other tokens"
    return Outcome(found, False, f"the run DIFFERS from its commitment {root[:12]}: {how}")


def _compared_data(folder: Path, found: StoredTranscript) -> Outcome:
    known = _counts(np.load(folder / DATA))
    found_by_epoch: dict[int, Counter[bytes]] = {}
    for part in found.batches():
        digests = token_digests(*flat_rows(part.rows))
        for epoch in np.unique(part.strata).tolist():
            counts = found_by_epoch.setdefault(epoch, Counter())
            counts.update(_counts(digests[part.strata == epoch]))
    strange = sum((counts - known).total() for counts in found_by_epoch.values())
    if strange:
        how = f"{strange} of {len(found)} examples are not of the committed data, or too often"
        return Outcome(found, False, f"the run DIFFERS from its commitment: {how}")
    return Outcome(
        found,
        True,
        f"all {len(found)} examples are of the committed data, none twice in an epoch; that"
        " their order follows from the committed seed is to be checked by drawing it again",
    )


def _counts(digests: NDArray[np.uint8]) -> Counter[bytes]:
    return Counter(digest.tobytes() for digest in digests)
