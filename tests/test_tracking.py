import json
from pathlib import Path
from typing import Any

import pytest
from mlflow_house import (
    DIGEST,
    EVIDENCE,
    end,
    essence,
    every_run,
    leave_results,
    make_folder,
    record,
    track,
)

from stemma import tracking
from stemma.errors import TrackingError
from stemma.tracking import content, publish, store
from stemma.tracking.tracker import BatchRow, runner_is_dead, runner_tag


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
            *("artifacts/proof.bin", "claims.png", "evidence.json"),
            *("executed.html", "executed.ipynb"),
            *("figures/curve.png", "log.txt", "result.json", "spec.json", "tables/scores.csv"),
        ]
    )


def test_claims_become_metrics_and_a_table(tracker: tracking.Tracker, runs: Path) -> None:
    folder, run = track(tracker, runs)
    first, second = json.loads((folder / "result.json").read_text())["claims"]
    metrics = run.data.metrics
    assert metrics["claims/C1/estimate/all"] == first["cells"][0]["estimate"]
    assert metrics["claims/C1/low/all"] == first["cells"][0]["low"]
    assert metrics["claims/C2/estimate/m_5 _low_"] == second["cells"][0]["estimate"]
    assert metrics["claims/C2/estimate/m_5 _low_ 2"] == second["cells"][1]["estimate"]
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
        parent, _ = tracker.open_batch("b1", ["toy-paper"], "a batch")
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
    parent, _ = tracker.open_batch("b1", ["toy-paper", "other"], "a batch")
    _, run = track(tracker, runs)
    ids = (run.info.experiment_id, run.info.run_id)
    rows = [BatchRow("toy-paper", "succeeded", ids), BatchRow("other", "failed", None)]
    tracker.close_batch(parent, rows)
    batch = tracker.client.get_run(parent)
    assert tracker.client.get_experiment(batch.info.experiment_id).name == "stemma/batches"
    assert batch.info.status == "FAILED"
    assert batch.data.metrics == {"runs/failed": 1.0, "runs/succeeded": 1.0}
    link = store.run_fragment(run.info.experiment_id, run.info.run_id)
    assert f"[toy-paper]({link}) | succeeded" in batch.data.tags["mlflow.note.content"]
    assert run.data.tags["stemma.batch_run"] == parent
    page = "http://host/#/experiments/1/runs/r?workflowType=machine_learning"
    assert tracking.run_link("http://host/", "1", "r") == page


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
    assert sizes == [1000, 1000, 25 * 92 - 2000, 1]  # the last is the time that it took


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
