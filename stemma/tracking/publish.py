"""Writes one run folder to MLflow; live tracking and ``sync`` both go this way."""

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

from stemma import files, paths
from stemma.tracking import content, figures
from stemma.tracking.content import Point, Records

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

_MAX_POINTS = 1000
_FILES = ("log.txt", "spec.json", "result.json")
_FOLDERS = ("figures", "tables", "artifacts")
EVIDENCE = "evidence.json"
CLAIMS = "claims.png"

_log = logging.getLogger("stemma.tracking")
_html_lock = threading.Lock()


def create_run(
    client: "MlflowClient",
    experiment_id: str,
    spec: Mapping[str, Any],
    started: float | None,
    extra_tags: Mapping[str, str],
) -> str:
    """Create a run with its parameters, tags and data sets, and return its id."""
    from mlflow.entities import Param

    run = client.create_run(
        experiment_id,
        start_time=content.milliseconds(time.time() if started is None else started),
        tags={**content.tags(spec), **extra_tags},
        run_name=content.run_name(spec),
    )
    run_id: str = run.info.run_id
    client.log_batch(run_id, params=[Param(*item) for item in content.parameters(spec).items()])
    _log_sources(client, run_id, spec)
    return run_id


def _log_sources(client: "MlflowClient", run_id: str, spec: Mapping[str, Any]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(s.name, s.digest, "stemma", json.dumps({"name": s.name, "sha256": s.sha256})),
            [InputTag("mlflow.data.context", s.roles)],
        )
        for s in content.sources(spec)
    ]
    if inputs:
        _log_inputs(client, run_id, inputs)


def _is_race(error: BaseException) -> bool:
    return "unique" in str(error).lower()


# MLflow 3.17 looks whether a data set is known and then inserts it, so that of two runs that start
# at once with the same data one breaks the table's key.
@retry(
    retry=retry_if_exception(_is_race),
    stop=stop_after_attempt(8),
    wait=wait_random(0, 0.2),
    reraise=True,
)
def _log_inputs(client: "MlflowClient", run_id: str, inputs: list["DatasetInput"]) -> None:
    client.log_inputs(run_id, inputs)


class Feed:
    """Follows a run's events and hands its metrics to MLflow in batches.

    Attributes:
        models: the ``model`` events seen so far.
        peaks: the highest value of each system metric so far.
    """

    def __init__(self, folder: Path) -> None:
        self.models: list[dict[str, Any]] = []
        self.peaks: dict[str, float] = {}
        self._tail = files.EventTail(folder / "events.jsonl")
        self._points: list[Point] = []
        self._samples = 0

    def read(self) -> None:
        """Take in the events that were appended since the last call."""
        for event in self._tail.read():
            self._points += content.event_points(event, self._samples)
            if event["kind"] == "system":
                self._samples += 1
                for name, value in event["metrics"].items():
                    self.peaks[name] = max(value, self.peaks.get(name, value))
            if event["kind"] == "model":
                self.models.append(event)

    def flush(self, client: "MlflowClient", run_id: str) -> None:
        """Send all points; those that could not be sent are kept for the next time."""
        while self._points:
            log_points(client, run_id, self._points[:_MAX_POINTS])
            del self._points[:_MAX_POINTS]


def log_points(client: "MlflowClient", run_id: str, points: list[Point]) -> None:
    """Log at most 1,000 points; points that the store has already are not doubled by it."""
    from mlflow.entities import Metric

    if points:
        client.log_batch(run_id, metrics=[Metric(*point) for point in points])


def publish(
    client: "MlflowClient", folder: Path, run_id: str, experiment_id: str, feed: Feed
) -> None:
    """Log everything that a finished run left, and end it in MLflow; may be repeated."""
    records = content.read_records(folder)
    feed.read()
    feed.flush(client, run_id)
    points = content.common_points(records, feed.peaks) + content.claim_points(records)
    for first in range(0, len(points), _MAX_POINTS):
        log_points(client, run_id, points[first : first + _MAX_POINTS])
    _upload(client, folder, run_id)
    _log_claims_figure(client, run_id, records)
    _log_evidence(client, run_id, records)
    _log_models(client, run_id, experiment_id, feed.models)
    set_tags(
        client,
        run_id,
        content.final_tags(records)
        | {
            content.NOTE: content.description(records, _links(folder, records)),
            content.COMPLETE: "true",
        },
    )
    ended = records.state.get("ended")
    client.set_terminated(
        run_id,
        content.status(records.state["state"]),
        end_time=content.milliseconds(time.time() if ended is None else ended),
    )


