"""Ed25519 keys in PEM files: the private one readable by its owner alone."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from provenance.errors import BadEvidence

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PRIVATE_MODE = 0o600


def generate_key(path: str | Path) -> Path:
    """Write a new private key to ``path`` (PKCS#8, mode 0600) and its public half beside it.

    Returns:
        The path of the public key, ``<path>.pub``: give this one to whoever checks evidence.

    Raises:
        BadEvidence: one of the two files exists; no key is ever overwritten.
    """
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )
    from securesystemslib.signer import CryptoSigner

    private, public = Path(path), Path(f"{path}.pub")
    for file in (private, public):
        if file.exists():
            raise BadEvidence(f"{file} exists: choose another name, keys are not overwritten")
    pem = CryptoSigner.generate_ed25519().private_bytes
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE), "wb") as f:
        f.write(pem)
    half = load_pem_private_key(pem, None).public_key()
    public.write_bytes(half.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return public


def load_private_key(path: str | Path) -> "CryptoSigner":
    """Read a private key.

    Raises:
        BadEvidence: no such file, or no unencrypted ed25519 key in PEM.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        key = load_pem_private_key(_read(path), None)
    except (ValueError, TypeError) as error:
        raise BadEvidence(f"{path}: no unencrypted private key in PEM ({error})") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadEvidence(f"{path}: not an ed25519 key; make one with `provenance keygen`")
    return CryptoSigner(key)


def load_public_key(path: str | Path) -> "SSlibKey":
    """Read a public key (PEM).

    Raises:
        BadEvidence: no such file, or no ed25519 public key in PEM.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadEvidence(f"{path}: no public key in PEM ({error})") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadEvidence(f"{path}: not an ed25519 key")
    return SSlibKey.from_crypto(key)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadEvidence(
            f"{path}: {error.strerror}; make a key with `provenance keygen`"
        ) from None
