"""What one of several writing processes does in the tests of parallel writers."""

import logging
import os
from pathlib import Path

import mlflow.store.tracking.rest_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  (loaded once, before the processes fork)
from mlflow_house import end, make_folder

from stemma import tracking
from stemma.files import append_event

RUNS, POLLS, POINTS = 2, 4, 5

_start = None


def key(writer: int, run: int) -> str:
    return f"writer-{writer}-run-{run}"


def slug(writer: int) -> str:
    """Two writers share a paper, so that they race for its experiment."""
    return f"paper-{writer // 2}"


def initialize(barrier: object) -> None:
    global _start
    _start = barrier
    logging.disable(logging.INFO)


def write(writer: int, uri: str, runs: str) -> int:
    """Track ``RUNS`` runs, one after the other; return this process's id."""
    os.environ["STEMMA_RUNS"] = runs
    _start.wait()  # type: ignore[attr-defined]
    with tracking.Tracker(uri, flush_seconds=0.0) as tracker:
        for run in range(RUNS):
            _track(tracker, Path(runs), writer, run)
    return os.getpid()


def _track(tracker: tracking.Tracker, runs: Path, writer: int, run: int) -> None:
    folder, spec = make_folder(runs, key(writer, run), f"batch-{writer}")
    tracker.start(folder, spec | {"slug": slug(writer), "parameters": {"writer": writer}})
    for poll in range(POLLS):
        for point in range(POINTS):
            step = poll * POINTS + point
            fields = {"name": "loss", "value": writer + step / 100, "step": step}
            append_event(folder / "events.jsonl", "metric", fields)
        append_event(folder / "events.jsonl", "system", {"metrics": {"system/memory_mb": poll}})
        tracker.poll(folder)
    (folder / "log.txt").write_text(f"{writer} {run}\n")
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "proof.bin").write_bytes(bytes([writer, run]) * 1000)
    end(folder, "succeeded")
    tracker.finish(folder)
