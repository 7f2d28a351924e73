"""Where the tests stand, and the key that signs their evidence."""

import os
import re
from pathlib import Path

from filelock import FileLock

from stemma import paths

REQUEST, WORKER, RESULT, CANCEL = "request.json", "worker.json", "result.json", "cancel.json"
CURVE, EVIDENCE, LOG = "curve.jsonl", "evidence.json", "log.txt"

_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")


def tests() -> Path:
    """Return the folder of all tests."""
    return paths.runs() / "provenance"


def ids() -> list[str]:
    """Return the ids of all tests, the newest first."""
    try:
        return sorted((e.name for e in os.scandir(tests()) if e.is_dir()), reverse=True)
    except FileNotFoundError:
        return []


def folder(test_id: str) -> Path | None:
    """Return the folder of a test; None if it has none, or the id is none that ``start`` gives."""
    found = tests() / test_id
    return found if _ID.fullmatch(test_id) and found.is_dir() else None


def signing_key() -> Path:
    """Return the private key of this house (mode 600), made when it is first needed.

    Its public half, to be given away, stands beside it as ``key.pem.pub``.
    """
    from provenance.evidence import generate_key

    key = tests() / "key.pem"
    with FileLock(tests() / ".key.lock"):
        if not key.exists():
            generate_key(key)
    return key
