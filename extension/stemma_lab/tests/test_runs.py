"""Runs: listed, started, followed, stopped, tried again."""

import asyncio
import json
import os
import time

import psutil
import pytest
from house import House
from jsonschema import ValidationError
from report_house import STARTED, Finished, write_batch

from stemma import files
from stemma.batch import batches
from stemma.batch.progress import Progress
from stemma.batch.records import RunState, State
from stemma_lab import runs as runs_module
from stemma_lab.activity import Follower, register
from stemma_lab.runs import Place, Runs, tail
from stemma_lab.schemas import EVENT_SCHEMA

GOOD = "run.measure('C1', ours=[2, 3, 4, 3, 2], baseline=[0, 1, 0, 1, 0])\nrun.verdicts()"
WAIT = """
import time
from pathlib import Path
for _ in run.progress(range(3), "rounds"):
    pass
print("waiting: é")
while not Path({go!r}).exists():
    time.sleep(0.1)
"""
SECONDS = 120.0


@pytest.fixture(autouse=True)
def _nothing_left(house: House):
    """Every runner and worker of the house ends before its folder goes."""
    yield
    (house.root / "go").touch()
    deadline = time.monotonic() + SECONDS
    while ours(house):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ours(house: House) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("STEMMA_RUNS") == str(house.runs)
            if mine and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


async def until(call, run_id: str, *states: str):
    deadline = time.monotonic() + SECONDS
    while True:
        _, run = await call(f"stemma/runs/{run_id}")
        if run["state"] in states:
            return run
        assert time.monotonic() < deadline, run
        await asyncio.sleep(0.1)


async def test_newest_first(house: House, call) -> None:
    house.paper("first", [])
    house.paper("second", [])
    write_batch("old", [Finished("first")], STARTED)
    write_batch("new", [Finished("second", state=State.FAILED, message="no")], STARTED + 10)
    status, answer = await call("stemma/runs")
    assert status == 200
    assert [r["batch"] for r in answer["runs"]] == ["new", "old"]
    assert [r["state"] for r in answer["runs"]] == ["failed", "succeeded"]
    _, answer = await call("stemma/runs", params={"limit": "1"})
    assert [(r["batch"], r["message"]) for r in answer["runs"]] == [("new", "no")]


async def test_detail_of_a_failed_run(house: House, call) -> None:
    house.paper("first", [])
    failed = Finished("first", state=State.FAILED, message="boom")
    batch = write_batch("b", [failed])
    _, run = await call(f"stemma/runs/b/{batch.runs[0].name}")
    assert run["parameters"] == {"x": 1}
    assert run["result"]["claims"] == []


async def test_from_the_form_to_the_verdict(house: House, call, jp_serverapp) -> None:
    house.paper("first", [WAIT.format(go=str(house.root / "go")), GOOD])
    heard = []

    async def listen(logger, schema_id, data) -> None:
        heard.append(data)

    jp_serverapp.event_logger.add_listener(schema_id=EVENT_SCHEMA, listener=listen)
    app = jp_serverapp.web_app.settings["stemma_lab"]
    await app._start_jupyter_server_extension(jp_serverapp)
    request = {"slug": "first", "scale": "small", "parameters": {"x": 3}}
    status, started = await call("stemma/runs", request, request_timeout=SECONDS)
    assert status == 200, started
    # The runner is no child of this server, and lives in a session of its own.
    runner = next(p for p in ours(house) if any("daemon" in word for word in p.cmdline()))
    assert os.getsid(runner.pid) == runner.pid
    assert os.getpid() not in [parent.pid for parent in runner.parents()]
    run = await until(call, started["id"], "running")
    while not (run["progress"] and run["progress"]["cell"] == 3 and run["progress"]["total"]):
        await asyncio.sleep(0.1)
        run = await until(call, started["id"], "running")
    assert run["progress"] == {"cell": 3, "cells": 4, "heading": "Step 0", "done": 3, "total": 3}
    status, refused = await call("stemma/runs", request, request_timeout=SECONDS)
    assert status == 409
    assert "being run by another process" in refused["message"]
    status, refused = await call(f"stemma/runs/{started['id']}/retry", {})
    assert (status, refused["message"]) == (409, "first is running: wait for it or stop it")
    await app.stop_extension()
    (house.root / "go").touch()
    run = await until(call, started["id"], "succeeded")
    assert run["parameters"] == {"x": 3}
    assert [c["verdict"] for c in run["result"]["claims"]] == ["trend holds"]
    assert run["result"]["mlflow"].startswith("/#/experiments/")
    assert (house.root / run["result"]["notebook"]).is_file()
    states = [e["run"]["state"] for e in heard if e["run"]["id"] == started["id"]]
    assert "running" in states
    assert "succeeded" not in states  # it was not listening any more
    assert any(e["run"]["progress"] and e["run"]["progress"]["cell"] == 3 for e in heard)
    _, log = await call(f"stemma/runs/{started['id']}/log")
    assert log["over"]
    assert log["offset"] == (house.out("first") / "log.txt").stat().st_size
    status, refused = await call(f"stemma/runs/{started['id']}/cancel", {})
    assert (status, refused["message"]) == (409, "first is over: it succeeded")
    assert (await call(f"stemma/runs/{started['id']}/retry", {}))[0] == 409
    _, again = await call("stemma/runs", request, request_timeout=SECONDS)
    assert again["cached"]
    assert again["state"] == "succeeded"


