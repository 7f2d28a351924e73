"""A batch that outlives its terminal and its runner; what users ask of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from house import House

from stemma.batch import batches
from stemma.batch.records import Batch, RunState, State, Worker

GOOD = "run.measure('C1', ours=[2, 3, 4, 3, 2], baseline=[0, 1, 0, 1, 0])\nrun.verdicts()"
# Goes on when the test says so.
WAIT = "import time\nfrom pathlib import Path\nwhile not Path({go!r}).exists(): time.sleep(0.1)"
SECONDS = 120.0


@pytest.fixture(autouse=True)
def _nothing_left(house: House) -> Iterator[None]:
    yield
    wait_for(lambda: not ours(house))


def ours(house: House) -> list[int]:
    """Return the processes that see this house's folder of runs, but for pytest's own."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("STEMMA_RUNS") == str(house.runs)
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return [pid for pid in found if pid != os.getpid()]


def stemma(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "stemma.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def state(house: House, slug: str) -> RunState:
    try:
        found: RunState = RunState.read(house.out(slug) / "state.json")
    except (FileNotFoundError, AssertionError):
        return RunState(state=State.QUEUED)
    return found


def latest() -> Batch:
    return batches.load()


def runner(house: House) -> psutil.Process:
    for pid in ours(house):
        process = psutil.Process(pid)
        if any("stemma.batch.daemon" in word for word in process.cmdline()):
            return process
    raise AssertionError("no runner")


def waiting(house: House, *slugs: str) -> Path:
    """Write papers that wait for the file that is returned."""
    go = house.root / "go"
    for slug in slugs:
        house.paper(slug, [WAIT.format(go=str(go)), GOOD])
    return go


def worker(house: House, slug: str) -> Worker:
    wait_for(lambda: state(house, slug).state is State.RUNNING)
    path = house.out(slug) / "worker.json"
    wait_for(path.exists)
    found: Worker = Worker.read(path)
    return found


def test_detach_status_logs_and_attach(house: House) -> None:
    go = waiting(house, "first", "second")
    said = stemma("run", "first", "second", "--detach")
    assert latest().id in said
    worker(house, "first")
    table = stemma("status")
    assert "first" in table
    assert "2 runs: 1 running" in table
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        refused = stemma("run", "first", code=2)
    assert "is being run by another process" in refused
    assert f"`stemma attach {latest().id}`" in stemma("run", "second", code=2)
    go.touch()
    assert "trend holds" in stemma("attach")
    assert "2 runs: 2 succeeded" in stemma("status", "--all")
    assert "IPKernelApp" in stemma("logs", "first", "--follow")
    assert "has no run `third`" in stemma("logs", "third", code=2)


def test_a_closed_terminal_changes_nothing(house: House) -> None:
    go = waiting(house, "lasting")
    terminal = subprocess.Popen(
        [sys.executable, "-m", "stemma.cli", "run", "lasting"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # Whoever runs the tests under nohup hands down that the signal is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    worker(house, "lasting")
    os.killpg(terminal.pid, signal.SIGHUP)
    terminal.wait()
    go.touch()
    stemma("attach")
    assert state(house, "lasting").attempts == 1


def test_cancel_one_run_and_retry_it(house: House) -> None:
    go = waiting(house, "kept", "stopped", "queued")
    stemma("run", "kept", "stopped", "queued", "--jobs", "2", "--detach")
    worker(house, "stopped")
    said = stemma("cancel", "--run", "stopped", "--run", "queued")
    assert "stop 2 runs" in said
    wait_for(lambda: state(house, "stopped").state is State.CANCELLED)
    assert state(house, "queued").state is State.CANCELLED
    assert state(house, "kept").state is State.RUNNING
    go.touch()
    stemma("attach", code=1)
    assert state(house, "kept").state is State.SUCCEEDED
    stemma("retry")
    assert [v.state.state for v in batches.view(latest())] == [State.SUCCEEDED] * 3
    assert len(batches.ids()) == 1


def test_a_new_runner_adopts_a_living_worker(house: House) -> None:
    go = waiting(house, "long")
    stemma("run", "long", "--detach")
    before = worker(house, "long")
    runner(house).kill()
    wait_for(lambda: not batches.is_alive(latest().id))
    assert "it has no runner" in stemma("status")
    subprocess.Popen([sys.executable, "-m", "stemma.cli", "attach"], stderr=subprocess.DEVNULL)
    wait_for(lambda: batches.is_alive(latest().id))
    go.touch()
    stemma("attach")
    assert state(house, "long") == RunState.read(house.out("long") / "state.json")
    assert state(house, "long").attempts == 1
    assert Worker.read(house.out("long") / "worker.json") == before


def test_a_worker_that_died_without_a_runner_is_lost_and_tried_again(house: House) -> None:
    go = waiting(house, "long")
    stemma("run", "long", "--detach")
    before = worker(house, "long")
    runner(house).kill()
    psutil.Process(before.pid).kill()
    go.touch()
    stemma("attach")
    assert state(house, "long").attempts == 2
    assert "tried again after: its worker died while there was no runner" in (
        (batches.folder(latest().id) / "events.jsonl").read_text()
    )


def test_without_retries_it_stays_lost(house: House) -> None:
    waiting(house, "long")
    stemma("run", "long", "--retries", "0", "--detach")
    before = worker(house, "long")
    runner(house).kill()
    psutil.Process(before.pid).kill()
    stemma("attach", code=1)
    assert state(house, "long").state is State.LOST


def test_a_grid_is_one_batch_with_a_label_for_each_run(house: House) -> None:
    house.paper("good", [GOOD])
    path = house.root / "grid.yaml"
    path.write_text("jobs: 2\nruns: [{papers: [good], grid: {x: [3, 4]}}]")
    stemma("run", "-f", str(path))
    assert [run.label for run in latest().runs] == ["good x=3", "good x=4"]
    assert latest().name == "grid"
    results = {run.label: result for run, result in batches.results(latest())}
    assert results["good x=4"].parameters == {"x": 4}
    stemma("run", "-f", str(path))
    assert all(run.cached for run in latest().runs)


def test_clean_removes_old_runs_and_nothing_else(house: House) -> None:
    house.paper("good", [GOOD])
    reference = house.runs / "reference" / "good.small.json"
    reference.parent.mkdir(parents=True)
    reference.write_text("{}")
    stemma("run", "good")
    assert "removed 0 runs" in stemma("clean", "--older-than", "1")
    assert "would remove 1 runs and 1 batches" in stemma("clean", "--older-than", "0", "--dry-run")
    assert house.out("good").exists()
    assert "removed 1 runs and 1 batches" in stemma("clean", "--older-than", "0")
    assert not list((house.runs / "out" / "good").iterdir())
    assert reference.exists()
    assert "no batch yet" in stemma("status", code=2)


def test_a_runner_that_cannot_start_says_why(house: House) -> None:
    house.paper("good", [GOOD])
    path = house.root / "far.yaml"
    path.write_text("executor: {kind: moon}\nruns: [{}]")
    assert "no executor `moon`: choose among local" in stemma("run", "-f", str(path), code=2)
    assert not (house.runs / "out").exists()


def test_events_name_every_state(house: House) -> None:
    house.paper("good", [GOOD])
    stemma("run", "good")
    lines = (batches.folder(latest().id) / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["starting", "running", "succeeded"]
