"""The end points of tests of descent: what may be named, what is answered."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from house import House
from tornado.httpclient import HTTPClientError

from stemma import descent
from stemma_lab import provenance
from stemma_lab.places import BadPlace, Places


@pytest.fixture
def home(house: House) -> Path:
    """The folder that the file browser shows is the checkout."""
    for name in ("runs/provenance", "secret"):
        (house.root / name).mkdir(parents=True)
    return house.root


@pytest.fixture
def served(home: Path, jp_serverapp: Any) -> Any:
    return jp_serverapp


def body(**changes: object) -> dict[str, object]:
    return {
        "test": "query",
        "transcript": "runs/transcript",
        "suspect": "owner/model",
        "reference": None,
        "tokenizer": None,
        "model_name": None,
        "budget": None,
        "stop": None,
        "seed": 0,
    } | changes


async def refused(call: Any) -> tuple[int, str]:
    with pytest.raises(HTTPClientError) as error:
        await call
    response = error.value.response
    assert response is not None
    return error.value.code, json.loads(response.body)["message"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": "reshuffle"}, "test: "),
        ({"budget": 0}, "budget: "),
        ({"stop": 2}, "stop: "),
        ({"unknown": 1}, "unknown: "),
        ({"test": "partition", "budget": 5}, "a partition asks no model"),
        ({"transcript": "/etc"}, "as the file browser shows it"),
        ({"transcript": "runs/../secret"}, "as the file browser shows it"),
        ({"transcript": "secret"}, "outside of the runs"),
        ({"transcript": "runs/nothing"}, "nothing is there"),
        ({"transcript": "runs%2F..%2Fsecret"}, "nothing is there"),
        ({"suspect": "secret/model"}, "outside of the runs"),
        ({"suspect": "ftp://somewhere/model"}, "nothing is there"),
        ({"reference": "../secret"}, "as the file browser shows it"),
        ({"tokenizer": "/etc/passwd"}, "as the file browser shows it"),
        ({"test": "partition", "suspect": "owner/model"}, "nothing is there"),
    ],
)
async def test_what_does_not_fit_is_refused_with_the_reason(
    served: Any, jp_fetch: Any, home: Path, changes: dict[str, object], words: str
) -> None:
    (home / "runs" / "transcript").mkdir()
    (home / "secret" / "model").mkdir()
    data = json.dumps(body(**changes))
    status, message = await refused(jp_fetch("stemma", "provenance", method="POST", body=data))
    assert status == 400
    assert words in message
    assert descent.latest(5) == []


async def test_what_is_no_json_is_refused(served: Any, jp_fetch: Any) -> None:
    call = jp_fetch("stemma", "provenance", method="POST", body="{")
    assert (await refused(call))[0] == 400


@pytest.mark.parametrize("test_id", ["20260101T000000-abcdef", "..%2F..%2Fsecret", "key.pem"])
async def test_an_unknown_test_is_404(served: Any, jp_fetch: Any, test_id: str) -> None:
    base = ("stemma", "provenance", test_id)
    assert (await refused(jp_fetch(*base)))[0] == 404
    call = jp_fetch(*base, "cancel", method="POST", body="{}")
    assert (await refused(call))[0] == 404


async def test_a_test_is_started_seen_and_listed(served: Any, jp_fetch: Any, home: Path) -> None:
    (home / "runs" / "transcript").mkdir()  # empty: the test fails, and says why
    data = json.dumps(body(suspect="http://127.0.0.1:9/v1"))
    answer = await jp_fetch("stemma", "provenance", method="POST", body=data)
    test = json.loads(answer.body)
    assert test["state"] == "running"
    assert test["request"] == json.loads(data)
    told: list[dict[str, Any]] = []
    places = Places.of(str(home), [])
    following = asyncio.create_task(provenance.follow(told.append, places))
    while test["state"] == "running":
        await asyncio.sleep(0.1)
        test = json.loads((await jp_fetch("stemma", "provenance", test["id"])).body)
    assert test["state"] == "failed"
    assert "holds neither manifest.json nor parquet files" in test["message"]
    while not told or told[-1]["test"]["state"] == "running":
        await asyncio.sleep(0.1)
    following.cancel()
    assert told[-1] == {"kind": "provenance", "test": test}
    listed = json.loads((await jp_fetch("stemma", "provenance")).body)
    assert [row["id"] for row in listed["tests"]] == [test["id"]]
    stopped = await jp_fetch("stemma", "provenance", test["id"], "cancel", method="POST", body="{}")
    assert stopped.code == 200


async def test_transcripts_are_offered_by_the_paths_of_the_file_browser(
    served: Any, jp_fetch: Any, home: Path
) -> None:
    folder = home / "runs" / "mine"
    folder.mkdir()
    for name in ("manifest.json", "roots.npy"):
        (folder / name).touch()
    answer = await jp_fetch("stemma", "provenance", "transcripts")
    assert json.loads(answer.body) == {"transcripts": ["runs/mine"]}


def test_links_are_judged_by_where_they_lead(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = tmp_path_factory.mktemp("models")
    (models / "alice").mkdir()
    (home / "runs" / "out").symlink_to(home / "secret")
    (home / "models").symlink_to(models)
    (home / "runs" / "circle").symlink_to(home / "runs" / "circle")
    closed, opened = Places.of(str(home), []), Places.of(str(home), [str(models)])
    for places in (closed, opened):
        for path in ("runs/out", "runs/circle"):
            with pytest.raises(BadPlace, match="outside of the runs"):
                places.path(path)
            with pytest.raises(BadPlace, match="outside of the runs"):
                places.model(path)
    with pytest.raises(BadPlace, match="outside of the runs"):
        closed.model("models/alice")
    assert opened.model("models/alice") == str(models / "alice")
    assert closed.model("owner/alice") == "owner/alice"
    assert closed.shown(models / "alice") is None
    assert closed.shown(home / "runs" / "a b") == "runs/a b"
