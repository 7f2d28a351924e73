"""Independent jobs in threads, where PyTorch leaves the interpreter's lock, or in processes.

Every job computes with one thread, so that not a bit depends on the number of workers.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from joblib import Parallel, delayed, parallel_config

S = TypeVar("S")
T = TypeVar("T")


def threaded(job: Callable[[S], T], items: Iterable[S], workers: int) -> Iterator[T]:
    """Yield ``job(item)`` in the order of ``items``, ``workers`` threads at a time."""
    # The number of threads is a property of each thread: set elsewhere, it would reach a new
    # thread's first matrix products too late.
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(job, items)


def in_processes(
    job: Callable[..., T], tasks: Iterable[tuple[Any, ...]], workers: int = 0
) -> Iterator[T]:
    """Yield ``job(*task)`` in the order of ``tasks``, in ``workers`` processes (0: all cores).

    For jobs that hold the interpreter's lock; tasks and results are pickled.
    """
    with parallel_config("loky", n_jobs=workers or -1, inner_max_num_threads=1):
        yield from Parallel(return_as="generator")(delayed(job)(*task) for task in tasks)
