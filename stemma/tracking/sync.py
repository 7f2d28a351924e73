"""Rebuilds or repairs MLflow from the folders of the runs."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from stemma.tracking import content, publish, store
from stemma.tracking.content import Records
from stemma.tracking.experiments import get_experiment
from stemma.tracking.tracker import (
    BatchRow,
    create_batch,
    end_batch,
    run_ids,
    runner_is_dead,
    runner_tag,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger("stemma.tracking")


def sync(
    runs_dir: Path, uri: str, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Make MLflow hold exactly one run for each executed run folder; may be repeated.

    Runs that MLflow has completely are left alone, others are created or repaired. Runs that a
    dead runner of this machine left RUNNING are ended. Runs that a living runner tracks, or that
    were deleted in MLflow, are not touched.

    Args:
        runs_dir: the folder of runs (its ``out/`` is read).
        uri: the store.
        progress: called with the number of folders done and of all folders.

    Returns:
        How many runs were created, updated, unchanged, ended, unfinished or unreadable.

    Raises:
        TrackingError: the store cannot be opened or fails.
    """
    client = store.open_client(uri)
    folders = run_folders(runs_dir)
    counts: Counter[str] = Counter()
    runs_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(runs_dir / ".sync.lock"), store.mending(uri):
        work = _Sync(client, uri)
        for done, folder in enumerate(folders, start=1):
            counts[work.folder(folder)] += 1
            if progress is not None:
                progress(done, len(folders))
        work.rebuild_batches()
        counts["ended"] += work.end_orphans()
    return {what: count for what, count in counts.items() if count}


def run_folders(runs_dir: Path) -> list[Path]:
    """Return every folder that holds a run, superseded attempts too, oldest names first."""
    out = runs_dir / "out"
    found = [*out.glob("*/*/spec.json"), *out.glob("*/superseded/*/spec.json")]
    return sorted(path.parent for path in found)


@dataclass
class _Batch:
    """What the folders say of one batch."""

    rows: list[BatchRow] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)


class _Sync:
    """One pass over the folders, with what MLflow held before it."""

    def __init__(self, client: "MlflowClient", uri: str) -> None:
        self._client = client
        self._uri = uri
        self._experiments: dict[str, str] = {}
        self._batches: dict[str, _Batch] = defaultdict(_Batch)
        self._by_id: dict[str, Any] = {}
        self._by_execution: dict[tuple[str, str], Any] = {}
        self._parents: dict[str, str] = {}
        for run in _all_runs(client):
            tags = run.data.tags
            self._by_id[run.info.run_id] = run
            if content.KEY in tags:
                self._by_execution[tags[content.KEY], tags.get(content.STARTED, "")] = run
            elif content.BATCH in tags:
                self._parents[tags[content.BATCH]] = run.info.run_id

    def folder(self, folder: Path) -> str:
        """Bring one folder's run up to date and say what was done."""
        feed = publish.Feed(folder)
        try:
            records = content.read_records(folder)
            state = records.state["state"]
            feed.read()
        except (OSError, ValueError, KeyError) as error:
            _log.warning("%s is not a readable run folder (%s)", folder, error)
            return "unreadable"
        if state in content.UNFINISHED or records.state.get("started") is None:
            return "unfinished"
        run = self._find(folder, records)
        if run is not None and run.info.lifecycle_stage == "deleted":
            return "unchanged"
        if run is not None and _is_live(run):
            return "unfinished"
        outcome = "unchanged"
        if run is None:
            run_id, experiment_id, outcome = *self._create(records), "created"
        else:
            run_id, experiment_id = run.info.run_id, run.info.experiment_id
            if _is_incomplete(run):
                outcome = "updated"
        if outcome != "unchanged":
            publish.publish(self._client, folder, run_id, experiment_id, feed)
        self._note_batch(records, (experiment_id, run_id))
        return outcome

    def _find(self, folder: Path, records: Records) -> Any:
        ids = run_ids(folder) or {}
        execution = (records.spec["key"], content.started_tag(records.state))
        return self._by_id.get(ids.get("run_id", "")) or self._by_execution.get(execution)

    def _create(self, records: Records) -> tuple[str, str]:
        experiment_id = self._experiment(records.spec["slug"])
        extra = {
            content.STARTED: content.started_tag(records.state),
            content.RUNNER: runner_tag(),
            content.BATCH_RUN: self._parent(records),
        }
        started = records.state["started"]
        run_id = publish.create_run(self._client, experiment_id, records.spec, started, extra)
        return run_id, experiment_id

    def _experiment(self, slug: str) -> str:
        if slug not in self._experiments:
            with store.locked(self._uri):
                self._experiments[slug] = get_experiment(self._client, self._uri, slug)
        return self._experiments[slug]

    def _parent(self, records: Records) -> str:
        batch = records.spec["batch"]
        if batch not in self._parents:
            experiment_id = self._experiment(content.BATCHES)
            self._parents[batch] = create_batch(
                self._client, experiment_id, batch, records.state["started"], {}
            )
        return self._parents[batch]

    def _note_batch(self, records: Records, child: tuple[str, str]) -> None:
        batch = self._batches[records.spec["batch"]]
        batch.rows.append(BatchRow(records.spec["slug"], records.state["state"], child))
        batch.ended.append(records.state.get("ended") or records.state["started"])

    def rebuild_batches(self) -> None:
        """End the runs of batches that were created here or left open by a dead runner."""
        for batch_id, batch in self._batches.items():
            parent = self._parents.get(batch_id)
            known = self._by_id.get(parent or "")
            if parent is None or (known is not None and not _is_abandoned(known)):
                continue
            end_batch(self._client, parent, batch.rows, max(batch.ended))

    def end_orphans(self) -> int:
        """End the runs that a dead runner of this machine left RUNNING; return how many."""
        orphans = [run for run in _all_runs(self._client) if _is_abandoned(run)]
        for run in orphans:
            publish.end_killed(self._client, run.info.run_id, "lost")
        return len(orphans)


def _all_runs(client: "MlflowClient") -> Iterator[Any]:
    from mlflow.entities import ViewType

    experiments = _pages(
        lambda token: client.search_experiments(
            ViewType.ALL, filter_string=f"name LIKE '{content.PREFIX}%'", page_token=token
        )
    )
    ids = [experiment.experiment_id for experiment in experiments]
    if ids:
        yield from _pages(
            lambda token: client.search_runs(ids, "", ViewType.ALL, 1000, page_token=token)
        )


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    token = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return


def _is_incomplete(run: Any) -> bool:
    return bool(run.info.status == "RUNNING" or run.data.tags.get(content.COMPLETE) != "true")


def _is_abandoned(run: Any) -> bool:
    return (
        run.info.status == "RUNNING"
        and run.info.lifecycle_stage == "active"
        and runner_is_dead(run.data.tags.get(content.RUNNER, ""))
    )


def _is_live(run: Any) -> bool:
    return bool(run.info.status == "RUNNING" and not _is_abandoned(run))
