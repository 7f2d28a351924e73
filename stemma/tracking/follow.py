"""Keeps MLflow in step with a batch, whatever happens to either of them.

``python -m stemma.tracking.follow BATCH_FOLDER`` is a process of its own beside the runner, because
MLflow's client is five times as large as the runner and may hang for minutes. It reads what the
runner appends to the batch's ``events.jsonl`` and what the runs leave in their folders, and it is
told nothing else. So a runner, a follower or a server may die at any time: the next follower looks
what MLflow has and goes on from there.
"""

import json
import logging
import os
import select
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stemma import files
from stemma.errors import TrackingError
from stemma.imports import skip_iri_grammars
from stemma.tracking import content, store
from stemma.tracking.tracker import BatchRow, Tracker, run_ids

STATUS = "mlflow.status.json"
"""What the follower says of itself in the batch's folder: ``{"ok": bool, "message": str}``."""

_STEP_SECONDS = 0.2
_RETRY_SECONDS = 3.0
_LOCK_SECONDS = 60.0
_NICE = 5

_log = logging.getLogger("stemma.tracking")


class Follower:
    """Brings MLflow up to date with one batch, step by step."""

    def __init__(self, folder: Path, runs_dir: Path, uri: str) -> None:
        """Follow the batch of ``folder``; its runs are in ``runs_dir``. Opens nothing yet."""
        batch = json.loads((folder / "batch.json").read_text(encoding="utf-8"))
        self._batch: dict[str, Any] = batch
        self._uri = uri
        self._folders = {_name(run): runs_dir / run["folder"] for run in batch["runs"]}
        self._states: dict[str, str] = {}
        self._events = files.EventTail(folder / "events.jsonl")
        self._tracker: Tracker | None = None
        self._parent = ""
        self._open: set[str] = set()
        self._done: set[str] = set()
        # After a failure, or another follower, MLflow may have runs whose ids never arrived.
        self._sure = False

    def step(self) -> bool:
        """Do what can be done now; return whether MLflow has everything.

        Raises:
            TrackingError: the store fails. What it missed is done by a later step.
        """
        try:
            self._read_events()
            tracker = self._opened()
            for name, state in list(self._states.items()):
                if name not in self._done:
                    self._bring_up_to_date(tracker, name, state)
            if not self._is_over():
                return False
            tracker.close_batch(self._parent, self._rows())
        except TrackingError:
            self._sure = False
            raise
        return True

    def _read_events(self) -> None:
        for event in self._events.read():
            if event["kind"] != "state":
                continue
            name, state = event["run"], event["state"]
            self._states[name] = state
            if state == "starting" and self._tracker is not None:
                # A run that was over is tried again by request, or a new attempt begins.
                self._done.discard(name)
                self._tracker.restart(self._folders[name])

    def _opened(self) -> Tracker:
        if self._tracker is None:
            tracker = Tracker(self._uri)
            slugs = [run["slug"] for run in self._batch["runs"]]
            words = f"{len(slugs)} runs, being executed"
            self._parent, resumed = tracker.open_batch(self._batch["id"], slugs, words)
            self._tracker, self._sure = tracker, not resumed
        return self._tracker

    def _bring_up_to_date(self, tracker: Tracker, name: str, state: str) -> None:
        folder = self._folders[name]
        if state == "queued":
            return
        try:
            if state in content.UNFINISHED or run_ids(folder) or _has_started(folder):
                self._begin(tracker, name)
            if state in content.UNFINISHED:
                tracker.poll(folder)
                return
            tracker.finish(folder)
        except (OSError, ValueError, KeyError) as error:
            _log.warning("%s cannot be tracked (%s): `stemma sync` later", folder, error)
        self._open.discard(name)
        self._done.add(name)

    def _begin(self, tracker: Tracker, name: str) -> None:
        if name in self._open:
            return
        folder = self._folders[name]
        spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        tracker.start(folder, spec, new=self._sure and run_ids(folder) is None)
        self._open.add(name)

    def _is_over(self) -> bool:
        executed = [_name(run) for run in self._batch["runs"] if not run["cached"]]
        return all(name in self._done for name in executed)

    def _rows(self) -> list[BatchRow]:
        return [self._row(run) for run in self._batch["runs"]]

    def _row(self, run: Mapping[str, Any]) -> BatchRow:
        name = _name(run)
        known = run_ids(self._folders[name])
        ids = (known["experiment_id"], known["run_id"]) if known else None
        state = "cached" if run["cached"] else self._states[name]
        return BatchRow(run["label"], state, ids)


def _has_started(folder: Path) -> bool:
    return content.read_records(folder).state.get("started") is not None


def _name(run: Mapping[str, Any]) -> str:
    return f"{run['slug']}-{run['key'][:16]}"


def follow(folder: Path, runs_dir: Path, uri: str) -> bool:
    """Follow a batch until MLflow has all of it or the runner closes the standard input.

    Returns:
        Whether MLflow has all of it.
    """
    follower = Follower(folder, runs_dir, uri)
    said = ""
    pause = _STEP_SECONDS
    while True:
        try:
            done = follower.step()
            message, pause = "", _STEP_SECONDS
        except TrackingError as error:
            done, message, pause = False, str(error), _RETRY_SECONDS
        if message != said or not (folder / STATUS).exists():
            _say(folder, message)
            said = message
        if done or _runner_is_gone(pause):
            return done


def read_status(folder: Path) -> str | None:
    """Return what a batch's follower complains of, "" if of nothing, None before it speaks."""
    try:
        status = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return str(status["message"])


def _say(folder: Path, message: str) -> None:
    try:
        files.write_json(folder / STATUS, {"ok": not message, "message": message})
    except OSError as error:
        _log.warning("%s", error)


def _runner_is_gone(seconds: float) -> bool:
    """Wait; return whether the other end of the standard input is closed."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1)


def main() -> None:
    """Follow the batch whose folder and folder of runs are the arguments."""
    folder, runs_dir = Path(sys.argv[1]), Path(sys.argv[2])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    # Retries hidden in the client would create a run twice if an answer got lost.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    # Most of its work is done for runs that are over; it gives way to those that are not.
    os.nice(_NICE)
    store.be_quiet()
    skip_iri_grammars()
    try:
        with FileLock(folder / ".mlflow.lock", timeout=_LOCK_SECONDS):
            sys.exit(0 if follow(folder, runs_dir, store.tracking_uri()) else 1)
    except Timeout:
        sys.exit(f"another process follows {folder}")


if __name__ == "__main__":
    main()
