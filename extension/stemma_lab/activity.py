"""What happens while runs go on, told over Jupyter's event bus.

Events are hints: the bus has no memory, so the lab reads the state anew after a reconnection.
"""

import asyncio
import logging
import time
from typing import Any

from jupyter_events import EventLogger

from stemma.batch import batches
from stemma.batch.progress import Progress
from stemma.batch.records import Batch, BatchRun, RunState
from stemma.batch.watch import Watch
from stemma_lab import provenance
from stemma_lab.places import Places
from stemma_lab.runs import Place, has_runner, run_view
from stemma_lab.schemas import EVENT_SCHEMA, RunActivity

SCHEMA = {
    "$id": EVENT_SCHEMA,
    "version": "1",
    "title": "What happens while Stemma's runs go on",
    "personal-data": False,
    "type": "object",
    "properties": {
        "kind": {"enum": ["run", "provenance"]},
        "run": {"type": "object"},
        "test": {"type": "object"},
    },
    "required": ["kind"],
}
_SEARCH_SECONDS = 1.0

_log = logging.getLogger(__name__)


def register(logger: EventLogger) -> None:
    """Tell the bus what our events look like; may be repeated."""
    if EVENT_SCHEMA not in logger.schemas:
        logger.register_event_schema(SCHEMA)


class _Listener:
    """Keeps what a batch's files said, and which runs it is news of."""

    def __init__(self) -> None:
        self.states: dict[str, RunState] = {}
        self.progress: dict[str, Progress] = {}
        self.news: set[str] = set()

    def state(self, run: BatchRun, state: RunState) -> None:
        self.states[run.name] = state
        self.progress.pop(run.name, None)
        self.news.add(run.name)

    def event(self, run: BatchRun, event: dict[str, Any]) -> None:
        before = self.progress.get(run.name, Progress())
        now = self.progress[run.name] = before.after(event)
        if now is not before:
            self.news.add(run.name)

    def warn(self, message: str) -> None:
        _log.warning("%s", message)


class Followed:
    """A batch that is followed."""

    def __init__(self, batch: Batch, *, is_new: bool) -> None:
        """Begin to follow a batch; of one that is not new, what ended before is no news."""
        self._batch = batch
        self._runs = {run.name: run for run in batch.runs}
        self._listener = _Listener()
        self._watch = Watch(batch, self._listener)
        self._alive = True
        if is_new:
            self._listener.news.update(self._runs)
        else:
            self._watch.look()
            news = self._listener.news
            news -= {name for name in news if self._listener.states[name].state.final}

    def look(self, alive: bool) -> list[RunActivity]:
        """Return what is new: each run at most once."""
        self._watch.look()
        news = self._listener.news
        if alive is not self._alive:
            news.update(name for name in self._runs if not self._state(name).state.final)
            self._alive = alive
        told = [self._tell(name) for name in self._runs if name in news]
        news.clear()
        return told

    def _tell(self, name: str) -> RunActivity:
        place = Place(self._batch, self._runs[name])
        progress = self._listener.progress.get(name)
        return RunActivity(run=run_view(place, self._state(name), progress, self._alive))

    def _state(self, name: str) -> RunState:
        known = self._listener.states.get(name)
        return known or batches.state_of(self._batch, self._runs[name])


class Follower:
    """Follows every batch that has a runner; it costs one listing a second if there is none."""

    def __init__(self) -> None:
        self._followed: dict[str, Followed] = {}
        self._alive: dict[str, bool] = {}
        self._seen: dict[str, int] = {}
        self._searched = 0.0
        self._first = True

    @property
    def is_idle(self) -> bool:
        """Whether no batch is followed."""
        return not self._followed

    def look(self) -> list[RunActivity]:
        """Return what happened since the last look."""
        now = time.monotonic()
        if self._first or now - self._searched >= _SEARCH_SECONDS:
            self._search()
            self._searched = now
        told = [
            activity
            for batch_id, followed in self._followed.items()
            for activity in followed.look(self._alive[batch_id])
        ]
        for batch_id in [i for i, alive in self._alive.items() if not alive]:
            del self._followed[batch_id], self._alive[batch_id]
        return told

    def _search(self) -> None:
        """Find the batches that began, or that a runner took up again."""
        for batch in batches.every():
            changed = _changed(batch)
            before = self._seen.get(batch.id)
            self._seen[batch.id] = changed
            alive = self._is_alive(batch, changed != before)
            if batch.id in self._alive:
                self._alive[batch.id] = alive
            elif alive or (before is None and not self._first):
                is_new = before is None and not self._first
                self._followed[batch.id] = Followed(batch, is_new=is_new)
                self._alive[batch.id] = alive
        self._first = False

    def _is_alive(self, batch: Batch, has_changed: bool) -> bool:
        """A runner writes when it begins, so a silent batch that had none has none now."""
        if not has_changed and batch.id not in self._alive:
            return False
        return has_runner(batch)


def _changed(batch: Batch) -> int:
    """Return when the batch's runner wrote last; 0 if there was none."""
    try:
        return (batches.folder(batch.id) / "events.jsonl").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


class Activity:
    """Puts what happens to runs and tests on the bus, as tasks of the server's event loop."""

    def __init__(self, logger: EventLogger, seconds: float, places: Places) -> None:
        """Prepare.

        Args:
            logger: the event bus.
            seconds: the time between two looks at batches that run.
            places: where the paths of tests lead.
        """
        self._logger = logger
        self._seconds = seconds
        self._places = places
        self._follower = Follower()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow; call it on the thread of the event loop."""
        following = (self._follow_runs(), provenance.follow(self._emit, self._places))
        self._tasks = [asyncio.create_task(endless) for endless in following]

    async def stop(self) -> None:
        """End the tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def _emit(self, data: dict[str, Any]) -> None:
        self._logger.emit(schema_id=EVENT_SCHEMA, data=data)

    async def _follow_runs(self) -> None:
        while True:
            try:
                for activity in await asyncio.to_thread(self._follower.look):
                    self._emit(activity.model_dump(mode="json"))
            except Exception:
                _log.exception("the batches could not be read")
                await asyncio.sleep(_SEARCH_SECONDS)
            idle = self._follower.is_idle
            await asyncio.sleep(max(self._seconds, _SEARCH_SECONDS) if idle else self._seconds)
