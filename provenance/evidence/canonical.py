"""Numbers and results as canonical JSON, and back without the loss of a bit.

RFC 8785 writes a double in the shortest form that reads back as the same double. JSON knows no
NaN and no infinity: an interval that was not computed is null, an infinite statistic the string
"Infinity" or "-Infinity".
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from provenance.errors import BadEvidence

TOLERANCE = 1e-9
"""Relative (and absolute) difference allowed between a float on file and its recomputation."""

EXACT = frozenset({"p"})
"""Names of values that must come out bit for bit: the exact p-values."""


def dumps(value: object) -> bytes:
    """Return canonical JSON (RFC 8785).

    Raises:
        BadEvidence: a value that JSON cannot hold, for instance an integer of 2**53 or more.
    """
    import rfc8785

    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except rfc8785.CanonicalizationError as error:
        raise BadEvidence(f"no canonical JSON: {error}; use smaller seeds and positions") from None


def sha256_of(value: object) -> str:
    """Return the hex sha256 of the canonical JSON of a value."""
    return hashlib.sha256(dumps(value)).hexdigest()


def plain(value: Any) -> Any:
    """Return results (data classes, arrays, numpy numbers, mappings) as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        entries = sorted(value) if isinstance(value, set | frozenset) else value
        return [plain(entry) for entry in entries]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise BadEvidence(f"{type(value).__name__} has no place in evidence: give numbers and strings")


def differences(stated: Any, found: Any, path: str = "") -> list[str]:
    """Return where two plain values differ: names of fields, numbers within the tolerance.

    A field of ``EXACT`` must agree to the bit.
    """
    if isinstance(stated, dict) and isinstance(found, dict):
        names = sorted(stated.keys() | found.keys())
        missing = object()
        return [
            place
            for name in names
            for place in differences(
                stated.get(name, missing), found.get(name, missing), f"{path}.{name}".lstrip(".")
            )
        ]
    if isinstance(stated, list) and isinstance(found, list) and len(stated) == len(found):
        return [
            place
            for i, (a, b) in enumerate(zip(stated, found, strict=True))
            for place in differences(a, b, f"{path}[{i}]")
        ]
    return [] if _same(stated, found, path) else [path]


def _same(stated: Any, found: Any, path: str) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (stated, found))
    if not numbers:
        return type(stated) is type(found) and bool(stated == found)
    if path.rpartition(".")[2] in EXACT or (isinstance(stated, int) and isinstance(found, int)):
        return bool(stated == found)
    return math.isclose(stated, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
