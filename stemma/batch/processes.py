"""Process trees: find every process of an attempt and end them all, whatever their group.

A Jupyter kernel starts its own session, so killing the worker's group misses the kernel and its
children. Each attempt therefore carries a token in its environment, which all descendants inherit.
"""

import signal
import time
from collections.abc import Callable, Sequence

import psutil

TOKEN = "STEMMA_RUN_TOKEN"

_LADDER = ((signal.SIGINT, 3.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0))


def marked(token: str) -> list[psutil.Process]:
    """Return the living processes that were started with ``token`` in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
    return found


def find(pid: int, created: float) -> psutil.Process | None:
    """Return the process of this id and start time (ids are reused) if it lives."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def stop(worker: psutil.Process | None, token: str) -> None:
    """Interrupt the worker, then terminate its tree, then kill it; return when all is gone."""
    for number, patience in _LADDER:
        if number is signal.SIGINT:
            targets: Sequence[psutil.Process] = [worker] if worker else []
        else:
            targets = tree(worker, token)
        _send(targets, number)
        if _wait(lambda: not tree(worker, token), patience):
            return


def tree(worker: psutil.Process | None, token: str) -> list[psutil.Process]:
    """Return the worker, if it lives, and all that it started.

    The worker is forked, and a forked process keeps showing the environment of its parent.
    """
    alive = worker is not None and find(worker.pid, worker.create_time()) is not None
    found = {p.pid: p for p in marked(token)}
    if alive and worker is not None:
        found[worker.pid] = worker
    return list(found.values())


def sweep(token: str) -> int:
    """Kill whatever still carries ``token``; return how many processes were left behind."""
    left = marked(token)
    _send(left, signal.SIGKILL)
    _wait(lambda: not marked(token), 10.0)
    return len(left)


def _send(targets: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in targets:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if done():
            return True
        time.sleep(0.1)
    return done()
