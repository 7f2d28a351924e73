"""Which code and which machine computed a result."""

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import scipy

from provenance.evidence.schema import Software

DISTRIBUTION = "stemma-suite"


def this_software() -> Software:
    """Return the versions and the digest of the sources that run now."""
    return Software(
        version=_version(),
        sources_sha256=sources_digest(),
        python=platform.python_version(),
        numpy=np.__version__,
        scipy=scipy.__version__,
        platform=platform.platform(),
    )


@cache
def sources_digest() -> str:
    """Return the hex sha256 over the names and contents of this package's Python files."""
    root = Path(__file__).resolve().parents[1]
    h = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        h.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return h.hexdigest()


def _version() -> str:
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "not installed"
