"""The runner's process: starts, says that it lives, ends; survives the terminal it came from."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from stemma import files, paths
from stemma.batch import batches, requests
from stemma.batch.executors.registry import make_executor
from stemma.batch.records import Batch
from stemma.batch.runner import Runner
from stemma.batch.scribe import FollowerProcess
from stemma.errors import StemmaError

_START_SECONDS = 30.0
_LOCK_SECONDS = 1.0

_log = logging.getLogger("stemma.batch")


def start(batch_id: str) -> None:
    """Start a runner for a batch, in a session of its own, and return when it is there.

    Raises:
        StemmaError: it did not start; its log says why.
    """
    folder = batches.folder(batch_id)
    # With -c, forked workers need not import this module again as their main module.
    program = "from stemma.batch.daemon import main; main()"
    with (folder / "runner.log").open("ab") as log:
        runner = subprocess.Popen(
            [sys.executable, "-c", program, batch_id],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=paths.home(),
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
    deadline = time.monotonic() + _START_SECONDS
    while not batches.is_alive(batch_id) and runner.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if runner.poll() not in (None, 0):
        raise StemmaError(f"the runner did not start: see {folder / 'runner.log'}")


def main() -> None:
    """Run the batch whose id is the argument."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    batch = batches.load(sys.argv[1])
    folder = batches.folder(batch.id)
    try:
        # An onlooker holds the lock for a moment when it asks whether there is a runner.
        with FileLock(folder / batches.RUNNER_LOCK, timeout=_LOCK_SECONDS):
            _serve(batch, folder)
    except Timeout:
        _log.warning("batch %s has a runner already", batch.id)
    except StemmaError as error:
        sys.exit(str(error))


def _serve(batch: Batch, folder: Path) -> None:
    executor = make_executor(batch.executor, batch.jobs)
    while True:
        scribe = FollowerProcess(folder)
        Runner(batch, executor, scribe).run()
        if not scribe.finish():
            reason = scribe.complaint() or "it is slow"
            words = f"MLflow lacks some of it ({reason}): `stemma sync` brings it up to date"
            files.append_event(folder / "events.jsonl", "warning", {"message": words})
        if not requests.pending(folder):
            executor.close()
            return
