import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import nbformat
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from stemma import catalog, tracking
from stemma.errors import TrackingError
from stemma.files import append_event, write_json
from stemma.tracking import content, publish, store
from stemma.tracking.tracker import runner_is_dead, runner_tag

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
        "mlflow": None,
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


def test_a_successful_run_is_all_there(tracker: tracking.Tracker, runs: Path) -> None:
    _, run = track(tracker, runs)
    client = tracker.client
    found = essence(client, run)
    assert client.get_experiment(run.info.experiment_id).name == "stemma/toy-paper"
    assert found["status"] == "FINISHED"
    assert found["end"] == 1_060_500
    assert found["params"] == {
        "scale": "small",
        "seeds": "5",
        "layers": "[1, 2]",
        "flag": "true",
        "text": "x" * 6000,
    }
    assert found["tags"]["stemma.key"] == "k" * 64
    assert found["tags"]["mlflow.source.git.commit"] == "f00d"
    assert found["tags"]["stemma.state"] == "succeeded"
    assert found["tags"]["verdict.C1"] == "trend holds"
    assert [(s, v) for s, v, _ in found["metrics"]["loss _train_"]] == [
        (0, 1.0),
        (1, 0.5),
        (2, 1 / 3),
    ]
    assert [(s, v) for s, v, _ in found["metrics"]["system/cpu_percent"]] == [(0, 10.0), (1, 20.0)]
    assert found["inputs"] == [
        ("corpus", DIGEST[:36], "train, test"),
        ("other", "cd" * 18, "labels"),
    ]
    assert found["artifacts"] == sorted(
        [
            *("artifacts/proof.bin", "evidence.json", "executed.html", "executed.ipynb"),
            *("figures/curve.png", "log.txt", "result.json", "spec.json", "tables/scores.csv"),
        ]
    )


def test_claims_become_metrics_and_a_table(tracker: tracking.Tracker, runs: Path) -> None:
    folder, run = track(tracker, runs)
    first, second = json.loads((folder / "result.json").read_text())["claims"]
    metrics = run.data.metrics
    assert metrics["claim/C1/estimate"] == first["cells"][0]["estimate"]
    assert metrics["claim/C1/low"] == first["cells"][0]["low"]
    assert metrics["claim/C2/m_5 _low_/estimate"] == second["cells"][0]["estimate"]
    assert metrics["claim/C2/m_5 _low_ 2/estimate"] == second["cells"][1]["estimate"]
    note = run.data.tags["mlflow.note.content"]
    assert "| C1 | ours beats the baseline | 0.12 |" in note
    assert "trend holds" in note


def test_the_evidence_is_a_table_across_runs(
    tracker: tracking.Tracker, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = track(tracker, runs)
    client = tracker.client
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)  # load_table reads it, not its client's
    table = client.load_table(run.info.experiment_id, "evidence.json", [run.info.run_id])
    ours = table[(table["claim"] == "C1") & (table["sample"] == "ours")]
    assert ours["value"].tolist() == EVIDENCE["C1"][""]["ours"]
    assert len(table) == 30


def test_models_have_an_identity_and_a_lineage(tracker: tracking.Tracker, runs: Path) -> None:
    _, run = track(tracker, runs)
    models = {m.name: m for m in tracker.client.search_logged_models([run.info.experiment_id])}
    assert set(models) == {"base_v1", "child"}
    child = models["child"]
    assert child.params == {"digest": DIGEST, "parent": "base/v1", "transcript": "t1"}
    assert str(child.status) == "READY"
    assert child.source_run_id == run.info.run_id
    assert child.tags["stemma.parent_model_id"] == models["base_v1"].model_id
    assert {o.model_id for o in run.outputs.model_outputs} == {m.model_id for m in models.values()}


def test_executed_notebook_becomes_a_page(tracker: tracking.Tracker, runs: Path) -> None:
    _, run = track(tracker, runs)
    page = tracker.client.download_artifacts(run.info.run_id, "executed.html")
    assert "A heading to find" in Path(page).read_text()