def _links(folder: Path, records: Records) -> list[str]:
    page = f"papers/{records.spec['slug']}.html"
    site = os.environ.get("STEMMA_REPORT_URL")
    report = (
        f"[page of the paper]({site.rstrip('/')}/{page})"
        if site
        else f"page of the paper, once `stemma report` has run: `{paths.runs() / 'report' / page}`"
    )
    return [f"Folder: `{folder}` · {report}"]


def set_tags(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> None:
    """Set several tags in one call."""
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(*item) for item in tags.items()])


def end_killed(client: "MlflowClient", run_id: str, state: str) -> None:
    """End a run that nobody executes any more."""
    set_tags(client, run_id, {content.STATE: state})
    client.set_terminated(run_id, "KILLED")


def _upload(client: "MlflowClient", folder: Path, run_id: str) -> None:
    for name in _FILES:
        if (folder / name).is_file():
            client.log_artifact(run_id, str(folder / name))
    for name in _FOLDERS:
        if (folder / name).is_dir():
            client.log_artifacts(run_id, str(folder / name), name)
    # A run that was stopped leaves what was executed so far.
    for name in ("executed.ipynb", "executed.part.ipynb"):
        if (folder / name).is_file():
            client.log_artifact(run_id, str(folder / name))
            _log_html(client, folder / name, run_id)
            return


def _log_html(client: "MlflowClient", notebook: Path, run_id: str) -> None:
    from nbformat import ValidationError

    try:
        with _html_lock:
            html, _ = _html_exporter().from_filename(str(notebook))
    except (ValueError, ValidationError) as error:
        _log.warning("%s is cut short, so no HTML page was made of it (%s)", notebook, error)
        return
    client.log_text(run_id, html, "executed.html")


@cache
def _html_exporter() -> Any:
    """Making one takes longer than converting a short notebook."""
    from nbconvert import HTMLExporter

    return HTMLExporter()  # type: ignore[no-untyped-call]


def _log_claims_figure(client: "MlflowClient", run_id: str, records: Records) -> None:
    figure = figures.claims_figure(content.claims(records))
    if figure is not None:
        client.log_figure(run_id, figure, CLAIMS)


def _log_evidence(client: "MlflowClient", run_id: str, records: Records) -> None:
    table = content.evidence_table(records)
    if table is None:
        return
    # MLflow appends to a table that exists, and the evidence must not be doubled.
    if EVIDENCE not in {artifact.path for artifact in client.list_artifacts(run_id)}:
        client.log_table(run_id, table, EVIDENCE)


def _log_models(
    client: "MlflowClient", run_id: str, experiment_id: str, models: list[dict[str, Any]]
) -> None:
    """Give each trained model an identity in MLflow; the weights stay where they are."""
    from mlflow.entities import LoggedModelOutput

    if not models:
        return
    known = {m.name: m.model_id for m in _models_of(client, run_id, experiment_id)}
    for event in models:
        name = content.model_name(event["name"])
        if name in known:
            continue
        facts = {"digest": event["digest"], "parent": event["parent"] or "", **event["facts"]}
        tags = {"mlflow.model.isExternal": "true"}
        parent = known.get(content.model_name(event["parent"] or ""))
        if parent:
            tags["stemma.parent_model_id"] = parent
        params = {key: str(value) for key, value in facts.items()}
        model = client.create_logged_model(experiment_id, name, run_id, tags, params)
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        known[name] = model.model_id


def _models_of(client: "MlflowClient", run_id: str, experiment_id: str) -> list[Any]:
    return list(
        client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'")
    )
