"""A whole batch seen in MLflow: each run in its experiment, none left RUNNING."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest
from house import House

from stemma import tracking

GOOD = "run.measure('C1', ours=[2, 3, 4, 3, 2], baseline=[0, 1, 0, 1, 0])\nrun.log('loss', 0.5)"


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "stemma.cli", "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def runs() -> dict[str, Sequence[object]]:
    """Return the runs of every experiment by its name."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking.tracking_uri())
    return {
        e.name: list(client.search_runs([e.experiment_id])) for e in client.search_experiments()
    }


@pytest.mark.slow
def test_every_end_is_seen_and_nothing_is_left_running(house: House) -> None:
    house.paper("good", [GOOD])
    house.paper("raises", ["raise RuntimeError('broken')"])
    house.paper("exits", ["import sys\nsys.exit(0)", "after = 1"])
    house.paper("dies", ["import os\nos.kill(os.getpid(), 9)"])
    batch = start("good", "raises", "exits", "dies", "--jobs", "2")
    output = batch.communicate(timeout=240)[0]
    assert batch.returncode == 1, output
    found = runs()
    status = {name: [r.info.status for r in of] for name, of in found.items()}
    assert status == {
        "Default": [],
        "stemma/batches": ["FAILED"],
        "stemma/good": ["FINISHED"],
        "stemma/raises": ["FAILED"],
        "stemma/exits": ["FAILED"],
        "stemma/dies": ["FAILED"],
    }
    good = found["stemma/good"][0]
    assert good.data.tags["verdict.C1"] == "trend holds"
    assert good.data.metrics["loss"] == 0.5
    assert found["stemma/dies"][0].data.tags["stemma.failure"] == "dead kernel"


@pytest.mark.slow
def test_a_terminated_runner_ends_its_mlflow_runs(house: House) -> None:
    house.paper("long", ["import time\ntime.sleep(600)"])
    runner = start("long")
    deadline = time.monotonic() + 120
    while not list(house.runs.glob("out/long/*/events.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    runner.send_signal(signal.SIGTERM)
    runner.communicate(timeout=120)
    assert {r.info.status for of in runs().values() for r in of} == {"KILLED"}


@pytest.mark.slow
def test_four_batches_at_once_on_a_fresh_store(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    slugs = [f"paper-{i}" for i in range(4)]
    for slug in slugs:
        house.paper(slug, [GOOD])
    batches = [start(slug) for slug in slugs]
    for batch in batches:
        output = batch.communicate(timeout=400)[0]
        assert batch.returncode == 0, output
        assert "warning" not in output
    found = runs()
    assert found["Default"] == []
    for slug in slugs:
        assert [r.info.status for r in found[f"stemma/{slug}"]] == ["FINISHED"]