async def test_cancel_and_retry(house: House, call) -> None:
    house.paper("first", [WAIT.format(go=str(house.root / "go")), GOOD])
    request = {"slug": "first", "scale": "smoke", "parameters": {}}
    _, started = await call("stemma/runs", request, request_timeout=SECONDS)
    await until(call, started["id"], "running")
    assert await call(f"stemma/runs/{started['id']}/cancel", {}) == (200, {})
    run = await until(call, started["id"], "cancelled")
    assert run["message"] == "cancelled"
    (house.root / "go").touch()
    again = f"stemma/runs/{started['id']}/retry"
    assert await call(again, {}, request_timeout=SECONDS) == (200, {})
    run = await until(call, started["id"], "succeeded")
    assert [c["verdict"] for c in run["result"]["claims"]] == ["not tested"]


async def test_what_cannot_be_started(house: House, call, monkeypatch) -> None:
    house.paper("first", [])
    request = {"slug": "first", "scale": "small", "parameters": {"x": -1}}
    status, answer = await call("stemma/runs", request, request_timeout=SECONDS)
    assert (status, answer["message"]) == (400, "first: parameter `x` must be at least 0, got -1")
    assert batches.every() == []


def orphan(house: House):
    """A batch whose runner is gone in the middle."""
    house.paper("first", [])
    batch = write_batch("b", [Finished("first", leaves_result=False)])
    run = batch.runs[0]
    batches.forget(batch.id, run)
    RunState(state=State.RUNNING, started=STARTED).write(batches.run_folder(run) / "state.json")
    event = {"run": run.name, "state": "running", "started": STARTED}
    files.append_event(batches.folder("b") / "events.jsonl", "state", event)
    return batch


async def test_a_runner_that_is_gone(house: House, call) -> None:
    batch = orphan(house)
    run_id = f"b/{batch.runs[0].name}"
    _, run = await call(f"stemma/runs/{run_id}")
    assert run["state"] == "running"
    assert "retry goes on with it" in run["message"]
    assert (await call("stemma/runs"))[1]["runs"][0]["message"] == run["message"]
    status, answer = await call(f"stemma/runs/{run_id}/cancel", {})
    assert status == 409
    assert "retry goes on with it" in answer["message"]


def test_a_run_that_ends_while_it_is_read_has_its_result(house: House, monkeypatch) -> None:
    house.paper("first", [])
    batch = write_batch("b", [Finished("first")])
    place = Place(batch, batch.runs[0])
    path, state_of = batches.result_path(batch.id, batch.runs[0]), batches.state_of
    hidden = path.rename(path.with_suffix(".hidden"))

    def ends(*run):
        hidden.rename(path)
        return state_of(*run)

    monkeypatch.setattr(batches, "state_of", ends)
    detail = Runs(house.root).detail(place)
    assert detail.state == "succeeded"
    assert detail.result is not None


