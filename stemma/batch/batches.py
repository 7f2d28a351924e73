"""The folders of batches: what a batch is to do, how its runs fare, what they found.

``batches/<id>/`` holds ``batch.json``, ``results/`` (links to what the runs that are over found,
which outlive the runs' folders), ``runner.log`` and requests to the runner.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from pydantic import ValidationError

from stemma import catalog, paths
from stemma.batch.records import Batch, BatchRun, MlflowIds, Result, RunState, Spec, State
from stemma.errors import RunError

RUNNER_LOCK = ".runner.lock"


class RunView(NamedTuple):
    """A run of a batch and where it stands."""

    run: BatchRun
    state: RunState


def root() -> Path:
    """Return the folder of all batches."""
    return paths.runs() / "batches"


def folder(batch_id: str) -> Path:
    """Return the folder of a batch."""
    return root() / batch_id


def run_folder(run: BatchRun) -> Path:
    """Return the folder of a run."""
    return paths.runs() / run.folder


def result_path(batch_id: str, run: BatchRun) -> Path:
    """Return where a batch keeps the result of one of its runs."""
    return folder(batch_id) / "results" / f"{run.name}.json"


def ids() -> list[str]:
    """Return the ids of all batches, the latest last."""
    found = [(Batch.read(p).created, p.parent.name) for p in root().glob("*/batch.json")]
    return [name for _, name in sorted(found)]


def load(batch_id: str | None = None) -> Batch:
    """Return a batch; the latest if no id is given. The start of an id will do if it is unique.

    Raises:
        RunError: there is no such batch, or there are several.
    """
    known = ids()
    if batch_id is None:
        if not known:
            raise RunError("no batch yet: `stemma run` starts one")
        batch_id = known[-1]
    matching = [i for i in known if i == batch_id] or [i for i in known if i.startswith(batch_id)]
    if len(matching) != 1:
        what = f"{len(matching)} batches start with" if matching else "no batch"
        raise RunError(f"{what} `{batch_id}` (see `stemma status --all`)")
    found: Batch = Batch.read(folder(matching[0]) / "batch.json")
    return found


def view(batch: Batch) -> list[RunView]:
    """Return every run of a batch with its state."""
    return [RunView(run, state_of(batch, run)) for run in batch.runs]


def state_of(batch: Batch, run: BatchRun) -> RunState:
    """Return the state of one run of a batch."""
    if run.cached:
        return RunState(state=State.SUCCEEDED, attempts=0)
    kept = _read_state(_state_path(batch.id, run))
    if kept is not None:
        return kept
    owner = owner_of(run)
    if owner != batch.id:
        words = f"batch {owner} took it over" if owner else "its folder is gone"
        return RunState(state=State.LOST, message=words)
    return _read_state(run_folder(run) / "state.json") or RunState(state=State.QUEUED)


def owner_of(run: BatchRun) -> str | None:
    """Return the id of the batch that began the run of a folder last, None if there is no run."""
    try:
        spec: Spec = Spec.read(run_folder(run) / "spec.json")
    except (FileNotFoundError, ValidationError):
        return None
    return spec.batch


def _read_state(path: Path) -> RunState | None:
    try:
        state: RunState = RunState.read(path)
    except (FileNotFoundError, ValidationError):
        return None
    return state


def results(batch: Batch) -> Iterator[tuple[BatchRun, Result]]:
    """Yield the results of the runs that are over, judged by the present rules."""
    for run in batch.runs:
        try:
            result: Result = Result.read(result_path(batch.id, run))
        except (FileNotFoundError, ValidationError):
            continue
        yield run, result.judged_by(catalog.load(run.slug))


def keep(batch_id: str, run: BatchRun, state: RunState | None = None) -> None:
    """Link what a run left, and its final state, into the batch's folder; may be repeated."""
    target = result_path(batch_id, run)
    target.parent.mkdir(parents=True, exist_ok=True)
    source = run_folder(run) / "result.json"
    if source.is_file():
        _link(source, target)
    if state is not None:
        state.write(_state_path(batch_id, run))


def choose(batch: Batch, names: Sequence[str]) -> list[BatchRun]:
    """Return the runs of a batch with these labels, names or slugs; all if none is given.

    Raises:
        RunError: no run is called so.
    """
    if not names:
        return list(batch.runs)
    found = []
    for name in names:
        fitting = [r for r in batch.runs if name in (r.label, r.name, r.slug)]
        if not fitting:
            labels_ = ", ".join(r.label for r in batch.runs[:5])
            raise RunError(f"batch {batch.id} has no run `{name}` (it has {labels_}...)")
        found += fitting
    return found


def is_alive(batch_id: str) -> bool:
    """Return whether a batch has a runner: it holds a lock, which dies with it."""
    if not folder(batch_id).is_dir():
        return False
    try:
        with FileLock(folder(batch_id) / RUNNER_LOCK, blocking=False):
            return False
    except Timeout:
        return True


def is_kept(batch_id: str, run: BatchRun) -> bool:
    """Return whether the batch has the final state of a run."""
    return _state_path(batch_id, run).is_file()


def forget(batch_id: str, run: BatchRun) -> None:
    """Remove what the batch keeps of a run that is to be tried again."""
    _state_path(batch_id, run).unlink(missing_ok=True)
    result_path(batch_id, run).unlink(missing_ok=True)


def mlflow_ids(folder: Path) -> MlflowIds | None:
    """Return where a run is tracked; None if MLflow has no run for it yet."""
    try:
        ids: MlflowIds = MlflowIds.read(folder / "mlflow.json")
    except (FileNotFoundError, ValidationError):
        return None
    return ids


def labels(entries: Sequence[tuple[str, str, Mapping[str, object]]]) -> list[str]:
    """Name runs by slug, and by scale and parameters where the slug does not tell them apart.

    Args:
        entries: slug, scale and parameters of each run.
    """
    named = []
    for slug, scale, parameters in entries:
        others = [e for e in entries if e[0] == slug]
        words = [scale] if len({e[1] for e in others}) > 1 else []
        for name, value in parameters.items():
            values = {str(e[2].get(name)) for e in others if e[1] == scale}
            words += [f"{name}={value}"] if len(values) > 1 else []
        named.append(" ".join([slug, *words]))
    return named


def _state_path(batch_id: str, run: BatchRun) -> Path:
    return folder(batch_id) / "results" / f"{run.name}.state.json"


def _link(source: Path, target: Path) -> None:
    """Hard links cost no room, and a result is never written in place; some disks have none."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copy(source, temporary)
    os.replace(temporary, target)
