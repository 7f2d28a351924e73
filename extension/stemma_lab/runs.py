"""Runs as the lab shows them: where they stand, what they found, what they wrote."""

import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from stemma import catalog
from stemma.batch import batches, control
from stemma.batch.progress import Progress, ProgressTail
from stemma.batch.records import Batch, BatchRun, Result, RunState, Spec, State
from stemma_lab import schemas
from stemma_lab.base import Refused, unknown

LOG_BYTES = 256 * 1024
_START_SECONDS = 30.0
_ACTIVE = (State.STARTING, State.RUNNING)


class Place(NamedTuple):
    """A run and the batch that it belongs to."""

    batch: Batch
    run: BatchRun


class _Followed(NamedTuple):
    attempt: tuple[str, int]
    tail: ProgressTail


class Runs:
    """All runs of all batches."""

    def __init__(self, root: Path) -> None:
        """Take the folder that the server's file browser shows."""
        self._root = root
        self._followed: dict[str, _Followed] = {}
        self._lock = threading.Lock()

    def newest(self, limit: int) -> list[schemas.Run]:
        """Return the runs of the newest batches, at most ``limit``."""
        return list(islice(self._newest(), limit))

    def _newest(self) -> Iterator[schemas.Run]:
        for batch in reversed(batches.every()):
            alive: bool | None = None
            for run in batch.runs:
                state = batches.state_of(batch, run)
                if not state.state.final and alive is None:
                    alive = has_runner(batch)
                yield run_view(Place(batch, run), state, self._progress(batch, run, state), alive)

    def find(self, batch_id: str, name: str) -> Place:
        """Return a run.

        Raises:
            Refused: there is no such run.
        """
        for batch in batches.every():
            if batch.id == batch_id:
                for run in batch.runs:
                    if run.name == name:
                        return Place(batch, run)
        raise unknown("run", f"{batch_id}/{name}")

    def view(self, place: Place) -> schemas.Run:
        """Return how a run stands."""
        state = batches.state_of(*place)
        alive = state.state.final or has_runner(place.batch)
        return run_view(place, state, self._progress(*place, state), alive)

    def detail(self, place: Place) -> schemas.RunDetail:
        """Return a run with its parameters and its result."""
        from stemma.report.site.sources import Shown, folder_of
        from stemma_lab.results import result_view

        batch, run = place
        view = self.view(place)  # before the result: a run that has succeeded then has one
        spec = Spec.find(batches.run_folder(run) / "spec.json")
        parameters = spec.parameters if spec and spec.key == run.key else {}
        result = Result.find(batches.result_path(batch.id, run))
        shown = None
        if result is not None:
            paper = catalog.load(run.slug)
            parameters = result.parameters
            found = Shown(result.judged_by(paper), "run here", folder_of(result), run.label)
            shown = result_view(paper, found, self._root)
        return schemas.RunDetail(**dict(view), parameters=parameters, result=shown)

    def log(self, place: Place, offset: int) -> schemas.Log:
        """Return what a run wrote from ``offset`` on, at most the last ``LOG_BYTES``.

        Raises:
            Refused: another batch has run the same notebook since, and the log is its.
        """
        batch, run = place
        over = batches.state_of(batch, run).state.final
        folder = batches.run_folder(run)
        owner = batches.owner_of(run)
        if owner != batch.id and not run.cached:
            words = f"batch {owner} ran it again" if owner else "its folder was removed"
            raise Refused(404, f"the log of {run.label} is gone: {words}")
        path = folder / "log.txt"
        if not path.exists():
            return schemas.Log(text="", offset=0, over=over)
        if not path.resolve().is_relative_to(folder.resolve()):
            raise unknown("log of", run.label)
        text, reached = tail(path, offset, over=over)
        return schemas.Log(text=text, offset=reached, over=over)

    def cancel(self, place: Place) -> None:
        """Ask for a run to be stopped.

        Raises:
            Refused: it is over, or nothing runs it.
        """
        state = batches.state_of(*place).state
        if state.final:
            raise Refused(409, f"{place.run.label} is over: it {_ended(state)}")
        if not control.cancel(place.batch, [place.run]):
            raise Refused(409, f"{place.run.label}: {_NO_RUNNER}")

    def retry(self, place: Place) -> None:
        """Try a run again that did not succeed, or go on with one whose runner is gone.

        Raises:
            Refused: it succeeded, it is going on, or its folder is another batch's by now.
            StemmaError: no runner could be started.
        """
        batch, run = place
        state = batches.state_of(batch, run).state
        if state is State.SUCCEEDED:
            raise Refused(409, f"{run.label} has succeeded: start a new run to repeat it")
        if not state.final and has_runner(batch):
            raise Refused(409, f"{run.label} is {state.value}: wait for it or stop it")
        if batches.owner_of(run) != batch.id:
            words = "its folder is gone or another batch's by now"
            raise Refused(409, f"{run.label} cannot be retried, {words}: start a new run")
        control.retry(batch, [run])
        control.revive(batch)

    def _progress(self, batch: Batch, run: BatchRun, state: RunState) -> Progress | None:
        with self._lock:
            if state.state not in _ACTIVE:
                self._followed.pop(run.folder, None)
                return None
            attempt = (batch.id, state.attempts)
            known = self._followed.get(run.folder)
            if known is None or known.attempt != attempt:
                known = _Followed(attempt, ProgressTail(batches.run_folder(run)))
                self._followed[run.folder] = known
            return known.tail.read()


