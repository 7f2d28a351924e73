"""How a test starts, in a process of its own, and how it is made to end."""

import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil

from stemma.batch import processes
from stemma.batch.opening import new_id
from stemma.batch.records import State, Worker
from stemma.descent import house, views
from stemma.descent.records import Begun, Cancellation, Request
from stemma.errors import RunError


def start(request: Request) -> str:
    """Start the process of a test, in a session of its own, and return the test's id.

    Paths of the request are absolute: the process stands in a folder of its own.

    Raises:
        OSError: the folder of runs cannot be written.
    """
    test_id = new_id()
    folder = house.tests() / test_id
    folder.mkdir(parents=True)
    Begun(started=time.time(), request=request).write(folder / house.REQUEST)
    token = uuid.uuid4().hex
    process = psutil.Process(_spawn(folder, token))
    worker = Worker(
        token=token,
        host=socket.gethostname(),
        pid=process.pid,
        created=process.create_time(),
    )
    worker.write(folder / house.WORKER)
    return test_id


def cancel(test_id: str) -> None:
    """End a test that runs, with all its processes, and return when they are gone.

    A test that is over stays as it is.

    Raises:
        RunError: there is no such test, it has hardly begun, or it runs on another machine.
    """
    folder = house.folder(test_id)
    test = views.look(folder) if folder is not None else None
    if folder is None or test is None:
        raise RunError(f"no test {test_id}")
    if test.state is not State.RUNNING:
        return
    worker = Worker.find(folder / house.WORKER)
    if worker is None:
        raise RunError("the test has hardly begun: try again in a moment")
    if worker.host != socket.gethostname():
        raise RunError(f"the test runs on {worker.host}: stop it there")
    Cancellation(time=time.time()).write(folder / house.CANCEL)
    processes.stop(processes.find(worker.pid, worker.created), worker.token)


def _spawn(folder: Path, token: str) -> int:
    """Start the process; with -P nothing is imported from the folder it stands in."""
    with (folder / house.LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "stemma.descent.worker", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
            env=_environment(token),
        ).pid


def _environment(token: str) -> dict[str, str]:
    # Half of the cores: the lab, its kernels and running notebooks want theirs.
    threads = str(max(1, (os.cpu_count() or 1) // 2))
    return os.environ | {
        processes.TOKEN: token,
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
