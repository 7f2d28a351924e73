"""The part of the Ray executor that stands on a node: an actor for one attempt.

It owns no process but a guard (``stemma.batch.executors.guard``), reads what the worker writes,
and hands it out to whoever asks. Every method may be called again with the same arguments.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from stemma import paths
from stemma.batch import processes
from stemma.batch.executors import Report, parcel
from stemma.batch.executors.guard import BEGIN, STOP
from stemma.batch.executors.local import GRACE_SECONDS
from stemma.batch.records import Failure, MlflowIds, Spec
from stemma.errors import ExecutorError

KEEP_SECONDS = 3600.0
"""How long an attempt that is over waits for a runner before what it left is dropped."""

_LINES = 2**20


class View(NamedTuple):
    """What a runner sees of an attempt on its node.

    Attributes:
        node: Ray's id of the node.
        begun: whether the attempt has all that it needs.
        events: what follows of ``events.jsonl``.
        log: what follows of ``log.txt``.
        over: how it ended, None while it lives.
        left: what is to be fetched once it is over.
    """

    node: str
    begun: bool
    events: bytes
    log: bytes
    over: Report | None
    left: parcel.Parcel | None


class Station:
    """Executes one attempt in a temporary folder of its node."""

    def __init__(self) -> None:
        """Make room; the guard removes it, however this process ends."""
        self._place = Path(tempfile.mkdtemp(prefix="stemma-ray-"))
        self._folder = self._place / "run"
        self._folder.mkdir()
        self._checkpoint = self._place / "checkpoint.tar"
        self._archive = self._place / "left.tar"
        self._guard = _start_guard(self._place)
        self._spec: Spec | None = None
        self._over: Report | None = None
        self._left: parcel.Parcel | None = None
        self._asked = time.monotonic()
        threading.Thread(target=self._leave_if_forgotten, daemon=True).start()

    def take(self, offset: int, piece: bytes) -> None:
        """Take a piece of the checkpoint of an earlier attempt."""
        self._asked = time.monotonic()
        parcel.put(self._checkpoint, offset, piece)

    def begin(
        self, spec: Spec, notebook: bytes, ids: MlflowIds | None, checkpoint: parcel.Parcel | None
    ) -> None:
        """Start the worker.

        Args:
            spec: the attempt; its notebook's path is another one here.
            notebook: the notebook.
            ids: where plain ``mlflow`` calls of the notebook go, if a node can reach it.
            checkpoint: what was taken before, if anything.

        Raises:
            ExecutorError: the checkpoint arrived damaged.
        """
        self._asked = time.monotonic()
        if self._spec is not None:
            return
        if checkpoint is not None:
            parcel.unpack(self._checkpoint, checkpoint, self._folder)
        path = self._place / f"{spec.slug}.ipynb"
        path.write_bytes(notebook)
        spec.model_copy(update={"notebook": str(path)}).write(self._folder / "spec.json")
        if ids is not None:
            ids.write(self._folder / paths.MLFLOW_IDS)
        self._tell(BEGIN)
        self._spec = spec

    def look(self, events: int, log: int, stop: bool) -> View:
        """Say how the attempt fares, and what was written after so many bytes; or stop it."""
        import ray

        self._asked = time.monotonic()
        if stop:
            self._tell(STOP)
        if self._spec is not None and self._over is None:
            self._over = self._ending(self._spec)
        if self._over is not None and self._left is None:
            names = parcel.left_by_worker(self._folder)
            self._left = parcel.pack(self._folder, names, self._archive)
        return View(
            node=ray.get_runtime_context().get_node_id(),
            begun=self._spec is not None,
            events=_read(self._folder / "events.jsonl", events),
            log=_read(self._folder / "log.txt", log),
            over=self._over,
            left=self._left,
        )

    def give(self, offset: int) -> bytes:
        """Return the next piece of what the attempt left."""
        self._asked = time.monotonic()
        return parcel.chunk(self._archive, offset)

    def close(self) -> None:
        """Remove everything; the attempt is over and was taken."""
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._guard.stdin.close()
        self._guard.stdout.read()
        shutil.rmtree(self._place, ignore_errors=True)  # a guard that was killed left it

    def _tell(self, order: bytes) -> None:
        assert self._guard.stdin is not None
        try:
            os.write(self._guard.stdin.fileno(), order)
        except BrokenPipeError:
            return  # the guard is gone, which ``look`` will see

    def _ending(self, spec: Spec) -> Report | None:
        """Read what the guard says; a guard that is gone without a word was killed."""
        assert self._guard.stdout is not None
        if not select.select([self._guard.stdout], [], [], 0)[0]:
            return None
        line = self._guard.stdout.readline()
        if line == b"":
            processes.sweep(spec.token)
            return Report("over", Failure.DEAD_WORKER, "the guard of its worker was killed")
        said = json.loads(line)
        failure = Failure(said["failure"]) if said["failure"] else None
        return Report("over", failure, said["message"], said["timed_out"])

    def _leave_if_forgotten(self) -> None:
        """Give CPU and GPU back if no runner comes for an attempt that is over, or never began."""
        while time.monotonic() < self._asked + self._patience():
            time.sleep(1.0)
        os._exit(0)

    def _patience(self) -> float:
        longest = 0.0 if self._spec is None else self._spec.timeout + GRACE_SECONDS
        return longest + KEEP_SECONDS


def _start_guard(place: Path) -> "subprocess.Popen[bytes]":
    guard = subprocess.Popen(
        [sys.executable, "-m", "stemma.batch.executors.guard", str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )
    if guard.wait() != 0:
        shutil.rmtree(place)
        raise ExecutorError(f"no worker can be started on node {os.uname().nodename}")
    return guard


def _read(path: Path, offset: int) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(_LINES)