async def test_a_log_that_another_batch_took(house: House, call) -> None:
    house.paper("first", [])
    batch = write_batch("old", [Finished("first")])
    path = house.out("first") / "spec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"batch": "new"}))
    status, answer = await call(f"stemma/runs/old/{batch.runs[0].name}/log")
    assert status == 404
    assert "batch new ran it again" in answer["message"]


def test_tail(tmp_path, monkeypatch) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes("aé".encode()[:-1])
    assert tail(path, 0, over=False) == ("a", 1)
    assert tail(path, 0, over=True) == ("a\ufffd", 2)
    path.write_bytes("aéb".encode())
    assert tail(path, 1, over=False) == ("éb", 4)
    assert tail(path, 4, over=False) == ("", 4)
    assert tail(path, 99, over=False) == ("aéb", 4)
    monkeypatch.setattr(runs_module, "LOG_BYTES", 4)
    path.write_bytes(b"xxx" + "é€".encode())
    assert tail(path, 0, over=False) == ("€", 8)
    path.write_bytes("€🎉".encode()[:-1])
    assert tail(path, 0, over=False) == ("", 3)
    assert tail(path, 3, over=False) == ("", 3)
    path.write_bytes("€🎉".encode())
    assert tail(path, 3, over=False) == ("🎉", 7)


def test_progress() -> None:
    start = {"kind": "cell_start", "code_cell": 2, "code_cells": 4, "heading": "Data"}
    at = Progress().after(start)
    assert (at.cell, at.cells, at.heading, at.completed) == (2, 4, "Data", 1.0)
    half = at.after({"kind": "progress", "label": "rows", "done": 5, "total": 10})
    assert half.completed == 1.5
    assert half.after({"kind": "metric"}) is half
    assert half.after(start) == at
    assert Progress().after({"kind": "cell_start", "cell": 1, "of": 3}) == Progress()


def test_the_follower_tells_what_is_new(house: House) -> None:
    house.paper("first", [])
    house.paper("second", [])
    write_batch("over", [Finished("first")])
    follower = Follower()
    assert follower.look() == []
    assert follower.is_idle
    follower._searched = -10.0
    write_batch("cached", [Finished("second")])
    assert [a.run.id.split("/")[0] for a in follower.look()] == ["cached"]
    assert follower.look() == []
    assert follower.is_idle


def test_the_follower_sees_a_runner_come_and_go(house: House, monkeypatch) -> None:
    batch = orphan(house)
    alive = {"b": True}
    monkeypatch.setattr(batches, "is_alive", lambda batch_id: alive[batch_id])
    follower = Follower()
    (told,) = follower.look()
    assert (told.run.state, told.run.message) == (State.RUNNING, "")
    alive["b"] = False
    follower._searched = -10.0
    (told,) = follower.look()
    assert "runner is gone" in told.run.message
    assert follower.is_idle
    alive["b"] = True
    event = {"run": batch.runs[0].name, "state": "cancelled"}
    files.append_event(batches.folder("b") / "events.jsonl", "state", event)
    follower._searched = -10.0
    follower.look()
    assert not follower.is_idle


async def test_events_fit_their_schema(house: House, jp_serverapp) -> None:
    logger = jp_serverapp.event_logger
    heard = []

    async def listen(logger, schema_id, data) -> None:
        heard.append(data)

    # The bus checks only what somebody listens to.
    logger.add_listener(schema_id=EVENT_SCHEMA, listener=listen)
    register(logger)
    house.paper("first", [])
    follower = Follower()
    follower.look()
    write_batch("new", [Finished("first")])
    follower._searched = -10.0
    for activity in follower.look():
        logger.emit(schema_id=EVENT_SCHEMA, data=activity.model_dump(mode="json"))
    with pytest.raises(ValidationError, match="kind"):
        logger.emit(schema_id=EVENT_SCHEMA, data={"run": {}})
    await asyncio.sleep(0)
    assert [(e["kind"], e["run"]["batch"]) for e in heard] == [("run", "new")]
