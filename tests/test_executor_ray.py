"""Ray: attempts on nodes without a shared disk, node loss, cancellation, a runner that dies."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray_cluster
from house import House
from ray_cluster import Cluster, trace, write_spec

from stemma.batch import processes
from stemma.batch.executors import Job
from stemma.batch.records import Result, State

pytest.importorskip("ray", reason="pip install 'stemma-suite[ray]'")
pytestmark = pytest.mark.slow

START = """
import json, os, subprocess, sys, time
gpu, node = os.environ["CUDA_VISIBLE_DEVICES"], os.environ.get("TEST_NODE", "")
run.log("gpu", float(gpu or -1))
run.log("node", float("ab".find(node)))
place = {"folder": str(run.folder), "pid": os.getpid(), "node": node, "gpu": gpu}
run.artifact("place.json", json.dumps(place).encode())
"""
# What runs on node b does not end before the node does.
HELD = """
from pathlib import Path
while node == "b" and not Path({gone!r}).exists():
    time.sleep(0.1)
"""
# Each step waits until a poll saw more than before, so that a slow machine sees every run live.
STEPS = """
def seen():
    polls = [json.loads(line) for line in open({trace!r})]
    mine = [p for p in polls if p["slug"] == run.paper.slug and p["phase"] == "running"]
    return len({{p["events"] for p in mine}})
for _ in run.progress(range(4), "steps"):
    time.sleep(0.6)  # progress is told every half second
    before, deadline = seen(), time.monotonic() + 60
    run.log("step", float(before))
    while seen() <= before and time.monotonic() < deadline:
        time.sleep(0.2)
