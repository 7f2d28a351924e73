"""One attempt after another in a run's folder: how it begins, what it left, what follows."""

import shutil
import uuid
from pathlib import Path

from filelock import FileLock

from stemma import paths
from stemma.batch.records import Failure, Result, RunState, Spec, State

_STAYS = frozenset(
    {".lock", "spec.json", "state.json", paths.MLFLOW_IDS, "attempts", paths.CHECKPOINT}
)


def begin(folder: Path, number: int, *, less_memory: bool = False) -> Spec:
    """Make the folder ready for attempt ``number`` and return its specification.

    What the attempt before left moves to ``attempts/``. The new token makes a worker of that
    attempt, should one still come, leave at once. With ``less_memory`` the attempt takes the
    parameters by which the paper saves memory.

    Raises:
        OSError: the disk is full.
        filelock.Timeout: a worker of an older attempt still holds the folder.
    """
    with FileLock(folder / ".lock", blocking=False):
        spec: Spec = Spec.read(folder / "spec.json")
        changes: dict[str, object] = {"attempt": number, "token": uuid.uuid4().hex}
        if less_memory:
            changes |= {"parameters": spec.parameters | spec.less_memory, "less_memory": {}}
        fresh = spec.model_copy(update=changes)
        fresh.write(folder / "spec.json")
        left = [p for p in folder.iterdir() if p.name not in _STAYS]
        if left:
            archive = folder / "attempts" / str(spec.attempt)
            archive.mkdir(parents=True, exist_ok=True)
            for path in left:
                shutil.move(path, archive / path.name)
    return fresh


def outcome(folder: Path, token: str) -> Result | None:
    """Return the result of this very attempt, None if it left none."""
    result = Result.find(folder / "result.json")
    return result if result is not None and result.token == token else None


def may_retry(state: RunState, folder: Path, spec: Spec) -> bool:
    """Return whether the machine failed, and not the notebook: only then is trying again honest.

    A time-out may be tried again if the notebook left a checkpoint to go on from; a run that ran
    out of memory, if the paper knows how to do with less and has not done so yet.
    """
    if state.state is State.TIMED_OUT:
        return any((folder / paths.CHECKPOINT).glob("*"))
    if state.failure is Failure.OUT_OF_MEMORY:
        return bool(spec.less_memory)
    if state.state is State.LOST:
        return True
    failure = state.failure
    return state.state is State.FAILED and failure is not None and failure.is_infrastructure
