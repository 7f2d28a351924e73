"""Process trees: find every process of a run and end them all, whatever their process group.

A Jupyter kernel starts its own session, so killing the worker's group misses the kernel and its
children. Each run therefore carries a token in its environment, which all descendants inherit.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Sequence

import psutil

TOKEN = "STEMMA_RUN_TOKEN"

_LADDER = ((signal.SIGINT, 3.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0))


def marked(token: str) -> list[psutil.Process]:
    """Return the living processes that carry ``token`` in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
    return found


def stop(worker: "subprocess.Popen[bytes]", token: str) -> None:
    """Interrupt the worker, then terminate its tree, then kill it; return when all is gone."""
    for number, patience in _LADDER:
        targets: Sequence[psutil.Process] = marked(token)
        if number is signal.SIGINT:
            targets = [p for p in targets if p.pid == worker.pid]
        _send(targets, number)
        if _wait(lambda: worker.poll() is not None and not marked(token), patience):
            return


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