@pytest.mark.parametrize(
    ("state", "status"),
    [("failed", "FAILED"), ("timed out", "FAILED"), ("lost", "FAILED"), ("cancelled", "KILLED")],
)
def test_a_run_without_result_says_how_it_ended(
    state: str, status: str, tracker: tracking.Tracker, runs: Path
) -> None:
    folder, spec = make_folder(runs)
    run_id = tracker.start(folder, spec)
    (folder / "executed.part.ipynb").write_text("{cut")
    end(folder, state, failure="dead kernel", message="it broke")
    tracker.finish(folder)
    run = tracker.client.get_run(run_id)
    assert run.info.status == status
    assert run.data.tags["stemma.state"] == state
    assert run.data.tags["stemma.failure"] == "dead kernel"
    assert "it broke" in run.data.tags["mlflow.note.content"]


def test_nothing_is_left_running(runs: Path) -> None:
    uri = tracking.tracking_uri()
    with tracking.Tracker(uri) as tracker:
        parent = tracker.open_batch("b1", ["toy-paper"], "a batch")
        killed, spec = make_folder(runs, "1" * 64)
        killed_id = tracker.start(killed, spec)
        done, spec = make_folder(runs, "2" * 64)
        done_id = tracker.start(done, spec)
        record(done)
        leave_results(done, spec)
    assert tracker.client.get_run(killed_id).info.status == "KILLED"
    assert tracker.client.get_run(done_id).info.status == "FINISHED"
    assert tracker.client.get_run(parent).info.status == "KILLED"
    assert "RUNNING" not in {run.info.status for run in every_run(tracker.client)}


def test_batch_links_to_its_runs(tracker: tracking.Tracker, runs: Path) -> None:
    parent = tracker.open_batch("b1", ["toy-paper", "other"], "a batch")
    _, run = track(tracker, runs)
    tracker.close_batch(parent, {"toy-paper": "succeeded", "other": "failed"})
    batch = tracker.client.get_run(parent)
    assert tracker.client.get_experiment(batch.info.experiment_id).name == "stemma/batches"
    assert batch.info.status == "FAILED"
    assert batch.data.metrics == {"runs/failed": 1.0, "runs/succeeded": 1.0}
    link = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert f"[toy-paper]({link}) | succeeded" in batch.data.tags["mlflow.note.content"]
    assert run.data.tags["stemma.batch_run"] == parent
    assert tracking.run_link("http://host/", "1", "r") == "http://host/#/experiments/1/runs/r"


