"""Eight processes write to one store at once, and nothing is lost or doubled."""

import importlib.util
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from stores import PostgreSQL, free_port, postgresql, postgresql_programs, server_command, serving
from tracking_writer import POINTS, POLLS, RUNS, initialize, key, slug, write

from stemma.tracking import store

WRITERS = 8
_PROGRAMS = postgresql_programs()
_MISSING = (
    "needs PostgreSQL (apt-get install --no-install-recommends postgresql)"
    if _PROGRAMS is None
    else "needs psycopg2 (pip install psycopg2-binary)"
    if importlib.util.find_spec("psycopg2") is None
    else ""
)
needs_postgresql = pytest.mark.skipif(bool(_MISSING), reason=_MISSING)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgreSQL]:
    assert _PROGRAMS is not None
    with postgresql(_PROGRAMS) as running:
        yield running


@contextmanager
def directly(uri: str) -> Iterator[str]:
    yield uri


def write_all(uri: str, folder: Callable[[int], Path]) -> None:
    """Let eight processes write at once; ``folder`` gives the folder of runs of each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tracking_writer"])
    barrier = context.Barrier(WRITERS)
    with ProcessPoolExecutor(WRITERS, context, initialize, (barrier,)) as pool:
        jobs = [pool.submit(write, n, uri, str(folder(n))) for n in range(WRITERS)]
        assert len({job.result(timeout=300) for job in jobs}) == WRITERS


def check(uri: str, tmp_path: Path) -> None:
    """Assert that every run is there exactly once, where it belongs, with all that it wrote."""
    client = MlflowClient(tracking_uri=uri)
    names = {e.experiment_id: e.name for e in client.search_experiments()}
    expected = {f"stemma/{slug(writer)}" for writer in range(WRITERS)}
    assert sorted(names.values()) == sorted(expected | {"Default"})
    runs = list(client.search_runs(list(names)))
    found = sorted((run.data.tags["stemma.key"], names[run.info.experiment_id]) for run in runs)
    assert found == sorted(
        (key(writer, run), f"stemma/{slug(writer)}")
        for writer in range(WRITERS)
        for run in range(RUNS)
    )
    for run in runs:
        check_run(client, run, tmp_path)


def check_run(client: MlflowClient, run: Run, tmp_path: Path) -> None:
    writer, number = (int(part) for part in run.data.tags["stemma.key"].split("-")[1::2])
    run_id = run.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.params == {"scale": "small", "writer": str(writer)}
    assert run.data.tags["stemma.batch"] == f"batch-{writer}"
    assert run.data.tags["stemma.complete"] == "true"
    assert sorted(d.dataset.name for d in run.inputs.dataset_inputs) == ["corpus", "other"]
    history = client.get_metric_history(run_id, "loss")
    steps = range(POLLS * POINTS)
    assert sorted((p.step, p.value) for p in history) == [(s, writer + s / 100) for s in steps]
    system = client.get_metric_history(run_id, "system/memory_mb")
    assert sorted((p.step, p.value) for p in system) == [(s, float(s)) for s in range(POLLS)]
    assert run.data.metrics["memory/peak_mb"] == POLLS - 1
    assert [a.path for a in client.list_artifacts(run_id)] == ["artifacts", "log.txt", "spec.json"]
    proof = client.download_artifacts(run_id, "artifacts/proof.bin", str(tmp_path))
    assert Path(proof).read_bytes() == bytes([writer, number]) * 1000


@pytest.mark.parametrize("served", [False, True], ids=["directly", "through a server"])
def test_sqlite_from_a_fresh_file(
    served: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEMMA_RUNS", str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir()
    database, port = f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}", free_port()
    server: AbstractContextManager[str] = directly(database)
    if served:
        command = store.ui_command(database, "127.0.0.1", port)
        server = serving(command, port, tmp_path / "server.log")
    with server as uri:
        write_all(uri, lambda _: tmp_path / "runs")
        check(uri, tmp_path)


@needs_postgresql
def test_postgresql_from_several_machines_without_a_server(
    cluster: PostgreSQL, tmp_path: Path
) -> None:
    uri = cluster.uri("directly")
    # Folders of their own: the writers share no file lock, as if each were on its own machine.
    write_all(uri, lambda writer: tmp_path / f"machine-{writer}")
    check(uri, tmp_path)


@needs_postgresql
def test_postgresql_through_a_server(cluster: PostgreSQL, tmp_path: Path) -> None:
    port = free_port()
    command = server_command(cluster.uri("served"), tmp_path / "artifacts", port)
    with serving(command, port, tmp_path / "server.log") as uri:
        write_all(uri, lambda writer: tmp_path / f"machine-{writer}")
        check(uri, tmp_path)
        assert len(list((tmp_path / "artifacts").rglob("proof.bin"))) == WRITERS * RUNS
