"""What the Ray executor does on either side, without a cluster: archives and guards."""

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from house import House
from ray_cluster import write_spec

from stemma.batch import processes
from stemma.batch.executors import Handle, Job, Report, parcel, ray
from stemma.batch.executors.guard import BEGIN, STOP
from stemma.batch.executors.station import View
from stemma.batch.records import Failure, MlflowIds, Result, State
from stemma.errors import ExecutorError

GOOD = "run.measure('C1', ours=[2, 3, 4, 3, 2], baseline=[0, 1, 0, 1, 0])\nrun.verdicts()"
SPAWN = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
run.log("spawned", 1)
"""
# As ``python -m stemma.batch.executors.guard PLACE``, but with patience of the test's choice.
GUARD = """
import pathlib, sys
from stemma.batch.executors import guard
guard.GRACE_SECONDS = float(sys.argv[2])
guard.main(pathlib.Path(sys.argv[1]))
"""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    folder = tmp_path / "left"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "a.png").write_bytes(os.urandom(3 * parcel.CHUNK // 2))
    (folder / "result.json").write_text("{}")
    (folder / "spec.json").write_text("the node's own")
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def arrive(archive: Path, target: Path) -> Path:
    """Bring an archive over piece by piece, the last one twice."""
    offset, incoming = 0, target / ".incoming.tar"
    while piece := parcel.chunk(archive, offset):
        parcel.put(incoming, offset, piece)
        parcel.put(incoming, offset, piece)
        offset += len(piece)
    return incoming


def folder_with(tmp_path: Path, **contents: str) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    for name, text in contents.items():
        (folder / f"{name}.json").write_text(text)
    return folder


def test_what_a_worker_left_arrives_whole(tmp_path: Path, left: Path) -> None:
    target = folder_with(tmp_path, spec="the runner's own")
    made = parcel.pack(left, parcel.left_by_worker(left), tmp_path / "left.tar")
    parcel.unpack(arrive(tmp_path / "left.tar", target), made, target)
    sent, got = (f / "figures" / "a.png" for f in (left, target))
    assert got.read_bytes() == sent.read_bytes()
    assert (target / "result.json").read_text() == "{}"
    assert (target / "spec.json").read_text() == "the runner's own"
    assert not (target / "link").is_symlink()


def test_a_checkpoint_that_the_worker_removed_does_not_stay(tmp_path: Path, left: Path) -> None:
    target = folder_with(tmp_path, spec="the runner's own")
    (target / "checkpoint").mkdir()
    made = parcel.pack(left, parcel.left_by_worker(left), tmp_path / "left.tar")
    parcel.unpack(arrive(tmp_path / "left.tar", target), made, target)
    names = {".incoming.tar", "figures", "result.json", "spec.json"}
    assert {path.name for path in target.iterdir()} == names


def test_half_of_an_archive_is_nothing(tmp_path: Path, left: Path) -> None:
    target = folder_with(tmp_path)
    made = parcel.pack(left, parcel.left_by_worker(left), tmp_path / "left.tar")
    half = target / ".incoming.tar"
    parcel.put(half, 0, parcel.chunk(tmp_path / "left.tar", 0))
    with pytest.raises(ExecutorError, match="damaged"):
        parcel.unpack(half, made, target)
    assert [path.name for path in target.iterdir()] == [".incoming.tar"]


def test_the_result_is_put_in_place_last(
    tmp_path: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder_with(tmp_path)
    made = parcel.pack(left, parcel.left_by_worker(left), tmp_path / "left.tar")
    moved: list[str] = []
    replace = os.replace

    def full_disk(source: Path, destination: Path) -> None:
        if destination.name == "result.json":
            raise OSError(28, "No space left on device")
        moved.append(destination.name)
        replace(source, destination)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_disk)
        with pytest.raises(OSError, match="No space"):
            parcel.unpack(tmp_path / "left.tar", made, target)
    assert moved == ["figures"]
    assert not (target / "result.json").exists()
    parcel.unpack(tmp_path / "left.tar", made, target)
    assert (target / "result.json").exists()


def hostile(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return member


@pytest.mark.parametrize(
    "member",
    [
        hostile("../outside"),
        hostile("figures/../../outside"),
        hostile("/outside"),
        hostile("/state.json"),
        hostile("figures/../state.json"),
        hostile("state.json"),
        hostile("./spec.json"),
        hostile("attempts/1/result.json"),
        hostile("link", tarfile.SYMTYPE),
        hostile("hard", tarfile.LNKTYPE),
        hostile("device", tarfile.CHRTYPE),
        hostile("fifo", tarfile.FIFOTYPE),
        hostile("."),
    ],
    ids=lambda m: f"{m.name}-{m.type.decode()}",
)
def test_an_archive_writes_nothing_but_what_a_worker_may(
    tmp_path: Path, member: tarfile.TarInfo
) -> None:
    target = folder_with(tmp_path, state="the runner's own")
    archive = tmp_path / "hostile.tar"
    with tarfile.open(archive, "w") as tar:
        result = tarfile.TarInfo("result.json")
        result.size = 2
        tar.addfile(result, BytesIO(b"{}"))
        tar.addfile(member)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ExecutorError, match="refused"):
        parcel.unpack(archive, parcel.describe(archive), target)
    assert sorted(tmp_path.rglob("*")) == before
    assert (target / "state.json").read_text() == "the runner's own"


class Guard:
    """A guard and the other ends of its pipes."""

    def __init__(self, job: Job, grace: float = 20.0) -> None:
        self.place = job.folder.parent / "place"
        (self.place / "run").mkdir(parents=True)
        job.spec.write(self.place / "run" / "spec.json")
        self.token = job.spec.token
        self.process = subprocess.Popen(
            [sys.executable, "-c", GUARD, str(self.place), str(grace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.orders, self.words = self.process.stdin, self.process.stdout

    def ending(self) -> dict[str, object]:
        """Wait for the guard's one line."""
        said: dict[str, object] = json.loads(self.words.readline())
        return said

    def events(self) -> str:
        path = self.place / "run" / "events.jsonl"
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        self.orders.close()
        assert self.words.read() == b""


