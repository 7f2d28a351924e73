import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_house import essence, every_run, leave_results, make_folder, record, track

from stemma import tracking
from stemma.files import write_json
from stemma.tracking.tracker import BatchRow, runner_tag


def test_sync_equals_live_tracking(
    tracker: tracking.Tracker, runs: Path, template: Path, tmp_path: Path
) -> None:
    parent, _ = tracker.open_batch("b1", ["toy-paper"], "a batch")
    _, live = track(tracker, runs)
    tracker.close_batch(parent, [BatchRow("toy-paper", "succeeded", None)])
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
    parent, _ = tracker.open_batch("b1", ["toy-paper"], "a batch")
    ids = {}
    for name in ("done", "unfinished"):
        folder, spec = make_folder(runs, name)
        ids[name] = tracker.start(folder, spec)
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
