"""Workers on this machine: forked from a process that has their imports, one GPU each."""

import multiprocessing
import os
import socket
import threading
import time
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from stemma import paths
from stemma.batch import processes
from stemma.batch.devices import visible_gpus
from stemma.batch.environment import worker_environment
from stemma.batch.executors import Handle, Job, Report
from stemma.batch.leases import Leases
from stemma.batch.records import Failure, Worker
from stemma.errors import ExecutorError

GRACE_SECONDS = 20.0
"""How long after its deadline a notebook may take to react to the interrupt before it is killed."""

PAST_DEADLINE = Report(
    "over", None, "killed: it did not react to the interrupt at its deadline", timed_out=True
)

_MEMORY_SECONDS = 1.0
_MEGABYTE = 2**20
_PRELOAD = "stemma.batch.executors.preload"


@dataclass
class _Attempt:
    """A worker under watch; ``end`` is set once it is being stopped, and says why."""

    worker: psutil.Process
    deadline: float
    gpu: str = ""
    own: BaseProcess | None = None
    measured: float = 0.0
    end: Report | None = None


class LocalExecutor:
    """Runs workers as processes of this machine, which survive the runner.

    Time and memory limits are kept here: a worker far past its deadline, or whose processes use
    more memory than allowed, is interrupted, terminated and killed with all that it started.
    """

    kind = "local"

    def __init__(self, slots: int, leases: Leases | None = None) -> None:
        """Prepare to run at most ``slots`` workers at a time; if there are GPUs, one on each."""
        gpus = len(visible_gpus())
        self.slots = min(slots, gpus) if gpus else slots
        self._leases = leases or Leases()
        self._attempts: dict[str, _Attempt] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_PRELOAD])
        forkserver.ensure_running()

    def submit(self, job: Job) -> Handle:
        """Start a worker.

        Raises:
            ExecutorError: every GPU is taken, by another batch or a foreign process.
        """
        spec, folder = job.spec, job.folder
        gpu = self._lease(spec.token) if spec.gpus else ""
        environment = worker_environment(spec, folder, gpu=gpu or None)
        process = self._context.Process(target=_work, args=(folder, spec.token, environment))
        process.start()
        worker = _by_id(process)
        attempt = _Attempt(worker, time.time() + spec.timeout + GRACE_SECONDS, gpu, process)
        self._attempts[spec.token] = attempt
        if gpu:
            self._leases.hand_over(gpu, _introduce(spec.token, worker))
        facts: dict[str, str | int | float] = {
            "created": worker.create_time(),
            "deadline": attempt.deadline,
            "gpu": gpu,
        }
        return Handle(kind=self.kind, id=str(worker.pid), token=spec.token, facts=facts)

    def poll(self, job: Job, handle: Handle) -> Report:
        """Say how a worker fares; enforce its limits."""
        attempt = self._attempts[handle.token]
        if processes.find(attempt.worker.pid, attempt.worker.create_time()) is None:
            return self._bury(handle.token, attempt)
        if attempt.end is None:
            attempt.end = _past_deadline(attempt) or _over_memory(attempt, job.spec.memory_mb)
            if attempt.end is not None:
                self._stop(handle.token)
        return Report("running")

    def cancel(self, job: Job, handle: Handle) -> None:
        """Stop a worker and everything that it started."""
        attempt = self._attempts.get(handle.token)
        if attempt is not None and attempt.end is None:
            attempt.end = Report("over", None, "cancelled")
            self._stop(handle.token)

    def reattach(self, job: Job, handle: Handle) -> bool:
        """Take over a living worker of this machine."""
        worker = _living_worker(job.folder, handle.token)
        if worker is None:
            return False
        deadline = float(handle.facts.get("deadline", time.time() + job.spec.timeout))
        gpu = str(handle.facts.get("gpu", ""))
        self._attempts[handle.token] = _Attempt(worker, deadline, gpu)
        return True

    def close(self) -> None:
        """Do nothing: workers need no executor to go on."""

    def _lease(self, token: str) -> str:
        gpu = self._leases.acquire(_introduce(token, psutil.Process()))
        if gpu is None:
            raise ExecutorError("every GPU is in use: the run waits until one is free")
        return gpu.uuid

    def _stop(self, token: str) -> None:
        worker = self._attempts[token].worker
        threading.Thread(target=processes.stop, args=(worker, token), daemon=True).start()

    def _bury(self, token: str, attempt: _Attempt) -> Report:
        processes.sweep(token)
        if attempt.gpu:
            self._leases.release(attempt.gpu, token)
        del self._attempts[token]
        code = None
        if attempt.own is not None:
            attempt.own.join(1.0)
            code = attempt.own.exitcode
            attempt.own.close()
        return attempt.end or Report("over", Failure.DEAD_WORKER, how_it_died(code))


def _work(folder: Path, token: str, environment: dict[str, str]) -> None:
    """Be a worker: runs in a forked process."""
    os.setsid()
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(paths.home())
    from stemma.batch.worker import main

    main(folder / "spec.json", token)


def _by_id(process: BaseProcess) -> psutil.Process:
    assert process.pid is not None
    return psutil.Process(process.pid)


def _introduce(token: str, process: psutil.Process) -> Worker:
    return Worker(
        token=token, host=socket.gethostname(), pid=process.pid, created=process.create_time()
    )


def _living_worker(folder: Path, token: str) -> psutil.Process | None:
    """Return the worker that holds the folder's lock, if it executes this attempt."""
    try:
        with FileLock(folder / ".lock", blocking=False):
            return None
    except Timeout:
        pass
    for _ in range(20):  # it takes the lock first and then says who it is
        known = Worker.find(folder / "worker.json")
        if known and known.token == token and known.host == socket.gethostname():
            return processes.find(known.pid, known.created)
        time.sleep(0.1)
    return None


def _past_deadline(attempt: _Attempt) -> Report | None:
    return PAST_DEADLINE if time.time() >= attempt.deadline else None


def _over_memory(attempt: _Attempt, limit_mb: int | None) -> Report | None:
    now = time.monotonic()
    if limit_mb is None or now < attempt.measured + _MEMORY_SECONDS:
        return None
    attempt.measured = now
    return over_memory(attempt.worker, limit_mb)


def over_memory(worker: psutil.Process, limit_mb: int) -> Report | None:
    """Return the end of a worker whose processes use more than ``limit_mb`` MiB together."""
    used = memory_mb(worker)
    if used <= limit_mb:
        return None
    words = f"used {used:.0f} MiB where {limit_mb} MiB are allowed"
    return Report("over", Failure.OUT_OF_MEMORY, words)


def memory_mb(root: psutil.Process) -> float:
    """Return what a process and its descendants use, MiB; shared pages count by their share."""
    total = 0
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0.0
    for process in family:
        try:
            full = process.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(full, "pss", full.uss)
    return total / _MEGABYTE


def how_it_died(code: int | None) -> str:
    """Say how a worker died, of its exit code; None if it is not known."""
    if code is None:
        return "the worker died; see its log.txt"
    reason = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the worker died ({reason}); see its log.txt"
