"""What an owner publishes before training, and how it is opened later."""

import hashlib
import hmac
import secrets

from provenance.errors import BadEvidence
from provenance.evidence.schema import Commitment
from provenance.transcript import commitment_hash

_SEED = b"seed-commitment:1\n"
NONCE_BYTES = 32


def seed_hash(seed: int, nonce: bytes) -> str:
    """Return the commitment to a seed: it hides the seed until the nonce is shown.

    Raises:
        BadEvidence: a nonce of fewer than 16 bytes hides nothing.
    """
    if len(nonce) < 16:
        raise BadEvidence("a commitment needs a random nonce of at least 16 bytes")
    return hashlib.sha256(_SEED + nonce + str(seed).encode()).hexdigest()


def commit(root: str, size: int, time: str, seed: int | None = None) -> Commitment:
    """Return an opened commitment with fresh nonces; publish only what ``public`` leaves of it.

    Args:
        root: digest of the transcript.
        size: number of its examples.
        time: of publication, ISO 8601.
        seed: from which the order was drawn, if it was.
    """
    nonce, seed_nonce = secrets.token_bytes(NONCE_BYTES), secrets.token_bytes(NONCE_BYTES)
    return Commitment(
        root=root,
        size=size,
        time=time,
        value=commitment_hash(root, nonce),
        nonce=nonce.hex(),
        seed_commitment=None if seed is None else seed_hash(seed, seed_nonce),
        seed_nonce=None if seed is None else seed_nonce.hex(),
        seed=seed,
    )


def public(commitment: Commitment, hide_root: bool = False) -> dict[str, str | int]:
    """Return what may be published before training: no seed, no nonce; the root unless hidden.

    The number of examples always belongs to it: a Merkle root alone does not fix it.
    """
    hidden = {"nonce", "seed", "seed_nonce"} | ({"root"} if hide_root else {"value"})
    return commitment.model_dump(exclude=hidden, exclude_none=True)


def sealed(commitment: Commitment) -> Commitment:
    """Return the commitment without its seed: for evidence while the order stays secret."""
    return commitment.model_copy(update={"seed": None, "seed_nonce": None})


def opens_root(commitment: Commitment) -> bool | None:
    """Say whether root and nonce open the published hash; None if there is nothing to open."""
    if commitment.value is None or commitment.nonce is None:
        return None if commitment.nonce is None else False
    made = commitment_hash(commitment.root, bytes.fromhex(commitment.nonce))
    return hmac.compare_digest(made, commitment.value)


def opens_seed(commitment: Commitment) -> bool | None:
    """Say whether seed and nonce open the commitment to the seed; None if nothing is opened."""
    if commitment.seed is None and commitment.seed_nonce is None:
        return None
    if None in (commitment.seed, commitment.seed_nonce, commitment.seed_commitment):
        return False
    made = seed_hash(int(commitment.seed or 0), bytes.fromhex(commitment.seed_nonce or ""))
    return hmac.compare_digest(made, commitment.seed_commitment or "")
