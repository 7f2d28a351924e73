"""Tests as their onlookers see them: read from their files, changing nothing."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

from stemma import files
from stemma.batch import processes
from stemma.batch.records import State, Worker
from stemma.descent import house
from stemma.descent.records import Begun, Cancellation, DescentTest, Outcome, Point

_BIRTH_SECONDS = 30.0
_POINTS = 200


def find(test_id: str) -> DescentTest | None:
    """Return a test with its curve; None if there is none of this id."""
    folder = house.folder(test_id)
    test = None if folder is None else look(folder)
    return None if folder is None or test is None else _with_curve(test, folder)


def latest(limit: int) -> list[DescentTest]:
    """Return the newest tests, newest first; those that are over without their curves."""
    found: list[DescentTest] = []
    for name in house.ids():
        folder = house.folder(name)
        test = None if folder is None else look(folder)
        if folder is not None and test is not None:
            found.append(test if test.state.final else _with_curve(test, folder))
        if len(found) == limit:
            break
    return found


def look(folder: Path) -> DescentTest | None:
    """Return the test of a folder without its curve; None if the folder holds none."""
    begun = Begun.find(folder / house.REQUEST)
    if begun is None:
        return None
    alive = _is_alive(folder, begun)
    # Read after the process was looked for: one that has gone by then has left its result.
    outcome = Outcome.find(folder / house.RESULT)
    cancellation = Cancellation.find(folder / house.CANCEL)
    test = DescentTest(
        id=folder.name, request=begun.request, state=State.RUNNING, started=begun.started
    )
    if outcome is not None and (cancellation is None or outcome.state is State.SUCCEEDED):
        return _ended(test, outcome, folder / house.EVIDENCE)
    if alive:
        return test
    if cancellation is not None:
        return test.model_copy(update={"state": State.CANCELLED, "ended": cancellation.time})
    words = f"its process is gone without a result (killed, or the machine stopped): {house.LOG}"
    return test.model_copy(update={"state": State.LOST, "message": words})


class Follower:
    """Knows the tests as they were last seen, and says which have changed since.

    Tests that were over when it was made are old news.
    """

    def __init__(self) -> None:
        self._seen: dict[str, DescentTest] = {}
        self._over = {test.id for test in latest(len(house.ids())) if test.state.final}

    def changed(self) -> list[DescentTest]:
        """Return the tests that are new, or have changed, since the last call."""
        news = []
        for name in house.ids():
            test = None if name in self._over else find(name)
            if test is None or test == self._seen.get(name):
                continue
            news.append(test)
            self._seen[name] = test
            if test.state.final:
                self._over.add(name)
                del self._seen[name]
        return news


def _is_alive(folder: Path, begun: Begun) -> bool:
    worker = Worker.find(folder / house.WORKER)
    if worker is None:
        return time.time() - begun.started < _BIRTH_SECONDS
    if worker.host != socket.gethostname():
        return True  # cannot be told from here
    return processes.find(worker.pid, worker.created) is not None


def _ended(test: DescentTest, outcome: Outcome, evidence: Path) -> DescentTest:
    found = outcome.model_dump(exclude={"version"})
    kept = evidence if outcome.state is State.SUCCEEDED and evidence.exists() else None
    return test.model_copy(update={**found, "evidence": kept and str(kept)})


def _with_curve(test: DescentTest, folder: Path) -> DescentTest:
    return test.model_copy(update={"curve": _thinned(list(_points(folder)))})


def _points(folder: Path) -> Iterator[Point]:
    for line in files.EventTail(folder / house.CURVE).read():
        yield Point.model_validate(line)


def _thinned(points: list[Point]) -> list[Point]:
    """Return at most some hundred points, the last among them: more, no picture could show."""
    step = -(-len(points) // _POINTS) or 1
    return points[::-1][::step][::-1]
