"""Independent jobs in threads: PyTorch leaves the interpreter's lock while it computes."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

S = TypeVar("S")
T = TypeVar("T")


def threaded(job: Callable[[S], T], items: Iterable[S], workers: int) -> Iterator[T]:
    """Yield ``job(item)`` in the order of ``items``, ``workers`` of them at a time.

    Every worker computes with one PyTorch thread, so that not a bit depends on ``workers``.
    """
    # The number of threads is a property of each thread: set elsewhere, it would reach a new
    # thread's first matrix products too late.
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(job, items)
