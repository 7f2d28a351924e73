"""Evidence: a result that a third party checks without the model and without trusting anyone.

An in-toto Statement v1 about the suspect, in a DSSE envelope signed with ed25519, holding all that
the result follows from. ``provenance.verify`` computes everything in it again.
"""

from provenance.evidence.build import Evidence
from provenance.evidence.envelope import SignedEvidence
from provenance.evidence.keys import generate_key, load_private_key, load_public_key
from provenance.evidence.schema import Commitment, Selection, Subject
from provenance.evidence.subjects import (
    subject_of_endpoint,
    subject_of_path,
    subject_of_tokens,
)

__all__ = [
    "Commitment",
    "Evidence",
    "Selection",
    "SignedEvidence",
    "Subject",
    "generate_key",
    "load_private_key",
    "load_public_key",
    "subject_of_endpoint",
    "subject_of_path",
    "subject_of_tokens",
]
