"""A store of MLflow, a toy paper and run folders, for the tests of tracking."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from stemma import catalog, tracking
from stemma.files import append_event, write_json
from stemma.tracking import store

PAPER = """\
slug: toy-paper
number: 1
title: A toy
arxiv: "2401.00001"
year: 2024
tags: [toy]
summary: Nothing but a toy.
status: ready
parameters:
  - {name: seeds, type: int, default: 5, help: replicates}
claims:
  - id: C1
    statement: ours beats the baseline
    paper_value: "0.12"
    where: table 1
    sure: abstract
    statistic: mean difference
    rule: {kind: difference, direction: greater}
    scales: {small: reduced, gpu: reduced, paper: full}
  - id: C2
    statement: in every setting
    paper_value: all
    where: figure 2
    sure: figure
    statistic: mean difference
    rule: {kind: difference, direction: greater}
    scales: {small: reduced, gpu: reduced, paper: full}
"""
EVIDENCE: dict[str, dict[str, Any]] = {
    "C1": {"": {"ours": [1.0, 1.1, 1.2, 1.1, 1.0], "baseline": [0.1, 0.2, 0.1, 0.2, 0.15]}},
    "C2": {
        "m=5 (low)": {"ours": [2.0, 2.1, 2.2, 2.1, 2.0], "baseline": [1.0, 1.1, 1.0, 1.0, 1.1]},
        "m=5 [low]": {"ours": [1.0, 1.1, 1.2, 1.1, 1.0], "baseline": [0.1, 0.2, 0.1, 0.2, 0.1]},
    },
}
DIGEST = "ab" * 32


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its schema and nothing else: copying is faster than migrating."""
    database = tmp_path_factory.mktemp("template") / "mlflow.db"
    store.open_client(f"sqlite:///{database}")
    return database


@pytest.fixture
def runs(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs with a fresh store, and a catalog with one paper."""
    papers = tmp_path / "papers"
    (papers / "toy_paper").mkdir(parents=True)
    (papers / "toy_paper" / "paper.yaml").write_text(PAPER)
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    monkeypatch.setenv("STEMMA_PAPERS", str(papers))
    monkeypatch.setenv("STEMMA_RUNS", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture
def tracker(runs: Path) -> Iterator[tracking.Tracker]:
    with tracking.Tracker(tracking.tracking_uri(), flush_seconds=0.0) as opened:
        yield opened


def make_folder(runs: Path, key: str = "k" * 64, batch: str = "b1") -> tuple[Path, dict[str, Any]]:
    folder = runs / "out" / "toy-paper" / key
    folder.mkdir(parents=True)
    spec = {
        "version": 1,
        "slug": "toy-paper",
        "scale": "small",
        "key": key,
        "parameters": {"seeds": 5, "layers": [1, 2], "flag": True, "text": "x" * 7000},
        "sources": {"train": "corpus", "test": "corpus", "labels": "other"},
        "digests": {"corpus": DIGEST, "other": "cd" * 32},
        "batch": batch,
        "notebook": "/somewhere/toy-paper.ipynb",
        "device": "cpu",
        "paper_version": 2,
        "fingerprint": {"git_commit": "f00d", "python": "3.11.7"},
    }
    write_json(folder / "spec.json", spec)
    write_json(folder / "state.json", {"state": "running", "started": 1000.25})
    return folder, spec


def record(folder: Path, points: int = 3) -> None:
    events = folder / "events.jsonl"
    for step in range(points):
        append_event(
            events, "metric", {"name": "loss (train)", "value": 1.0 / (1 + step), "step": step}
        )
    for value in (10.0, 20.0):
        append_event(events, "system", {"metrics": {"system/cpu_percent": value}})
    append_event(events, "progress", {"label": "seeds", "done": 1, "total": 5})
    for name, parent in (("base/v1", None), ("child", "base/v1")):
        append_event(
            events,
            "model",
            {"name": name, "digest": DIGEST, "parent": parent, "facts": {"transcript": "t1"}},
        )


def leave_results(folder: Path, spec: dict[str, Any], state: str = "succeeded") -> None:
    """Write what a worker and the runner leave at the end."""
    for name in ("figures", "tables", "artifacts"):
        (folder / name).mkdir()
    (folder / "figures" / "curve.png").write_bytes(b"png")
    (folder / "tables" / "scores.csv").write_text("a,b\n1,2\n")
    (folder / "artifacts" / "proof.bin").write_bytes(b"\0\1")
    (folder / "log.txt").write_text("a line\n")
    cells = [nbformat.v4.new_markdown_cell("# A heading to find")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "executed.ipynb")
    judged = catalog.load("toy-paper").judge("small", EVIDENCE)
    result = {"evidence": EVIDENCE, "claims": [c.model_dump(mode="json") for c in judged]}
    write_json(folder / "result.json", result)
    end(folder, state)


def end(folder: Path, state: str, **more: Any) -> None:
    started, ended = 1000.25, 1060.5
    write_json(folder / "state.json", {"state": state, "started": started, "ended": ended, **more})


def track(tracker: tracking.Tracker, runs: Path, **names: str) -> tuple[Path, Run]:
    """Track one whole successful run."""
    folder, spec = make_folder(runs, **names)
    run_id = tracker.start(folder, spec)
    record(folder)
    tracker.poll(folder)
    leave_results(folder, spec)
    tracker.finish(folder)
    return folder, tracker.client.get_run(run_id)


def every_run(client: MlflowClient) -> list[Run]:
    ids = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(ids, max_results=1000))


def essence(client: MlflowClient, run: Run) -> dict[str, Any]:
    """Everything of a run that does not depend on when and where it was tracked."""
    own = (
        "stemma.runner",
        "stemma.batch_run",
        "mlflow.loggedArtifacts",
        "mlflow.log-model.history",
    )
    models = client.search_logged_models([run.info.experiment_id])
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "end": run.info.end_time,
        "params": run.data.params,
        "tags": {k: v for k, v in run.data.tags.items() if k not in own},
        "metrics": {
            name: sorted(
                (p.step, p.value, p.timestamp)
                for p in client.get_metric_history(run.info.run_id, name)
            )
            for name in run.data.metrics
        },
        "inputs": sorted(
            (i.dataset.name, i.dataset.digest, i.tags[0].value) for i in run.inputs.dataset_inputs
        ),
        "artifacts": sorted(_artifacts(client, run.info.run_id)),
        "models": sorted(
            (m.name, str(m.status), tuple(sorted(m.params.items())))
            for m in models
            if m.source_run_id == run.info.run_id
        ),
    }


def _artifacts(client: MlflowClient, run_id: str, path: str | None = None) -> Iterator[str]:
    for item in client.list_artifacts(run_id, path):
        if item.is_dir:
            yield from _artifacts(client, run_id, item.path)
        else:
            yield item.path
