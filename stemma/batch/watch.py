"""A batch as its onlookers see it: they read its files, and nothing they do can hurt it."""

import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

from stemma import files
from stemma.batch import batches, daemon, requests
from stemma.batch.records import Batch, BatchRun, Result, RunState, State
from stemma.errors import RunError

_LOOK_SECONDS = 0.2
_MAX_RESTARTS = 3


class Listener(Protocol):
    """Sees a batch go by; the terminal's progress bars are one."""

    def state(self, run: BatchRun, state: RunState) -> None:
        """A run changed its state."""

    def event(self, run: BatchRun, event: dict[str, Any]) -> None:
        """A run's worker or notebook appended an event."""

    def warn(self, message: str) -> None:
        """Something went wrong that does not stop the batch."""


@dataclass(frozen=True)
class Finished:
    """A run that is over: executed now, or taken from the cache."""

    run: BatchRun
    state: RunState
    result: Result | None


class Watch:
    """Follows a batch's files and tells a listener what is new."""

    def __init__(self, batch: Batch, listener: Listener) -> None:
        self._listener = listener
        self._batch = batch
        self._runs = {run.name: run for run in batch.runs}
        self._events = files.EventTail(batches.folder(batch.id) / "events.jsonl")
        self._tails: dict[str, files.EventTail] = {}
        self._open = {run.name for run in batch.runs if not run.cached}

    @property
    def is_over(self) -> bool:
        """Whether every run has come to its end, as far as this onlooker has read."""
        return not self._open

    def look(self) -> None:
        """Tell the listener what happened since the last look."""
        for event in self._events.read():
            if event["kind"] == "warning":
                self._listener.warn(event["message"])
            elif event["kind"] == "state":
                self._state(event)
        for name in list(self._tails):
            self._read(name)

    def _state(self, event: dict[str, Any]) -> None:
        name = event["run"]
        run = self._runs[name]
        fields = {k: v for k, v in event.items() if k not in ("time", "kind", "run")}
        state = RunState.model_validate(fields)
        if state.state is State.STARTING:
            self._tails[name] = files.EventTail(batches.run_folder(run) / "events.jsonl")
        if state.state.final:
            self._read(name)
            self._tails.pop(name, None)
            self._open.discard(name)
        else:
            self._open.add(name)
        self._listener.state(run, state)

    def _read(self, name: str) -> None:
        for event in self._tails[name].read() if name in self._tails else ():
            self._listener.event(self._runs[name], event)


def attach(batch: Batch, listener: Listener, cancel: threading.Event) -> list[Finished]:
    """Watch a batch until its runner has done everything; return its runs in their order.

    A runner that is missing is started, and one that dies on the way is started anew.

    Args:
        batch: the batch.
        listener: is told what happens.
        cancel: once it is set, the batch is cancelled.

    Raises:
        RunError: the runner dies again and again.
    """
    watch = Watch(batch, listener)
    folder = batches.folder(batch.id)
    restarts, asked = 0, False
    while True:
        watch.look()
        if cancel.is_set() and not asked:
            requests.ask(folder, requests.Request(action="cancel"))
            asked = True
        if not batches.is_alive(batch.id):
            watch.look()
            if watch.is_over and not requests.pending(folder):
                break
            if restarts > _MAX_RESTARTS:
                log = folder / "runner.log"
                last = (log.read_text().strip().splitlines() or [""])[-1]
                raise RunError(f"the runner dies again and again ({last}): see {log}")
            if restarts:
                listener.warn("the runner died; a new one goes on")
            daemon.start(batch.id)
            restarts += 1
        cancel.wait(_LOOK_SECONDS) if not asked else time.sleep(_LOOK_SECONDS)
    return finished(batch)


def finished(batch: Batch) -> list[Finished]:
    """Return the runs of a batch with what they found."""
    results = {run.name: result for run, result in batches.results(batch)}
    return [Finished(run, state, results.get(run.name)) for run, state in batches.view(batch)]