@pytest.fixture
def long(house: House) -> Iterator[Guard]:
    """A guard whose worker has a child of its kernel."""
    house.paper("long", [SPAWN, "time.sleep(600)"])
    guard = Guard(write_spec("long", gpus=0))
    guard.orders.write(BEGIN)
    deadline = time.monotonic() + 60
    while "spawned" not in guard.events():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(processes.marked(guard.token)) == 3
    yield guard
    processes.sweep(guard.token)


def test_a_guard_tells_how_its_worker_ended_and_cleans_up(house: House) -> None:
    house.paper("good", [GOOD])
    guard = Guard(write_spec("good", gpus=0))
    guard.orders.write(BEGIN)
    assert guard.ending() == {"phase": "over", "failure": None, "message": "", "timed_out": False}
    result: Result = Result.read(guard.place / "run" / "result.json")
    assert (result.outcome, result.token) == (State.SUCCEEDED, guard.token)
    guard.close()
    assert not guard.place.exists()


def test_a_guard_stops_its_worker_when_told_to(long: Guard) -> None:
    long.orders.write(STOP)
    assert long.ending()["message"] == "cancelled"
    assert processes.marked(long.token) == []
    long.close()


def test_a_worker_ends_with_whoever_asked_for_it(long: Guard) -> None:
    long.close()
    assert processes.marked(long.token) == []
    assert not long.place.exists()


def test_a_terminated_guard_takes_its_worker_along(long: Guard) -> None:
    guards = [p for p in psutil.process_iter(["cmdline"]) if _guards(p, long.place)]
    assert len(guards) == 1
    guards[0].terminate()
    assert long.words.read() == b""
    assert processes.marked(long.token) == []
    assert not long.place.exists()


def _guards(process: psutil.Process, place: Path) -> bool:
    return (process.info["cmdline"] or [])[1:4] == ["-c", GUARD, str(place)]


def test_a_guard_kills_what_does_not_react_at_its_deadline(house: House) -> None:
    # PyDLL keeps the GIL, so that no interrupt gets through.
    house.paper("hangs", ["import ctypes\nctypes.PyDLL(None).sleep(600)"])
    guard = Guard(write_spec("hangs", gpus=0, timeout=4), grace=1)
    guard.orders.write(BEGIN)
    assert guard.ending()["timed_out"] is True
    assert processes.marked(guard.token) == []
    guard.close()


def test_a_guard_keeps_the_limit_of_memory(house: House) -> None:
    house.paper("big", ["import time\nkeep = bytearray(300 * 2**20)\ntime.sleep(600)"])
    job = write_spec("big", gpus=0)
    guard = Guard(Job(job.spec.model_copy(update={"memory_mb": 250}), job.folder))
    guard.orders.write(BEGIN)
    ending = guard.ending()
    assert ending["failure"] == "out of memory"
    assert "where 250 MiB are allowed" in str(ending["message"])
    guard.close()


