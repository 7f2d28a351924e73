"""The folders of batches: what a batch is to do, how its runs fare, what they found.

``batches/<id>/`` holds ``batch.json``, ``results/`` (links to what the runs that are over found,
which outlive the runs' folders), ``runner.log`` and requests to the runner.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from stemma import catalog, paths, tracking
from stemma.batch.records import Batch, BatchRun, MlflowIds, Result, RunState, Spec, State
from stemma.errors import RunError

RUNNER_LOCK = ".runner.lock"

Labelled = tuple[str, str, Mapping[str, object]]
"""A run as its label knows it: slug, scale and parameters."""


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


def every() -> list[Batch]:
    """Return all batches, the latest last."""
    found = [_stored(path, path.stat().st_mtime_ns) for path in root().glob("*/batch.json")]
    return sorted(found, key=lambda batch: (batch.created, batch.id))


@lru_cache(maxsize=4096)
def _stored(path: Path, _changed: int) -> Batch:
    """Read a batch once: the file is written once, and a long-lived reader asks for all often."""
    found: Batch = Batch.read(path)
    return found


def ids() -> list[str]:
    """Return the ids of all batches, the latest last."""
    return [batch.id for batch in every()]


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
    kept = RunState.find(_state_path(batch.id, run))
    if kept is not None:
        return kept
    owner = owner_of(run)
    if owner != batch.id:
        words = f"batch {owner} took it over" if owner else "its folder is gone"
        return RunState(state=State.LOST, message=words)
    return RunState.find(run_folder(run) / "state.json") or RunState(state=State.QUEUED)


def owner_of(run: BatchRun) -> str | None:
    """Return the id of the batch that began the run of a folder last, None if there is no run."""
    spec = Spec.find(run_folder(run) / "spec.json")
    return spec.batch if spec else None


def results(batch: Batch) -> Iterator[tuple[BatchRun, Result]]:
    """Yield the results of the runs that are over, judged by the present rules."""
    for run in batch.runs:
        result = Result.find(result_path(batch.id, run))
        if result is not None:
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
    return MlflowIds.find(folder / paths.MLFLOW_IDS)


def mlflow_link(folder: Path, server: str) -> str | None:
    """Return where a run stands in MLflow: on the server that has it, else on ``server``."""
    ids = mlflow_ids(folder)
    if ids is None:
        return None
    own = ids.tracking_uri if ids.tracking_uri.startswith("http") else server
    return tracking.run_link(own, ids.experiment_id, ids.run_id)


def varied(entries: Iterable[Labelled]) -> dict[tuple[str, str], set[str]]:
    """Return, for each slug and scale, the parameters that have several values."""
    values: dict[tuple[str, str], dict[str, set[str]]] = {}
    for slug, scale, parameters in entries:
        of_group = values.setdefault((slug, scale), {})
        for name, value in parameters.items():
            of_group.setdefault(name, set()).add(str(value))
    return {
        group: {name for name, found in of_group.items() if len(found) > 1}
        for group, of_group in values.items()
    }


def labels(entries: Sequence[Labelled]) -> list[str]:
    """Name runs by slug, and by scale and parameters where the slug does not tell them apart."""
    differing = varied(entries)
    scales = Counter(slug for slug, _ in differing)
    return [
        " ".join(
            [
                slug,
                *([scale] if scales[slug] > 1 else []),
                *(f"{n}={value}" for n, value in parameters.items() if n in differing[slug, scale]),
            ]
        )
        for slug, scale, parameters in entries
    ]


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
