"""Live tracking: what the follower calls while a batch runs."""

import json
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import psutil

from stemma import files, paths
from stemma.errors import TrackingError
from stemma.tracking import content, publish, store
from stemma.tracking.experiments import get_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient

_RETRY_SECONDS = 60.0

_log = logging.getLogger("stemma.tracking")


@dataclass
class _Open:
    """A run that is RUNNING in MLflow."""

    run_id: str
    experiment_id: str
    feed: publish.Feed
    flushed: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class BatchRow(NamedTuple):
    """A run in the description of its batch; ``ids``: experiment and run, None if cached."""

    label: str
    state: str
    ids: tuple[str, str] | None


class Tracker:
    """Writes a batch to MLflow; there is only one of a batch at a time.

    Methods may be called from any thread. A store that fails while a run goes on costs no data:
    ``poll`` keeps its points and tries again later, and ``sync`` repairs from the folders.

    Attributes:
        uri: the store.
        client: MLflow's client of it.
    """

    def __init__(self, uri: str, *, flush_seconds: float = 5.0) -> None:
        """Open the store, creating its schema if it is new.

        Args:
            uri: a database or a server.
            flush_seconds: metric points of a run are sent at most this often.

        Raises:
            TrackingError: the store cannot be opened.
        """
        self.uri = uri
        self.client: MlflowClient = store.open_client(uri)
        self._flush_seconds = flush_seconds
        self._runs: dict[Path, _Open] = {}
        self._batches: dict[str, str] = {}
        self._experiments: dict[str, str] = {}
        self._retry_at = 0.0
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def experiment(self, slug: str) -> str:
        """Return the id of the experiment ``stemma/<slug>``, created if it is absent.

        Raises:
            TrackingError: the store fails.
        """
        if slug not in self._experiments:
            with store.mending(self.uri), store.locked(self.uri):
                self._experiments[slug] = get_experiment(self.client, self.uri, slug)
        return self._experiments[slug]

    def open_batch(self, batch_id: str, slugs: Sequence[str], description: str) -> tuple[str, bool]:
        """Create the batch's own run in the experiment ``stemma/batches``, or reopen it.

        The runs of a batch name it by tags and it links to them. They are not nested in it: a
        parent in another experiment makes MLflow's page of a paper show batches, with the paper's
        own runs folded away under them.

        Returns:
            The run's id, and whether it was there before.

        Raises:
            TrackingError: the store fails.
        """
        experiment_id = self.experiment(content.BATCHES)
        with store.mending(self.uri):
            found = find_run(self.client, experiment_id, {content.BATCH: batch_id})
            if found is None:
                parent = create_batch(
                    self.client, experiment_id, batch_id, None, {content.NOTE: description}
                )
                publish.set_tags(self.client, parent, {"stemma.slugs": ", ".join(slugs)[:8000]})
            else:
                parent = found
                self._reopen(parent, {})
        self._batches[batch_id] = parent
        return parent, found is not None

    def start(self, folder: Path, spec: Mapping[str, Any], *, new: bool = True) -> str:
        """Create the run of ``folder``, RUNNING, and return its id; the folder remembers it.

        Args:
            folder: the run's folder.
            spec: its specification.
            new: False looks first whether the store has the run: the answer of a store that failed
                may be lost, and so may be a tracker that died.

        Raises:
            TrackingError: the store fails.
        """
        experiment_id = self.experiment(spec["slug"])
        extra = {content.STATE: "running", content.RUNNER: runner_tag()}
        if spec["batch"] in self._batches:
            extra[content.BATCH_RUN] = self._batches[spec["batch"]]
        with store.mending(self.uri):
            run_id = None if new else self._find(folder, experiment_id, spec)
            if run_id is None:
                run_id = publish.create_run(self.client, experiment_id, spec, None, extra)
            else:
                self._reopen(run_id, extra)
        ids = {"tracking_uri": self.uri, "experiment_id": experiment_id, "run_id": run_id}
        files.write_json(folder / paths.MLFLOW_IDS, ids)
        feed = publish.Feed(folder)
        self._runs[folder] = _Open(run_id, experiment_id, feed, time.monotonic())
        return run_id

    def restart(self, folder: Path) -> None:
        """Follow the events of a new attempt; they are in a new file."""
        if folder in self._runs:
            self._runs[folder].feed = publish.Feed(folder)

    def _find(self, folder: Path, experiment_id: str, spec: Mapping[str, Any]) -> str | None:
        known = run_ids(folder)
        if known is not None and known["tracking_uri"] == self.uri:
            return known["run_id"]
        wanted = {content.BATCH: spec["batch"], content.KEY: spec["key"]}
        return find_run(self.client, experiment_id, wanted)

    def _reopen(self, run_id: str, tags: Mapping[str, str]) -> None:
        mine = {content.RUNNER: runner_tag(), content.COMPLETE: "false"}
        publish.set_tags(self.client, run_id, {**tags, **mine})
        self.client.update_run(run_id, status="RUNNING")

    def poll(self, folder: Path) -> None:
        """Forward the metrics that a run has recorded since; never raises for a failing store."""
        run = self._runs.get(folder)
        if run is None:
            return
        with run.lock:
            run.feed.read()
            now = time.monotonic()
            if now < max(self._retry_at, run.flushed + self._flush_seconds):
                return
            run.flushed = now
            try:
                with store.mending(self.uri):
                    run.feed.flush(self.client, run.run_id)
            except TrackingError as error:
                self._retry_at = now + _RETRY_SECONDS
                if not self._warned:
                    _log.warning("%s; metrics are kept and sent later", error)
                self._warned = True

    def finish(self, folder: Path) -> None:
        """Log what a finished run left and end it in MLflow per its ``state.json``.

        Raises:
            TrackingError: the store fails; the run stays open here, for ``close``.
        """
        run = self._runs.get(folder)
        if run is None:
            return
        with run.lock, store.mending(self.uri):
            publish.publish(self.client, folder, run.run_id, run.experiment_id, run.feed)
        self._runs.pop(folder, None)

    def close_batch(self, parent_id: str, rows: Sequence[BatchRow]) -> None:
        """End the batch's run: its description lists the runs with links.

        Raises:
            TrackingError: the store fails.
        """
        with store.mending(self.uri):
            end_batch(self.client, parent_id, rows, time.time())
        self._batches = {b: p for b, p in self._batches.items() if p != parent_id}

    def close(self) -> None:
        """End whatever is still open: finished runs per their state, all others as KILLED."""
        try:
            for folder in list(self._runs):
                self._close_run(folder)
            with store.mending(self.uri):
                for parent in self._batches.values():
                    publish.end_killed(self.client, parent, "lost")
        except TrackingError as error:
            _log.warning("%s; `stemma sync` will repair it", error)
        self._runs.clear()
        self._batches.clear()

    def _close_run(self, folder: Path) -> None:
        try:
            state = content.read_records(folder).state["state"]
        except (OSError, ValueError, KeyError):
            state = "running"
        if state not in content.UNFINISHED:
            self.finish(folder)
            return
        run = self._runs.pop(folder)
        with run.lock, store.mending(self.uri):
            run.feed.read()
            run.feed.flush(self.client, run.run_id)
            publish.end_killed(self.client, run.run_id, "lost")