def test_a_node_that_is_not_what_the_run_was_planned_for_refuses_it(house: House) -> None:
    house.paper("good", [GOOD])
    job = write_spec("good", gpus=0)
    facts = job.spec.fingerprint | {"torch": "0.1", "git_commit": "another"}
    changes = {"device": "cuda Fast GPU", "fingerprint": facts}
    guard = Guard(Job(job.spec.model_copy(update=changes), job.folder))
    guard.orders.write(BEGIN)
    ending = guard.ending()
    assert ending["failure"] == "error", "a stale node does not become right by trying again"
    message = str(ending["message"])
    assert "device changed from cuda Fast GPU to cpu" in message
    assert "torch changed from 0.1 to" in message
    assert "git_commit" not in message
    assert not (guard.place / "run" / "events.jsonl").exists()
    guard.close()


class FakeRay:
    """Ray with one node whose actors answer at once; an answer that is an error is raised."""

    class exceptions:
        class RayError(Exception):
            pass

        class ActorUnavailableError(RayError):
            pass

    def __init__(self, station: object) -> None:
        self.station = station
        self.killed = 0

    def get_actor(self, _name: str, namespace: str) -> object:
        return self.station

    def remote(self, *_station: object, **_needs: object) -> object:
        return None

    def nodes(self) -> list[dict[str, object]]:
        return []

    def wait(self, answers: list[object], timeout: float) -> tuple[list[object], list[object]]:
        return answers, []

    def get(self, answer: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, _actor: object) -> None:
        self.killed += 1


class Answers:
    """A method of an actor."""

    def __init__(self, answer: Callable[..., object]) -> None:
        self.remote = answer


class FakeStation:
    """A station whose attempt is over; it answers ``first``, one by one, then what it has."""

    def __init__(self, archive: Path, made: parcel.Parcel, *first: object) -> None:
        answers = iter(first)
        self.look = Answers(lambda *_: View("", True, b"", b"", Report("over"), made))
        self.give = Answers(lambda offset: next(answers, None) or parcel.chunk(archive, offset))
        self.close = Answers(lambda: None)


def follow(
    monkeypatch: pytest.MonkeyPatch, job: Job, station: FakeStation
) -> tuple[Callable[[], Report], FakeRay]:
    """Return what polls the only attempt of an executor."""
    fake = FakeRay(station)
    monkeypatch.setattr(ray, "_connect", lambda address: fake)
    executor = ray.make({"kind": "ray", "address": "auto"}, 1)
    handle = Handle(kind="ray", id="", token=job.spec.token)
    assert executor.reattach(job, handle)
    return lambda: executor.poll(job, handle), fake


def travelling(house: House, left: Path, folder: Path) -> tuple[Job, parcel.Parcel]:
    """Return an attempt, and what its worker left, packed in ``folder``."""
    house.paper("good", [GOOD])
    names = parcel.left_by_worker(left)
    return write_spec("good"), parcel.pack(left, names, folder / "left.tar")


def test_an_actor_that_is_out_of_reach_is_asked_again(
    house: House, tmp_path: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, made = travelling(house, left, tmp_path)
    away = FakeRay.exceptions.ActorUnavailableError()
    poll, _ = follow(monkeypatch, job, FakeStation(tmp_path / "left.tar", made, away, away))
    while poll().phase != "over":
        assert not (job.folder / "result.json").exists()
    assert (job.folder / "result.json").exists()


def test_a_node_that_dies_while_its_results_travel_leaves_none(
    house: House, tmp_path: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, made = travelling(house, left, tmp_path)
    first = parcel.chunk(tmp_path / "left.tar", 0)
    dead = FakeRay.exceptions.RayError("The actor died.\nIts node is dead.")
    poll, fake = follow(monkeypatch, job, FakeStation(tmp_path / "left.tar", made, first, dead))
    report = poll()
    assert (report.phase, report.failure) == ("over", Failure.DEAD_WORKER)
    assert "Its node is dead." in report.message
    assert [path.name for path in job.folder.iterdir()] == ["spec.json"]
    assert fake.killed == 1


def test_a_full_disk_of_the_runner_loses_nothing(
    house: House, tmp_path: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, made = travelling(house, left, tmp_path)
    poll, _ = follow(monkeypatch, job, FakeStation(tmp_path / "left.tar", made))
    with monkeypatch.context() as patch:
        patch.setattr(parcel, "put", _no_room)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                poll()
    assert poll().phase == "over"
    assert (job.folder / "result.json").exists()


def _no_room(*_arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"pip install 'stemma-suite\[ray\]'"):
        ray.make({"kind": "ray"}, 2)


@pytest.mark.parametrize(
    ("uri", "reaches"),
    [("http://mlflow.lab:5000", True), ("sqlite:////runs/mlflow.db", False), ("/runs", False)],
)
def test_a_store_that_is_a_file_is_not_handed_to_a_node(uri: str, reaches: bool) -> None:
    ids = MlflowIds(tracking_uri=uri, experiment_id="1", run_id="2")
    assert ray.within_reach(ids) == (ids if reaches else None)
