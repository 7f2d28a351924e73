"""The runner owns states, cancellation and tracking; workers only write their folders."""

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from stemma import files
from stemma.batch import local
from stemma.batch.plan import Planned
from stemma.batch.records import MlflowIds, Result, RunState, State

_REFRESH_SECONDS = 0.2
_TRACK_SECONDS = 3.0


class Listener(Protocol):
    """Sees a batch go by; the terminal's progress bars are one."""

    def state(self, planned: Planned, state: RunState) -> None:
        """A run changed its state."""

    def event(self, planned: Planned, event: dict[str, Any]) -> None:
        """A run's worker or notebook appended an event."""

    def warn(self, message: str) -> None:
        """Something went wrong that does not stop the batch."""


class Tracking(Protocol):
    """What the runner needs of a tracker (``stemma.tracking.Tracker``)."""

    uri: str

    def experiment(self, slug: str) -> str:
        """Return the id of a paper's experiment."""

    def open_batch(self, batch_id: str, slugs: Sequence[str], description: str) -> str:
        """Create the batch's parent run and return its id."""

    def start(self, folder: Path, spec: dict[str, Any]) -> str:
        """Create a run and return its id."""

    def poll(self, folder: Path) -> None:
        """Forward new metrics."""

    def finish(self, folder: Path) -> None:
        """Log the results and end the run."""

    def close_batch(self, parent_id: str, summary: dict[str, str]) -> None:
        """End the parent run."""


@dataclass(frozen=True)
class Finished:
    """A run that is over: executed now, or taken from the cache."""

    planned: Planned
    state: RunState
    result: Result | None
    cached: bool = False


class Runner:
    """Executes planned runs, at most ``jobs`` at a time.

    A ``tracker`` is used by one thread only; when it fails, the batch goes on and
    ``stemma sync`` repairs MLflow later from the runs' folders.
    """

    def __init__(
        self,
        planned: Sequence[Planned],
        listener: Listener,
        *,
        jobs: int = 1,
        tracker: Tracking | None = None,
    ) -> None:
        self._planned = list(planned)
        self._listener = listener
        self._jobs = jobs
        self._tracker = tracker
        self._cancel = threading.Event()
        self._tracking = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._poll: Future[Any] | None = None
        self._polled = 0.0

    def run(self) -> list[Finished]:
        """Run everything that is not cached; return all runs in the planned order."""
        todo = [p for p in self._planned if p.hit is None]
        parent = self._open_batch(todo)
        tails = {p.folder: files.EventTail(p.folder / "events.jsonl") for p in todo}
        for p in todo:
            prepare(p.folder)
            self._set(p, RunState(state=State.QUEUED))
        with self._signals(), ThreadPoolExecutor(self._jobs) as pool:
            futures = {pool.submit(self._one, p): p for p in todo}
            pending = set(futures)
            while pending:
                _, pending = wait(pending, _REFRESH_SECONDS, FIRST_COMPLETED)
                for p in todo:
                    for event in tails[p.folder].read():
                        self._listener.event(p, event)
                self._poll_tracker(todo)
        finished = {futures[f].folder: f.result() for f in futures}
        everything = [finished.get(p.folder) or _from_cache(p) for p in self._planned]
        self._close_batch(parent, [f for f in everything if not f.cached])
        return everything

    @property
    def cancelled(self) -> bool:
        """Whether the batch was stopped by a signal."""
        return self._cancel.is_set()

    def _one(self, planned: Planned) -> Finished:
        folder = planned.folder
        if self._cancel.is_set():
            state = RunState(state=State.CANCELLED, message="cancelled before it started")
        else:
            self._set(planned, RunState(state=State.STARTING, started=time.time()))
            spec = planned.spec.model_copy(update={"mlflow": self._start_tracking(planned)})
            spec.write(folder / "spec.json")
            self._set(planned, RunState(state=State.RUNNING, started=time.time()))
            state = local.execute(spec, folder, self._cancel)
        self._set(planned, state)
        self._track(lambda t: t.finish(folder), wait_for_it=False)
        path = folder / "result.json"
        return Finished(planned, state, Result.read(path) if path.is_file() else None)

    def _set(self, planned: Planned, state: RunState) -> None:
        state.write(planned.folder / "state.json")
        self._listener.state(planned, state)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn SIGINT and SIGTERM into a cancellation of the whole batch."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def cancel(_number: int, _frame: FrameType | None) -> None:
            self._cancel.set()

        before = {s: signal.signal(s, cancel) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _open_batch(self, todo: Sequence[Planned]) -> str | None:
        if not todo:
            return None
        slugs = [p.spec.slug for p in todo]
        batch = todo[0].spec.batch
        parent: str | None = self._track(lambda t: t.open_batch(batch, slugs, ", ".join(slugs)))
        return parent

    def _close_batch(self, parent: str | None, finished: Sequence[Finished]) -> None:
        if parent is not None:
            summary = {f.planned.spec.slug: f.state.state.value for f in finished}
            self._track(lambda t: t.close_batch(parent, summary))
        self._tracking.shutdown(wait=True)

    def _start_tracking(self, planned: Planned) -> MlflowIds | None:
        def start(tracker: Tracking) -> MlflowIds:
            spec = planned.spec.model_dump(mode="json")
            return MlflowIds(
                tracking_uri=tracker.uri,
                experiment_id=tracker.experiment(planned.spec.slug),
                run_id=tracker.start(planned.folder, spec),
            )

        ids: MlflowIds | None = self._track(start)
        return ids

    def _poll_tracker(self, todo: Sequence[Planned]) -> None:
        busy = self._poll is not None and not self._poll.done()
        if self._tracker is None or busy or time.monotonic() - self._polled < _TRACK_SECONDS:
            return
        self._polled = time.monotonic()

        def poll(tracker: Tracking) -> None:
            for p in todo:
                tracker.poll(p.folder)

        self._poll = self._submit(poll)

    def _track(self, action: Callable[[Tracking], Any], *, wait_for_it: bool = True) -> Any:
        if self._tracker is None:
            return None
        future = self._submit(action)
        return future.result() if wait_for_it else None

    def _submit(self, action: Callable[[Tracking], Any]) -> Future[Any]:
        def guarded() -> Any:
            if self._tracker is None:
                return None
            try:
                return action(self._tracker)
            except Exception as error:
                # The run matters more than its view: drop the tracker, keep the batch.
                self._tracker = None
                self._listener.warn(
                    f"MLflow failed ({type(error).__name__}: {error}); the runs go on,"
                    " `stemma sync` will bring MLflow up to date"
                )
                return None

        return self._tracking.submit(guarded)


def prepare(folder: Path) -> None:
    """Make an empty run folder; an older attempt is kept beside it under ``superseded/``."""
    if folder.exists():
        old = folder.parent / "superseded"
        old.mkdir(exist_ok=True)
        shutil.move(folder, old / f"{folder.name}-{time.time_ns()}")
    folder.mkdir(parents=True)


def _from_cache(planned: Planned) -> Finished:
    return Finished(planned, RunState(state=State.SUCCEEDED), planned.hit, cached=True)
