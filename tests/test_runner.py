"""Faults that a batch must survive: each ends in the right state and leaves no process behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from batching import execute, heard, opened, planned
from house import House, minimal_paper

from stemma import catalog
from stemma.batch import batches
from stemma.batch.records import Failure, RunState, State, Worker
from stemma.batch.watch import Finished

# Each pytest worker looks for its own processes only: another one runs faults of its own meanwhile.
MARK = f"stemma_test_sleeper_{os.getpid()}"
GOOD = "run.measure('C1', ours=[2, 3, 4, 3, 2], baseline=[0, 1, 0, 1, 0])\nrun.verdicts()"
# A grandchild that would survive if only the kernel were killed.
SPAWN = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; {MARK} = 1; time.sleep(600)"])
"""
# PyDLL keeps the GIL, so that no interrupt gets through.
HANG_IN_C = "import ctypes\nctypes.PyDLL(None).sleep(600)"
LONG = "import time\ntime.sleep(600)"


def run(*slugs: str, retries: int = 0, **limits: object) -> dict[str, Finished]:
    return execute(opened(slugs, retries=retries, **limits))


def sleepers() -> list[int]:
    return [p.pid for p in psutil.process_iter() if any(MARK in a for a in _command(p))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def _no_process_left() -> object:
    yield
    assert sleepers() == []


def test_a_good_notebook_ends_with_a_verdict(house: House) -> None:
    house.paper("good", [GOOD])
    finished = run("good")["good"]
    assert finished.state.state is State.SUCCEEDED
    assert finished.result is not None
    assert [c.verdict for c in finished.result.claims] == ["trend holds"]
    folder = house.out("good")
    for name in ("spec.json", "events.jsonl", "result.json", "executed.ipynb", "log.txt"):
        assert (folder / name).is_file(), name
    assert json.loads((folder / "executed.ipynb").read_text())["cells"]


def test_who_sees_that_a_run_is_over_finds_its_result(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.paper("good", [GOOD])
    batch = opened(["good"])
    write, found = RunState.write, []

    def watch(state: RunState, path: Path) -> None:
        if state.state.final:
            found.append(batches.result_path(batch.id, batch.runs[0]).is_file())
        write(state, path)

    monkeypatch.setattr(RunState, "write", watch)
    execute(batch)
    assert found == [True, True]


def test_progress_names_the_heading_of_each_cell(house: House) -> None:
    house.paper("good", [GOOD, "for _ in run.progress(range(3), 'Loop'): pass"])
    batch = opened(["good"])
    execute(batch)
    listener = heard(batch)
    headings = [e["heading"] for e in listener.events if e["kind"] == "cell_start"]
    assert headings == ["start", "start", "Step 0", "Step 1"]
    last = [e for e in listener.events if e["kind"] == "progress"][-1]
    assert (last["label"], last["done"], last["total"]) == ("Loop", 3, 3)
    assert listener.states == [State.STARTING, State.RUNNING, State.SUCCEEDED]


@pytest.mark.parametrize(
    ("cell", "failure", "words"),
    [
        ("raise RuntimeError('broken')", Failure.ERROR, "RuntimeError: broken"),
        ("run.check('sum', False, 'is 3')", Failure.CHECK, "sum: is 3"),
        ("import sys\nsys.exit(0)", Failure.EXITED, "before the last cell"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", Failure.DEAD_KERNEL, "died"),
        (
            "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nimport time\ntime.sleep(60)",
            Failure.DEAD_WORKER,
            "signal 9",
        ),
    ],
)
def test_a_failure_is_classified_and_the_others_finish(
    house: House, cell: str, failure: Failure, words: str
) -> None:
    house.paper("bad", [SPAWN, cell, "after = 1"])
    house.paper("good", [GOOD])
    finished = run("bad", "good")
    assert finished["bad"].state.state is State.FAILED
    assert finished["bad"].state.failure is failure
    assert words in finished["bad"].state.message
    assert finished["good"].state.state is State.SUCCEEDED
    assert house.state("bad")["state"] == "failed"


def test_deadline_interrupts_the_whole_notebook(house: House) -> None:
    house.paper("slow", [SPAWN, "import time\ntime.sleep(2)", LONG, "after = 1"])
    finished = run("slow", timeout=10)["slow"]
    assert finished.state.state is State.TIMED_OUT
    assert finished.result is not None
    assert finished.result.claims == []


def test_a_hang_in_c_code_is_killed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stemma.batch.executors.local.GRACE_SECONDS", 3.0)
    house.paper("stuck", [SPAWN, HANG_IN_C], timeout={"small": 10})
    house.paper("good", [GOOD])
    finished = run("stuck", "good")
    assert finished["stuck"].state.state is State.TIMED_OUT
    assert finished["good"].state.state is State.SUCCEEDED


def test_sigterm_to_the_runner_stops_everything(house: House) -> None:
    house.paper("long", [SPAWN, LONG])
    house.paper("waiting", [GOOD])
    runner = _start_runner("long", "waiting")
    wait_for(lambda: bool(sleepers()))
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(timeout=60) == 130
    assert house.state("long")["state"] == "cancelled"
    assert house.state("waiting")["state"] == "cancelled"


def test_kill_nine_of_a_worker(house: House) -> None:
    house.paper("long", [SPAWN, LONG])

    def kill_worker() -> None:
        wait_for(lambda: bool(sleepers()))
        worker: Worker = Worker.read(house.out("long") / "worker.json")
        os.kill(worker.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_worker)
    killer.start()
    finished = run("long")["long"]
    killer.join()
    assert finished.state.failure is Failure.DEAD_WORKER


def _start_runner(*slugs: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "stemma.cli", "run", *slugs],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_completed_key_is_not_run_again(house: House) -> None:
    house.paper("good", [GOOD])
    first = run("good")["good"]
    again = run("good")["good"]
    assert not first.run.cached
    assert again.run.cached
    assert again.result == first.result


def test_a_partial_folder_is_no_hit(house: House) -> None:
    house.paper("good", [GOOD])
    run("good")
    (house.out("good") / "result.json").unlink()
    assert not run("good")["good"].run.cached


def test_a_failed_run_is_no_hit_and_its_folder_is_kept(house: House) -> None:
    house.paper("bad", ["raise RuntimeError"])
    run("bad")
    assert not run("bad")["bad"].run.cached
    assert len(list((house.runs / "out" / "bad" / "superseded").iterdir())) == 1


def test_another_process_holding_the_run_is_refused(house: House, tmp_path: Path) -> None:
    from filelock import FileLock

    from stemma.errors import RunError

    house.paper("good", [GOOD])
    run("good")
    folder = house.out("good")
    with FileLock(folder / ".lock"), pytest.raises(RunError, match="another process"):
        planned(["good"], force=True)


def test_changed_rules_judge_stored_evidence_anew(house: House) -> None:
    house.paper("good", [GOOD])
    run("good")
    claims = minimal_paper("good")["claims"]
    assert isinstance(claims, list)
    claims[0]["rule"] = {"kind": "difference", "direction": "less"}
    house.write_yaml("good", {"claims": claims})
    catalog.clear_cache()
    again = run("good")["good"]
    assert again.run.cached
    assert again.result is not None
    assert [c.verdict for c in again.result.claims] == ["contradicted"]
