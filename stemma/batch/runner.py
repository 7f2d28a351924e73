"""The runner owns the states of a batch's runs; workers only write their folders.

It is a process of its own (``stemma.batch.daemon``) that survives the terminal. Whatever it knows
stands in files: a runner that is started on a batch whose runner died adopts the workers that live
and tries the dead ones again. Nothing is executed twice at a time, because a worker holds its
folder's lock, and nothing twice to completion, because a result carries the token of its attempt.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from filelock import Timeout

from stemma import files
from stemma.batch import attempts, batches, requests
from stemma.batch.executors import Executor, Handle, Job
from stemma.batch.records import Batch, BatchRun, Failure, RunState, Spec, State
from stemma.batch.scribe import Scribe
from stemma.errors import ExecutorError

_LOOP_SECONDS = 0.05
_REFUSED_SECONDS = 2.0
_FULL_SECONDS = 1.0
_AHEAD = 2

_log = logging.getLogger("stemma.batch")


@dataclass
class _Work:
    """A run that is not over: where it stands, and the attempt that is under way."""

    run: BatchRun
    folder: Path
    state: RunState
    written: RunState
    spec: Spec | None = None
    handle: Handle | None = None
    cancelled: bool = False
    less_memory: bool = False
    said: RunState | None = None
    said_handle: Handle | None = None

    @property
    def job(self) -> Job:
        assert self.spec is not None
        return Job(self.spec, self.folder)


class Runner:
    """Brings every run of a batch to its end."""

    def __init__(self, batch: Batch, executor: Executor, scribe: Scribe) -> None:
        """Take over a batch.

        Args:
            batch: what is to be done.
            executor: where workers run.
            scribe: tells where MLflow tracks the runs.
        """
        self._batch = batch
        self._folder = batches.folder(batch.id)
        self._executor = executor
        self._scribe = scribe
        self._wait_until = 0.0
        self._works = {run.name: self._work(run) for run in batch.runs if not run.cached}
        self._live = {n: w for n, w in self._works.items() if not self._is_settled(w)}

    def _work(self, run: BatchRun) -> _Work:
        state = batches.state_of(self._batch, run)
        return _Work(run, batches.run_folder(run), state, written=state)

    def run(self) -> None:
        """Work until every run is over; a full disk or a refusing cluster only makes it wait."""
        for work in self._live.values():
            self._recover(work)
        while self._live or self._obey():
            try:
                self._step()
            except OSError as error:
                _log.warning("%s: waiting", error)
                time.sleep(_FULL_SECONDS)
            time.sleep(_LOOP_SECONDS)

    def _step(self) -> None:
        self._obey()
        for work in self._of(State.STARTING, State.RUNNING):
            if work.handle is not None:
                self._watch(work)
        self._launch()
        for name, work in list(self._live.items()):
            if work.state.state.final:  # who hears of the end finds the result
                batches.keep(self._batch.id, work.run)
            self._tell(work)
            if work.state.state.final:
                batches.keep(self._batch.id, work.run, work.state)
                del self._live[name]

    def _is_settled(self, work: _Work) -> bool:
        """Whether a run is over and the batch has its result."""
        return work.state.state.final and batches.is_kept(self._batch.id, work.run)

    def _recover(self, work: _Work) -> None:
        """Find out what became of a run while there was no runner."""
        if work.state.state not in (State.STARTING, State.RUNNING):
            return
        work.spec = Spec.read(work.folder / "spec.json")
        stored = _stored_handle(work.folder, work.spec)
        handle = stored or Handle(kind=self._executor.kind, id="", token=work.spec.token)
        if self._executor.reattach(work.job, handle):
            work.handle = handle
        elif stored is None and attempts.outcome(work.folder, work.spec.token) is None:
            # It was never submitted, or its worker comes too late and will see another token.
            work.state = work.state.model_copy(update={"state": State.QUEUED})
        else:
            words = "its worker died while there was no runner"
            self._end(work, RunState(state=State.LOST, message=words))

    def _obey(self) -> bool:
        """Take the requests; return whether there were any."""
        taken = requests.take(self._folder)
        for request in taken:
            for name, work in self._works.items():
                if request.runs is None or name in request.runs:
                    (self._cancel if request.action == "cancel" else self._retry)(work)
        return bool(taken)

    def _cancel(self, work: _Work) -> None:
        if work.state.state.final:
            return
        work.cancelled = True
        if work.handle is not None:
            self._executor.cancel(work.job, work.handle)
        else:
            words = "cancelled before it started"
            work.state = _ended(work.state, RunState(state=State.CANCELLED, message=words))

    def _retry(self, work: _Work) -> None:
        """Queue a run that did not succeed once more, unless it is another batch's by now."""
        if not work.state.state.final or work.state.state is State.SUCCEEDED:
            return
        if batches.owner_of(work.run) != self._batch.id:
            return
        batches.forget(self._batch.id, work.run)
        work.state = RunState(state=State.QUEUED)
        work.spec = work.handle = None
        work.cancelled = work.less_memory = False
        self._live[work.run.name] = work

    def _launch(self) -> None:
        """Start what there are slots for; prepare a little ahead, so that MLflow is ready."""
        busy = sum(work.handle is not None for work in self._live.values())
        starting = [w for w in self._of(State.STARTING) if w.handle is None]
        ahead = max(0, self._executor.slots + _AHEAD - busy - len(starting))
        starting += [w for w in islice(self._of(State.QUEUED), ahead) if self._prepare(w)]
        for work in starting[: max(0, self._executor.slots - busy)]:
            self._submit(work)

    def _prepare(self, work: _Work) -> bool:
        """Begin an attempt; False if a worker of an older one is still about to leave."""
        number = work.state.attempts
        try:
            work.spec = attempts.begin(work.folder, number, less_memory=work.less_memory)
        except Timeout:
            return False
        work.state = work.state.model_copy(update={"state": State.STARTING})
        self._tell(work)
        return True

    def _submit(self, work: _Work) -> None:
        if time.monotonic() < self._wait_until or not self._scribe.is_ready(work.folder):
            return
        try:
            work.handle = self._executor.submit(work.job)
        except ExecutorError as error:
            _log.warning("%s", error)
            self._wait_until = time.monotonic() + _REFUSED_SECONDS
            return
        begun = work.state.started or time.time()
        work.state = work.state.model_copy(update={"started": begun})
        self._watch(work)

    def _watch(self, work: _Work) -> None:
        assert work.handle is not None
        report = self._executor.poll(work.job, work.handle)
        if report.phase == "running" and work.state.state is State.STARTING:
            work.state = work.state.model_copy(update={"state": State.RUNNING})
        if report.phase != "over":
            return
        if work.cancelled:
            state = RunState(state=State.CANCELLED, message="cancelled")
        elif report.timed_out:
            state = RunState(state=State.TIMED_OUT, message=report.message)
        else:
            failure = report.failure or Failure.DEAD_WORKER
            state = RunState(state=State.FAILED, failure=failure, message=report.message)
        self._end(work, state)

    def _end(self, work: _Work, found: RunState) -> None:
        """End an attempt, or queue the next one if the machine failed.

        Args:
            work: the run.
            found: how it ended if it left no result; a result says it better.
        """
        assert work.spec is not None
        result = attempts.outcome(work.folder, work.spec.token)
        if result is not None:
            found = RunState(state=result.outcome, failure=result.failure, message=result.message)
        again = work.state.attempts <= self._batch.retries and not work.cancelled
        if again and attempts.may_retry(found, work.folder, work.spec):
            _log.warning("%s: attempt %d: %s", work.run.label, work.state.attempts, found.message)
            work.less_memory = found.failure is Failure.OUT_OF_MEMORY
            work.state = work.state.model_copy(
                update={
                    "state": State.QUEUED,
                    "attempts": work.state.attempts + 1,
                    "message": f"tried again after: {found.message or found.state.value}",
                }
            )
            work.spec = work.handle = None
            return
        work.state = _ended(work.state, found)
        work.handle = None

    def _tell(self, work: _Work) -> None:
        """Write what changed of a run; what a full disk refuses is written later."""
        # Comparing a thousand queued states twenty times a second would take a tenth of a core.
        if work.state is work.said and work.handle is work.said_handle:
            return
        if work.handle is not None and work.handle != work.said_handle:
            work.handle.write(work.folder / "handle.json")
            work.said_handle = work.handle
        if work.state != work.written:
            work.state.write(work.folder / "state.json")
            work.written = work.state
        if work.state == work.said:
            return
        event = {"run": work.run.name, **work.state.model_dump(mode="json", exclude={"version"})}
        files.append_event(self._folder / "events.jsonl", "state", event)
        work.said = work.state

    def _of(self, *states: State) -> Iterator[_Work]:
        return (work for work in list(self._live.values()) if work.state.state in states)


def _ended(before: RunState, found: RunState) -> RunState:
    """Return the final state, with the times and the attempts of the run."""
    ended = time.time() if before.started else None
    return found.model_copy(
        update={"started": before.started, "ended": ended, "attempts": before.attempts}
    )


def _stored_handle(folder: Path, spec: Spec) -> Handle | None:
    handle = Handle.find(folder / "handle.json")
    return handle if handle is not None and handle.token == spec.token else None
