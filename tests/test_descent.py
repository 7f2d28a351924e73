"""Tests of descent as processes: from a request to signed evidence, and every way to end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import tiny_descent
from click.testing import CliRunner
from house import House
from pydantic import ValidationError
from tokenizers import Tokenizer, models

from provenance.cli import main as provenance_commands
from stemma import descent
from stemma.batch import processes
from stemma.batch.records import State, Worker
from stemma.descent import DescentTest, Request
from stemma.errors import RunError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_descent.make(folder)
    return folder


def asking(tiny: Path, name: str, **changes: object) -> Request:
    fields = {
        "test": "query",
        "transcript": str(tiny / "transcript"),
        "suspect": str(tiny / name),
        "reference": str(tiny / "reference"),
        "seed": 3,
    }
    return Request.model_validate(fields | changes)


@pytest.fixture
def hanging(tmp_path: Path, tiny: Path) -> Iterator[Request]:
    """A request whose suspect is an end point that never answers."""
    path = tmp_path / "tokenizer.json"
    words = {f"w{i}": i for i in range(tiny_descent.VOCABULARY)}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(path))
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        yield asking(tiny, "", suspect=address, reference=None, model_name="m", tokenizer=str(path))


def found(test_id: str) -> DescentTest:
    test = descent.find(test_id)
    assert test is not None
    return test


def over(test_id: str) -> DescentTest:
    """Wait for the end of a test."""
    while (test := found(test_id)).state is State.RUNNING:
        time.sleep(0.05)
    return test


def worker(house: House, test_id: str) -> Worker:
    read: Worker = Worker.read(house.runs / "provenance" / test_id / "worker.json")
    return read


def begun(house: House, test_id: str) -> Worker:
    """Wait until the command itself runs, and return its process."""
    log = house.runs / "provenance" / test_id / "log.txt"
    while "$ provenance" not in log.read_text():
        assert found(test_id).state is State.RUNNING, log.read_text()
        time.sleep(0.05)
    return worker(house, test_id)


def by_hand(request: Request) -> dict[str, object]:
    """What the command answers when it is called here, without a process or a curve."""
    words = ["query", request.transcript, "--suspect", request.suspect, "--seed", request.seed]
    if request.reference:
        words += ["--reference", request.reference]
    if request.stop:
        words += ["--stop", request.stop]
    answer = CliRunner().invoke(provenance_commands, [str(w) for w in [*words, "--json"]])
    assert answer.exit_code == 0, answer.output
    data: dict[str, object] = json.loads(answer.stdout)
    return data


def test_the_process_passes_the_numbers_through(house: House, tiny: Path) -> None:
    requests = {name: asking(tiny, name) for name in ("suspect", "stranger")}
    ids = {name: descent.start(request) for name, request in requests.items()}
    tests = {name: over(test_id) for name, test_id in ids.items()}
    for name, test in tests.items():
        assert test.state is State.SUCCEEDED, test.message
        assert {name: test.p_value} == by_hand(requests[name])["holm"]
        assert (test.curve[-1].examples, test.curve[-1].p_value) == (400, test.p_value)
        assert test.ended is not None
        assert test.ended >= test.started
    assert tests["suspect"].p_value == 1e-4
    assert "strong evidence of dependence" in (tests["suspect"].verdict or "")
    assert tests["stranger"].p_value is not None
    assert tests["stranger"].p_value > 0.05
    assert "no evidence of dependence" in (tests["stranger"].verdict or "")
    assert "same published order" in tests["stranger"].caveats[0]
    assert [test.id for test in descent.latest(5)] == sorted(ids.values(), reverse=True)
    assert descent.latest(1)[0].curve == []


def test_the_evidence_is_signed_with_the_key_of_the_house(house: House, tiny: Path) -> None:
    request = asking(tiny, "suspect", stop=1e-3)
    test = over(descent.start(request))
    folder = house.runs / "provenance"
    assert test.evidence == str(folder / test.id / "evidence.json")
    assert (folder / "key.pem").stat().st_mode & 0o077 == 0
    words = ["verify", test.evidence, "--key", str(folder / "key.pem.pub"), "--transcript"]
    checked = CliRunner().invoke(provenance_commands, [*words, request.transcript])
    assert checked.exit_code == 0, checked.output
    answer = by_hand(request)["result"]
    assert isinstance(answer, dict)
    assert test.p_value == answer["p_anytime"] <= 1e-3
    values = [point.p_value for point in test.curve]
    assert values == sorted(values, reverse=True)
    assert test.curve[-1].examples == answer["n"] < 400


def test_a_partition_has_a_p_value_and_no_curve(house: House, tiny: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("".join(f"{list(range(i, i + 12))}\n" for i in range(40)))
    request = Request(test="partition", transcript=str(tiny / "transcript"), suspect=str(text))
    test = over(descent.start(request))
    assert test.state is State.SUCCEEDED, test.message
    assert test.p_value is not None
    assert 0 < test.p_value <= 1
    assert test.curve == []
    assert (test.verdict or "").startswith("text: p =")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": 401}, "cannot draw 401 of 400 rows"),
        ({"suspect": "http://127.0.0.1:9/v1"}, "give --model-name"),
        ({"suspect": "--help"}, "cannot load --help"),
    ],
)
def test_a_request_that_does_not_fit_fails_with_the_reason(
    house: House, tiny: Path, changes: dict[str, object], words: str
) -> None:
    test = over(descent.start(asking(tiny, "suspect", **changes)))
    assert test.state is State.FAILED
    assert words in test.message
    assert "\n" not in test.message
    assert test.evidence is None
    assert test.p_value is None


def test_cancel_leaves_no_process(house: House, hanging: Request) -> None:
    test_id = descent.start(hanging)
    process = begun(house, test_id)
    assert processes.marked(process.token)
    descent.cancel(test_id)
    assert not processes.marked(process.token)
    test = found(test_id)
    assert test.state is State.CANCELLED
    assert test.ended is not None
    descent.cancel(test_id)  # over already: nothing happens
    assert found(test_id) == test


def test_a_killed_process_is_lost(house: House, hanging: Request) -> None:
    test_id = descent.start(hanging)
    os.kill(begun(house, test_id).pid, signal.SIGKILL)
    test = over(test_id)
    assert test.state is State.LOST
    assert "log.txt" in test.message


def test_a_test_outlives_the_process_that_started_it(
    house: House, tiny: Path, tmp_path: Path
) -> None:
    path = tmp_path / "request.json"
    asking(tiny, "stranger").write(path)
    program = (
        "import os, sys; from pathlib import Path; from stemma import descent;"
        "print(descent.start(descent.Request.read(Path(sys.argv[1]))), flush=True);"
        "os.kill(os.getpid(), 9)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True
    )
    said, _ = parent.communicate()
    test_id = said.strip()
    process = worker(house, test_id)
    assert parent.returncode == -signal.SIGKILL
    assert process.pid != parent.pid
    assert os.getsid(process.pid) == process.pid if psutil.pid_exists(process.pid) else True
    assert over(test_id).state is State.SUCCEEDED


def test_the_follower_tells_each_change_once(house: House, tiny: Path, hanging: Request) -> None:
    old = over(descent.start(asking(tiny, "suspect", budget=401)))
    follower = descent.Follower()
    assert follower.changed() == []
    test_id = descent.start(hanging)
    assert [test.id for test in follower.changed()] == [test_id]
    begun(house, test_id)
    assert follower.changed() == []
    curve = house.runs / "provenance" / test_id / "curve.jsonl"
    with curve.open("a") as file:
        file.write('{"examples": 8, "p_value": 0.5}\n{"examples": 16')
    (news,) = follower.changed()
    assert descent.latest(1) == [news]  # the list knows the curves of those that run
    assert [point.examples for point in news.curve] == [8]
    descent.cancel(test_id)
    assert [test.state for test in follower.changed()] == [State.CANCELLED]
    assert follower.changed() == []
    assert old.id != test_id


def test_a_long_curve_is_thinned_to_what_a_picture_shows(house: House, hanging: Request) -> None:
    test_id = descent.start(hanging)
    begun(house, test_id)
    descent.cancel(test_id)
    lines = (json.dumps({"examples": 8 * i, "p_value": 1 / i}) + "\n" for i in range(1, 5001))
    (house.runs / "provenance" / test_id / "curve.jsonl").write_text("".join(lines))
    curve = found(test_id).curve
    assert 100 <= len(curve) <= 200
    assert curve[-1].examples == 40_000
    assert [point.examples for point in curve] == sorted(point.examples for point in curve)


@pytest.mark.parametrize(
    "changes",
    [
        {"test": "reshuffle"},
        {"suspect": ""},
        {"budget": 0},
        {"stop": 1.0},
        {"stop": 0.0},
        {"seed": -1},
        {"test": "partition"},  # with the query's reference
        {"alternative": "two-sided"},
    ],
)
def test_bad_requests_are_refused(tiny: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        asking(tiny, "suspect", **changes)


@pytest.mark.parametrize("test_id", ["", ".", "..", "../out", "20260101T000000-abcdef", "key.pem"])
def test_an_unknown_id_is_no_test(house: House, test_id: str) -> None:
    (house.runs / "provenance").mkdir(parents=True)
    assert descent.find(test_id) is None
    with pytest.raises(RunError, match="no test"):
        descent.cancel(test_id)


def test_transcripts_are_found_below_a_folder_but_not_through_links(
    tiny: Path, tmp_path: Path
) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tiny / "transcript")
    (deep / "manifest.json").write_text("{}")  # some other manifest
    assert descent.transcripts(tmp_path) == []
    assert descent.transcripts(tiny) == [tiny / "transcript"]