"""
GOOD = "run.measure('C1', ours=[2, 3, 4, 3, 2], baseline=[0, 1, 0, 1, 0])"
# A grandchild that would survive if only the kernel were killed.
SPAWN = 'subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])'
LONG = "time.sleep(600)"
GONE = "b-is-gone"
GUARD = "stemma.batch.executors.guard"


@pytest.fixture(scope="module")
def enter() -> Iterator[list[str]]:
    with ray_cluster.namespace() as command:
        yield command


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    held = HELD.format(gone=str(made.root / GONE))
    steps = STEPS.format(trace=str(made.runs / ray_cluster.TRACE))
    for number in range(8):
        made.paper(f"paper-{number}", [START, held, steps, GOOD])
    made.paper("long", [START, SPAWN, LONG])
    made.paper("own", [START, SPAWN, LONG])
    made.paper("greedy", [START, GOOD])
    made.paper("resumed", [START, "print((run.folder / 'checkpoint' / 'seen').read_text())", GOOD])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEMMA_HOME", str(made.root))
        patch.setenv("STEMMA_PAPERS", str(made.root / "papers"))
        patch.setenv("STEMMA_RUNS", str(made.runs))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield made
    assert alive(made) == []


@pytest.fixture(scope="module")
def cluster(enter: list[str], house: House) -> Iterator[Cluster]:
    made = Cluster(enter, house.root)
    yield made
    made.close()


class Driver:
    """A process that does what a runner does, until the end of a ``with``."""

    def __init__(self, enter: Sequence[str], address: str, jobs: Sequence[Job], slots: int = 4):
        script = [sys.executable, ray_cluster.__file__, "drive", address, str(slots)]
        self._log = Path(os.environ["STEMMA_HOME"]) / "driver.log"
        with self._log.open("ab") as log:
            command = [*enter, *script, *(str(job.folder) for job in jobs)]
            environment = os.environ | ray_cluster.FOR_TESTS
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def finish(self) -> None:
        """Wait until every run is over."""
        assert self._process.wait(600) == 0, self._log.read_text()[-3000:]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited too long; last polls: {trace()[-4:]}"
        time.sleep(0.3)


def result(job: Job) -> Result:
    found: Result = Result.read(job.folder / "result.json")
    return found


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def place(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job.folder / "artifacts" / "place.json").read_text())
    return found


def running() -> set[str]:
    """Return the slugs whose notebooks were under way when they were last polled."""
    last = {poll["slug"]: poll for poll in trace()}
    return {slug for slug, p in last.items() if p["phase"] == "running" and p["events"] >= 5}


def over() -> set[str]:
    return {poll["slug"] for poll in trace() if poll["phase"] == "over" and poll["result"]}


def polls(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    slugs = {job.spec.slug for job in jobs}
    return [poll for poll in trace() if poll["slug"] in slugs]


def alive(house: House) -> list[psutil.Process]:
    """Return the processes of any attempt of this house, guards included."""
    found = []
    for process in psutil.process_iter():
        try:
            environment, command = process.environ(), process.cmdline()
        except (psutil.Error, OSError):
            continue
        mine = environment.get("STEMMA_HOME") == str(house.root)
        if mine and (processes.TOKEN in environment or GUARD in command):
            found.append(process)
    return found


def nothing_left(cluster: Cluster, house: House) -> bool:
    return cluster.places() == [] and alive(house) == []


def device_intervals(folder: Path) -> Iterator[tuple[tuple[float, float], float, float]]:
    """Yield (node, device), start and end of every attempt of a run, lost ones included."""
    for attempt in [folder, *(folder / "attempts").glob("*")]:
        seen = events(attempt) if (attempt / "events.jsonl").exists() else []
        device = {e["name"]: e for e in seen if e["kind"] == "metric" and e["name"] in DEVICE}
        if len(device) == 2:
            where = device["node"]["value"], device["gpu"]["value"]
            yield where, device["gpu"]["time"], seen[-1]["time"]


DEVICE = ("gpu", "node")


def test_a_killed_runner_and_a_lost_node_cost_nothing_but_time(
    enter: list[str], cluster: Cluster, house: House
) -> None:
    jobs = [write_spec(f"paper-{number}") for number in range(8)]
    with Driver(enter, cluster.address, jobs, slots=8):
        wait_for(lambda: len(running()) >= 3)
    outlived = [job for job in jobs if processes.marked(job.spec.token)]
    assert outlived, "no worker outlived the runner, so that nothing was shown"

    def half_way() -> bool:
        on_b = {slug for slug in running() if _last_node(house, slug) == 1.0}
        return len(over()) >= 2 and bool(on_b)

    with Driver(enter, cluster.address, jobs, slots=8) as driver:
        wait_for(half_way)
        cluster.remove("b")
        (house.root / GONE).touch()
        driver.finish()

    seen = polls(jobs)
    assert [result(job).outcome for job in jobs] == [State.SUCCEEDED] * 8
    attempts = [json.loads((job.folder / "spec.json").read_text())["attempt"] for job in jobs]
    assert max(attempts) == 2
    failures = [p["failure"] for p in seen if p["failure"] is not None]
    assert failures == ["lost node"] * (sum(attempts) - 8)
    assert len([p for p in seen if p["phase"] == "over" and p["result"]]) == 8

    _check_devices(jobs)
    _check_live_events(jobs)
    for job in jobs:
        folder = Path(place(job)["folder"])
        assert folder.is_relative_to(house.root / f"node-{place(job)['node']}")
        assert not folder.exists()
        assert (job.folder / "executed.ipynb").exists()
        cells = [e["cell"] for e in events(job.folder) if e["kind"] == "cell_end"]
        assert cells == sorted(set(cells)), "events came twice, or the notebook ran twice"
    wait_for(lambda: nothing_left(cluster, house))


def _last_node(house: House, slug: str) -> float:
    found = [e["value"] for e in events(house.out(slug)) if e.get("name") == "node"]
    return found[-1] if found else -1.0


def _check_devices(jobs: Sequence[Job]) -> None:
    intervals = sorted(i for job in jobs for i in device_intervals(job.folder))
    assert {where for where, _, _ in intervals} >= {(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)}
    for (where, _, end), (there, start, _) in itertools.pairwise(intervals):
        assert where != there or end <= start, f"two attempts had device {where} at a time"
    overlapping = any(a[1] < b[2] and b[1] < a[2] for a in intervals for b in intervals if a != b)
    assert overlapping, "nothing ran at the same time, so that nothing was shown"


def _check_live_events(jobs: Sequence[Job]) -> None:
    """Every run was seen with several numbers of events before it was over."""
    for job in jobs:
        live = {p["events"] for p in polls([job]) if p["phase"] == "running"}
        assert len(live) > 2, f"{job.spec.slug} was seen with {live} events only"


def test_a_cluster_of_its_own(enter: list[str], house: House) -> None:
    """Cancelled attempts leave nothing, checkpoints travel, and all ends with the runner."""
    long, own, resumed = (write_spec(slug, gpus=0) for slug in ("long", "own", "resumed"))
    queued = write_spec("greedy", gpus=1)
    (resumed.folder / "checkpoint").mkdir()
    (resumed.folder / "checkpoint" / "seen").write_text("from the attempt before")
    with Driver(enter, "local", [resumed, long, own, queued]):
        wait_for(lambda: "long" in running() and "resumed" in over())
        assert len(processes.marked(long.spec.token)) >= 3, "worker, kernel and its child"
        for job in (long, queued):
            (house.runs / f"cancel-{job.spec.slug}").touch()
        wait_for(lambda: all(polls([job])[-1]["phase"] == "over" for job in (long, queued)))
        assert processes.marked(long.spec.token) == []
        wait_for(lambda: "own" in running() and len(processes.marked(own.spec.token)) >= 3)
    wait_for(lambda: alive(house) == [] and not list(house.root.glob("node-*/stemma-ray-*")))

    for job in (long, queued):
        last = polls([job])[-1]
        assert (last["failure"], last["message"]) == (None, "cancelled")
    assert not (queued.folder / "result.json").exists()
    assert not (own.folder / "result.json").exists()
    assert result(resumed).outcome is State.SUCCEEDED
    assert "from the attempt before" in (resumed.folder / "executed.ipynb").read_text()
    assert not (resumed.folder / "checkpoint").exists(), "a run that succeeded needs none"