def create_batch(
    client: "MlflowClient",
    experiment_id: str,
    batch_id: str,
    started: float | None,
    tags: Mapping[str, str],
) -> str:
    """Create the run of a batch and return its id."""
    run = client.create_run(
        experiment_id,
        start_time=content.milliseconds(time.time() if started is None else started),
        tags={content.BATCH: batch_id, content.RUNNER: runner_tag(), **tags},
        run_name=batch_id,
    )
    return str(run.info.run_id)


def end_batch(
    client: "MlflowClient", parent_id: str, rows: Sequence[BatchRow], ended: float
) -> None:
    """Log how many runs ended how, list them with links, and end the batch's run."""
    when = content.milliseconds(ended)
    counts = Counter(row.state for row in rows)
    points = [content.Point(f"runs/{state}", n, when, 0) for state, n in sorted(counts.items())]
    publish.log_points(client, parent_id, points)
    lines = [f"| {_link(row)} | {row.state} |" for row in sorted(rows, key=lambda r: r.label)]
    table = "\n".join(["| run | state |", "| --- | --- |", *lines])
    publish.set_tags(client, parent_id, {content.NOTE: table[:8000], content.COMPLETE: "true"})
    client.set_terminated(parent_id, _batch_status(counts), end_time=when)


def _link(row: BatchRow) -> str:
    return f"[{row.label}]({store.run_fragment(*row.ids)})" if row.ids else row.label


def find_run(client: "MlflowClient", experiment_id: str, tags: Mapping[str, str]) -> str | None:
    """Return the id of the run of an experiment with these tags, None if there is none."""
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    found = client.search_runs([experiment_id], wanted, max_results=1)
    return str(found[0].info.run_id) if found else None


def run_ids(folder: Path) -> dict[str, str] | None:
    """Return what a run's folder knows of its MLflow run, None if it has none yet."""
    try:
        found: dict[str, str] = json.loads((folder / paths.MLFLOW_IDS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found


def _batch_status(counts: Mapping[str, int]) -> str:
    if set(counts) <= {"succeeded"}:
        return "FINISHED"
    return "KILLED" if "cancelled" in counts else "FAILED"


def runner_tag() -> str:
    """Return what identifies this process: host, process id, start time (ids are reused)."""
    process = psutil.Process(os.getpid())
    return f"{socket.gethostname()}:{process.pid}:{int(process.create_time())}"


def runner_is_dead(tag: str) -> bool:
    """Return whether the process of ``tag`` ran on this host and is gone."""
    host, pid, created = [*tag.rsplit(":", 2), "", ""][:3]
    if host != socket.gethostname() or not (pid.isdigit() and created.isdigit()):
        return False
    try:
        return int(psutil.Process(int(pid)).create_time()) != int(created)
    except psutil.NoSuchProcess:
        return True
