"""Starts, watches and ends one worker on a node of a cluster; outlives whoever asked for it.

``python -m stemma.batch.executors.guard PLACE``: ``PLACE/run`` is the run's folder, and ``PLACE``
is removed at the end. The asking process holds the other end of standard input: it writes ``b`` to
begin and ``s`` to stop. When it is gone, however it died, that pipe is at its end, and the guard
kills the worker with all that it started. One line of JSON on standard output says how it ended.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import psutil

from stemma.batch import processes
from stemma.batch.devices import device_class
from stemma.batch.environment import start_worker
from stemma.batch.executors import Report
from stemma.batch.executors.local import (
    GRACE_SECONDS,
    PAST_DEADLINE,
    how_it_died,
    over_memory,
)
from stemma.batch.key import difference
from stemma.batch.plan import fingerprint
from stemma.batch.records import Failure, Spec

BEGIN = b"b"
STOP = b"s"

_POLL_SECONDS = 0.2
_MEMORY_SECONDS = 1.0


def main(place: Path) -> None:
    """Guard the worker of ``place``; return when nothing of it is left."""
    _detach()
    folder, token = place / "run", ""
    try:
        if _order(None) != BEGIN:
            return
        spec: Spec = Spec.read(folder / "spec.json")
        token = spec.token
        report = _refusal(spec) or _guard(spec, folder)
        processes.sweep(token)
        if report is not None:
            _say(report)
            while _order(None):
                pass  # the folder stays until whoever asked has taken what it wants
    finally:
        if token:
            processes.sweep(token)
        shutil.rmtree(place, ignore_errors=True)


def _detach() -> None:
    """Become nobody's child, for Ray kills the children of a worker that ends."""
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGTERM, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(1)  # by the way of every ``finally``


def _order(seconds: float | None) -> bytes | None:
    """Return the next order, empty if nobody can give one any more, None if none came in time."""
    ready, _, _ = select.select([0], [], [], seconds)
    return os.read(0, 1) if ready else None


def _say(report: Report) -> None:
    os.write(1, json.dumps(report._asdict()).encode() + b"\n")


def _refusal(spec: Spec) -> Report | None:
    """Refuse what would get a false fingerprint: another device, or other versions of packages.

    Other code is refused by the worker, wherever it runs.
    """
    if spec.gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    planned = _packages(spec.fingerprint) | {"device": spec.device}
    changed = difference(planned, _packages(fingerprint()) | {"device": device_class()})
    if not changed:
        return None
    words = f"node {os.uname().nodename} is not what the run was planned for: {'; '.join(changed)}"
    return Report("over", Failure.ERROR, words)


def _packages(facts: dict[str, str]) -> dict[str, str]:
    """Return what a fingerprint says of Python, machine and packages; an image has no git."""
    return {name: value for name, value in facts.items() if not name.startswith("git_")}


def _guard(spec: Spec, folder: Path) -> Report | None:
    """Run the worker to its end; None if whoever asked for it is gone."""
    worker = start_worker(spec, folder, own_session=True)
    return _watch(worker, spec, time.monotonic() + spec.timeout + GRACE_SECONDS)


def _watch(worker: "subprocess.Popen[bytes]", spec: Spec, deadline: float) -> Report | None:
    process = psutil.Process(worker.pid)
    measured = 0.0
    while worker.poll() is None:
        order = _order(_POLL_SECONDS)
        if order == b"":
            return None
        report = None
        if order == STOP:
            report = Report("over", None, "cancelled")
        elif time.monotonic() > deadline:
            report = PAST_DEADLINE
        elif spec.memory_mb is not None and time.monotonic() > measured + _MEMORY_SECONDS:
            measured = time.monotonic()
            report = over_memory(process, spec.memory_mb)
        if report is not None:
            processes.stop(process, spec.token)
            worker.wait()
            return report
    code = worker.returncode
    if code == 0:
        return Report("over")
    return Report("over", Failure.DEAD_WORKER, how_it_died(code))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
