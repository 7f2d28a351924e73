import importlib.util
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow_house import end, every_run, make_folder, record

from stemma import tracking
from stemma.errors import TrackingError
from stemma.tracking import store


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
    handed_down = os.environ | tracking.environment(ids)
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


def test_a_database_that_does_not_answer_is_one_line_at_once() -> None:
    uri = "postgresql+psycopg2://someone:a-secret@127.0.0.1:9/mlflow"
    with pytest.raises(TrackingError, match="no database at") as raised:
        tracking.Tracker(uri)
    assert "a-secret" not in str(raised.value)
    assert "someone:***@127.0.0.1:9" in str(raised.value)


@pytest.mark.skipif(importlib.util.find_spec("psycopg") is not None, reason="psycopg is here")
def test_an_address_without_driver_names_the_driver() -> None:
    with pytest.raises(TrackingError, match=r"write postgresql\+psycopg2://"):
        tracking.check_reachable("postgresql://127.0.0.1/mlflow")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("http://host:5000", "http://host:5000"),
        ("https://me:pw@host/mlflow", "https://me:***@host/mlflow"),
        ("postgresql+psycopg2://me:p:w@h/d?x=1", "postgresql+psycopg2://me:***@h/d?x=1"),
    ],
)
def test_passwords_are_not_shown(uri: str, shown: str) -> None:
    assert store.masked(uri) == shown