def test_metrics_are_sent_in_batches(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = publish.log_points
    monkeypatch.setattr(
        publish, "log_points", lambda c, r, p: (sizes.append(len(p)), real(c, r, p))[1]
    )
    with tracking.Tracker(tracking.tracking_uri(), flush_seconds=1000.0) as tracker:
        folder, spec = make_folder(runs)
        tracker.start(folder, spec)
        for _ in range(25):
            record(folder, points=90)
            tracker.poll(folder)
        assert sizes == []
        end(folder, "failed")
        tracker.finish(folder)
    assert sizes == [1000, 1000, 25 * 92 - 2000]


def test_a_failing_store_loses_no_metric(
    tracker: tracking.Tracker,
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, spec = make_folder(runs)
    run_id = tracker.start(folder, spec)
    record(folder)

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("server gone")

    with monkeypatch.context() as broken:
        broken.setattr(tracker.client, "log_batch", refuse)
        tracker.poll(folder)
        tracker.poll(folder)
        leave_results(folder, spec)
        with pytest.raises(TrackingError, match="server gone"):
            tracker.finish(folder)
    assert caplog.text.count("server gone") == 1
    tracker.finish(folder)
    run = tracker.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert len(tracker.client.get_metric_history(run_id, "loss _train_")) == 3


def test_unknown_folders_are_ignored(tracker: tracking.Tracker, runs: Path) -> None:
    folder, _ = make_folder(runs)
    tracker.poll(folder)
    tracker.finish(folder)
    assert every_run(tracker.client) == []


def test_sync_equals_live_tracking(
    tracker: tracking.Tracker, runs: Path, template: Path, tmp_path: Path
) -> None:
    parent = tracker.open_batch("b1", ["toy-paper"], "a batch")
    _, live = track(tracker, runs)
    tracker.close_batch(parent, {"toy-paper": "succeeded"})
    rebuilt_store = tmp_path / "rebuilt" / "mlflow.db"
    rebuilt_store.parent.mkdir()
    shutil.copy(template, rebuilt_store)
    assert tracking.sync(runs, f"sqlite:///{rebuilt_store}") == {"created": 1}
    client = MlflowClient(tracking_uri=f"sqlite:///{rebuilt_store}")
    rebuilt = {run.info.run_name: run for run in every_run(client)}
    assert set(rebuilt) == {"b1", live.info.run_name}
    assert essence(client, rebuilt[live.info.run_name]) == essence(tracker.client, live)
    batch, live_batch = rebuilt["b1"], tracker.client.get_run(parent)
    assert batch.info.status == live_batch.info.status == "FINISHED"
    assert batch.data.metrics == live_batch.data.metrics


def test_sync_twice_changes_nothing(runs: Path) -> None:
    folder, spec = make_folder(runs, "1" * 64)
    record(folder)
    leave_results(folder, spec)
    superseded = folder.parent / "superseded" / "old"
    shutil.copytree(folder, superseded)
    write_json(superseded / "state.json", {"state": "failed", "started": 500.0, "ended": 501.0})
    uri = tracking.tracking_uri()
    seen: list[tuple[int, int]] = []
    assert tracking.sync(runs, uri, lambda *done: seen.append(done)) == {"created": 2}
    assert seen == [(1, 2), (2, 2)]
    client = MlflowClient(tracking_uri=uri)
    before = [essence(client, run) for run in every_run(client)]
    assert tracking.sync(runs, uri) == {"unchanged": 2}
    assert [essence(client, run) for run in every_run(client)] == before


def test_sync_leaves_tracked_runs_alone(tracker: tracking.Tracker, runs: Path) -> None:
    track(tracker, runs)
    running, spec = make_folder(runs, "2" * 64)
    live = tracker.start(running, spec)
    assert tracking.sync(runs, tracker.uri) == {"unchanged": 1, "unfinished": 1}
    assert tracker.client.get_run(live).info.status == "RUNNING"
    assert len(every_run(tracker.client)) == 2


def test_sync_repairs_what_a_dead_runner_left(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = tracking.tracking_uri()
    dead = runner_tag().rpartition(":")[0] + ":1"
    monkeypatch.setattr("stemma.tracking.tracker.runner_tag", lambda: dead)
    tracker = tracking.Tracker(uri, flush_seconds=0.0)
    parent = tracker.open_batch("b1", ["toy-paper"], "a batch")
    ids = {}
    for name in ("done", "unfinished"):
        folder, spec = make_folder(runs, name)
        experiment_id, run_id = tracker.experiment("toy-paper"), tracker.start(folder, spec)
        ids[name] = run_id
        link = {"tracking_uri": uri, "experiment_id": experiment_id, "run_id": run_id}
        write_json(folder / "spec.json", spec | {"mlflow": link})
        record(folder)
        tracker.poll(folder)
    leave_results(runs / "out" / "toy-paper" / "done", spec)
    assert tracking.sync(runs, uri) == {"updated": 1, "unfinished": 1, "ended": 1}
    client = tracker.client
    repaired = client.get_run(ids["done"])
    assert repaired.info.status == "FINISHED"
    assert len(client.get_metric_history(ids["done"], "loss _train_")) == 3
    assert client.get_run(ids["unfinished"]).info.status == "KILLED"
    assert client.get_run(parent).info.status == "FINISHED"
    assert len(every_run(client)) == 3


def test_sync_skips_what_it_cannot_read(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, _ = make_folder(runs)
    (folder / "state.json").write_text("{cut")
    assert tracking.sync(runs, tracking.tracking_uri()) == {"unreadable": 1}
    assert str(folder) in caplog.text


def test_sync_does_not_bring_back_deleted_runs(tracker: tracking.Tracker, runs: Path) -> None:
    _, run = track(tracker, runs)
    tracker.client.delete_run(run.info.run_id)
    assert tracking.sync(runs, tracker.uri) == {"unchanged": 1}
    assert every_run(tracker.client) == []


def test_a_deleted_experiment_is_restored(runs: Path) -> None:
    uri = tracking.tracking_uri()
    first = tracking.Tracker(uri)
    experiment_id = first.experiment("toy-paper")
    first.client.delete_experiment(experiment_id)
    second = tracking.Tracker(uri)
    assert second.experiment("toy-paper") == experiment_id
    experiment = second.client.get_experiment(experiment_id)
    assert experiment.lifecycle_stage == "active"
    assert "Nothing but a toy." in experiment.tags["mlflow.note.content"]


def test_an_experiment_that_another_machine_creates_meanwhile_is_taken(
    tracker: tracking.Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tracker.client.create_experiment("stemma/toy-paper")
    real = tracker.client.get_experiment_by_name
    answers = iter([None])
    monkeypatch.setattr(
        tracker.client, "get_experiment_by_name", lambda name: next(answers, real(name))
    )
    assert tracker.experiment("toy-paper") == other


@pytest.mark.slow
def test_plain_mlflow_calls_of_a_notebook_land_in_its_run(
    tracker: tracking.Tracker, runs: Path
) -> None:
    folder, spec = make_folder(runs)
    run_id = tracker.start(folder, spec)
    ids = {
        "tracking_uri": tracker.uri,
        "experiment_id": tracker.experiment("toy-paper"),
        "run_id": run_id,
    }
    code = "import mlflow; mlflow.log_metric('own', 7.0)"
    handed_down = os.environ | tracking.environment({"mlflow": ids})
    subprocess.run([sys.executable, "-c", code], env=handed_down, check=True, timeout=120)
    end(folder, "failed")
    tracker.finish(folder)
    run = tracker.client.get_run(run_id)
    assert run.data.metrics["own"] == 7.0
    assert run.info.status == "FAILED"
    assert len(every_run(tracker.client)) == 1


@pytest.mark.slow
def test_an_old_schema_is_migrated(tmp_path: Path) -> None:
    import alembic.command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.initial_models import Base

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    engine = create_sqlalchemy_engine(uri)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config = _get_alembic_config(uri)
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "7ac759974ad8")
    assert store.open_client(uri).search_experiments()[0].name == "Default"


def test_a_schema_from_the_future_is_one_line(runs: Path) -> None:
    with closing(sqlite3.connect(runs / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(TrackingError, match="another version of MLflow") as raised:
        tracking.Tracker(tracking.tracking_uri())
    assert "\n" not in str(raised.value)


_EIGHTH = """
import json, sys
from pathlib import Path
from stemma import tracking
uri, slug, folder = sys.argv[1:]
spec = json.loads((Path(folder) / "spec.json").read_text()) | {"slug": slug}
with tracking.Tracker(uri) as tracker:
    tracker.start(Path(folder), spec)
    tracker.finish(Path(folder))
"""


@pytest.mark.slow
def test_eight_runners_at_once_on_a_fresh_store(runs: Path) -> None:
    uri = tracking.tracking_uri()
    (runs / "mlflow.db").unlink()

    def one(number: int) -> int:
        folder, _ = make_folder(runs, f"{number}" * 64)
        record(folder, points=50)
        end(folder, "succeeded")
        slug = f"paper-{number // 2}"
        command = [sys.executable, "-c", _EIGHTH, uri, slug, str(folder)]
        return subprocess.run(command, check=False, timeout=300).returncode

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [0] * 8
    client = MlflowClient(tracking_uri=uri)
    names = {e.experiment_id: e.name for e in client.search_experiments()}
    found = [(names[r.info.experiment_id], r.info.status) for r in every_run(client)]
    assert sorted(found) == [(f"stemma/paper-{i // 2}", "FINISHED") for i in range(8)]


def test_importing_tracking_does_not_import_mlflow() -> None:
    code = (
        "import sys, stemma.tracking; sys.exit('mlflow' in sys.modules or 'scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_an_absent_server_is_one_line_with_the_mend() -> None:
    with pytest.raises(TrackingError, match="stemma ui") as raised:
        tracking.check_reachable("http://127.0.0.1:9")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("code", "usable"), [(200, True), (401, True), (404, False), (502, False)])
def test_what_answers_must_be_an_mlflow_server(code: int, usable: bool) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}/"
        if usable:
            tracking.check_reachable(uri)
        else:
            with pytest.raises(TrackingError, match=f"it answers {code}"):
                tracking.check_reachable(uri)


def test_folders_are_no_store() -> None:
    with pytest.raises(TrackingError, match="sqlite:///"):
        tracking.check_reachable("./mlruns")


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking.check_reachable(f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(TrackingError, match="make its folder writable"):
        tracking.check_reachable(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_broken_store_is_one_line(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    database.write_text("this is no database, " * 100)
    with pytest.raises(TrackingError) as raised:
        tracking.Tracker(f"sqlite:///{database}")
    assert "\n" not in str(raised.value)


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMMA_RUNS", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = tracking.tracking_uri()
    assert uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking.artifact_root(uri) == tmp_path / "mlartifacts"
    command = tracking.ui_command(uri, "127.0.0.1", 5001)
    assert command[command.index("--backend-store-uri") + 1] == uri
    assert (
        command[command.index("--artifacts-destination") + 1] == (tmp_path / "mlartifacts").as_uri()
    )
    assert command[command.index("--port") + 1] == "5001"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///own.db")
    assert tracking.tracking_uri() == f"sqlite:///{tmp_path}/own.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert tracking.tracking_uri() == "http://host:5000"
    with pytest.raises(TrackingError, match="already"):
        tracking.ui_command("http://host:5000", "127.0.0.1", 5001)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/loss", "train/loss"),
        ("loss (θ=1)", "loss _θ_1_"),
        ("/a//b/", "a/b"),
        ("../x/./y", "x/y"),
        ("...", "_"),
        ("x" * 300, "x" * 250),
    ],
)
def test_metric_names_become_what_mlflow_takes(name: str, expected: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert content.metric_name(name) == expected
    _validate_metric_name(expected)


def test_a_runner_is_dead_only_if_it_was_here() -> None:
    host, pid, created = runner_tag().rsplit(":", 2)
    assert not runner_is_dead(runner_tag())
    assert runner_is_dead(f"{host}:{pid}:{int(created) - 5}")
    assert runner_is_dead(f"{host}:{2**22 + 1}:{created}")
    assert not runner_is_dead(f"elsewhere:{pid}:1")
    assert not runner_is_dead("")


def test_nested_evidence_is_flattened_with_its_indices() -> None:
    result = {"evidence": {"C1": {"": {"y": [[1, 2], [3, 4]], "trials": 9}}}}
    table = content.evidence_table(content.Records({}, {}, result))
    assert table is not None
    assert table["index"] == ["0,0", "0,1", "1,0", "1,1", ""]
    assert table["value"] == [1.0, 2.0, 3.0, 4.0, 9.0]
    assert content.evidence_table(content.Records({}, {}, None)) is None
