"""Time and memory, as several benchmarks measure them."""

import resource
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result of ``work`` and its wall time in seconds."""
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
