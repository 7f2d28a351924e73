"""Independent jobs in threads: PyTorch leaves the interpreter's lock while it computes."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def threaded(job: Callable[[S], T], items: Iterable[S], workers: int) -> Iterator[T]:
    """Yield ``job(item)`` in the order of ``items``, ``workers`` of them at a time.

    With one PyTorch thread a job, results do not depend on ``workers``.
    """
    with ThreadPoolExecutor(max_workers=workers) as pool:
        yield from pool.map(job, items)