_NO_RUNNER = "its runner is gone and nothing works on it: retry goes on with it"


def has_runner(batch: Batch) -> bool:
    """Return whether a batch has a runner, or one is about to start."""
    if all(run.cached for run in batch.runs):
        return False
    begun = (batches.folder(batch.id) / "events.jsonl").exists()
    is_young = time.time() - batch.created < _START_SECONDS
    return batches.is_alive(batch.id) or (is_young and not begun)


def run_view(
    place: Place, state: RunState, progress: Progress | None, alive: bool | None
) -> schemas.Run:
    """Return a run as the lab shows it.

    Args:
        place: the run.
        state: where it stands.
        progress: how far its notebook is, if it runs.
        alive: whether its batch has a runner; of no meaning once the run is over.
    """
    batch, run = place
    orphaned = not state.state.final and not alive
    return schemas.Run(
        id=f"{batch.id}/{run.name}",
        batch=batch.id,
        batch_name=batch.name,
        slug=run.slug,
        scale=run.scale,
        label=run.label,
        state=state.state,
        failure=state.failure,
        message=_NO_RUNNER if orphaned else state.message,
        created=batch.created,
        started=state.started,
        ended=state.ended,
        attempts=state.attempts,
        cached=run.cached,
        progress=schemas.Progress.model_validate(progress) if progress else None,
    )


def _ended(state: State) -> str:
    return {State.SUCCEEDED: "succeeded", State.FAILED: "failed"}.get(state, f"is {state.value}")


def tail(path: Path, offset: int, *, over: bool) -> tuple[str, int]:
    """Return the text of a file from a byte on, and the byte where the next call goes on.

    A file that shrank is read from its start. Bytes at the end that begin a character wait for the
    next call, unless the file is ``over``.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        start = offset if offset <= size else 0
        cut = size - start > LOG_BYTES
        stream.seek(size - LOG_BYTES if cut else start)
        found = stream.read(LOG_BYTES)
        end = stream.tell()
    if cut:
        found = found[_continuation(found) :]
    if not over:
        waiting = _unfinished(found)
        found, end = found[: len(found) - waiting], end - waiting
    return found.decode(errors="replace"), end


def _continuation(found: bytes) -> int:
    """Return how many bytes at the start belong to a character that began before."""
    return next((i for i, byte in enumerate(found[:3]) if byte & 0xC0 != 0x80), 3)


def _unfinished(found: bytes) -> int:
    """Return how many bytes at the end begin a character that is not complete."""
    for back in range(1, min(3, len(found)) + 1):
        byte = found[-back]
        if byte & 0xC0 != 0x80:
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return back if length > back else 0
    return 0
