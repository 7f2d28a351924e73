"""The local executor: supervises one worker process from start to end."""

import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

from stemma import paths, tracking
from stemma.batch import processes
from stemma.batch.devices import visible_gpu
from stemma.batch.records import Failure, Result, RunState, Spec, State

GRACE_SECONDS = 20.0
"""How long after its deadline a notebook may take to react to the interrupt before it is killed."""

_POLL_SECONDS = 0.1


def execute(spec: Spec, folder: Path, cancel: threading.Event) -> RunState:
    """Run ``folder/spec.json`` in a worker process and return the final state.

    The worker and everything it started are gone when this returns.
    """
    started = time.time()
    token = uuid.uuid4().hex
    worker = _start(spec, folder, token)
    killed = _watch(worker, token, time.monotonic() + spec.timeout + GRACE_SECONDS, cancel)
    processes.sweep(token)
    state, failure, message = killed or _outcome(worker.returncode, folder)
    return RunState(
        state=state, failure=failure, message=message, started=started, ended=time.time()
    )


def _start(spec: Spec, folder: Path, token: str) -> "subprocess.Popen[bytes]":
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "stemma.batch.worker", str(folder / "spec.json")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=paths.home(),
            env=environment(spec, token),
        )


def environment(spec: Spec, token: str) -> dict[str, str]:
    """Return the environment of a worker, which its kernel inherits."""
    threads = str(spec.threads)
    own = {
        processes.TOKEN: token,
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "TOKENIZERS_PARALLELISM": "false",
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
    gpu = visible_gpu()
    if gpu is not None:
        # By UUID, so that the sampler knows which device is this run's own.
        own |= {"CUDA_VISIBLE_DEVICES": gpu.uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return os.environ | own | tracking.environment(spec.model_dump(mode="json"))


_Killed = tuple[State, Failure | None, str]


def _watch(
    worker: "subprocess.Popen[bytes]", token: str, deadline: float, cancel: threading.Event
) -> _Killed | None:
    """Wait for the worker; stop it when cancelled or far past its deadline."""
    while worker.poll() is None:
        if cancel.is_set():
            processes.stop(worker, token)
            return State.CANCELLED, None, "cancelled"
        if time.monotonic() > deadline:
            processes.stop(worker, token)
            return (
                State.TIMED_OUT,
                None,
                "killed: it did not react to the interrupt at its deadline",
            )
        cancel.wait(_POLL_SECONDS)
    return None


def _outcome(returncode: int, folder: Path) -> _Killed:
    path = folder / "result.json"
    if path.is_file():
        result: Result = Result.read(path)
        return result.outcome, result.failure, result.message
    reason = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
    return (
        State.FAILED,
        Failure.DEAD_WORKER,
        f"the worker died ({reason}); see {folder / 'log.txt'}",
    )
