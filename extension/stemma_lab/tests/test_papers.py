"""Papers, checks and drafts."""

import nbformat
import yaml
from house import House
from report_house import Finished, write_batch, write_run


async def test_list(house: House, call) -> None:
    house.paper("first", [])
    house.paper("second", [], status="planned")
    status, answer = await call("stemma/papers")
    assert status == 200
    rows = {row["slug"]: row for row in answer["papers"]}
    assert (rows["first"]["status"], rows["second"]["status"]) == ("ready", "planned")
    assert rows["first"]["results"] == []
    write_run(Finished("first"))
    write_run(Finished("first", scale="smoke"))
    _, answer = await call("stemma/papers")
    row = next(row for row in answer["papers"] if row["slug"] == "first")
    assert {r["scale"]: r["verdicts"] for r in row["results"]} == {
        "small": {"trend holds": 1},
        "smoke": {},
    }
    assert {r["origin"] for r in row["results"]} == {"run here"}


async def test_an_edited_paper_is_read_again(house: House, call) -> None:
    house.paper("first", [])
    assert (await call("stemma/papers/first"))[1]["title"] == "On first"
    path = house.root / "papers" / "first" / "paper.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "title": "Anew"}))
    assert (await call("stemma/papers/first"))[1]["title"] == "Anew"


async def test_page(house: House, call) -> None:
    house.paper("first", [])
    write_batch("b", [Finished("first")])
    status, page = await call("stemma/papers/first")
    assert status == 200
    assert page["parameters"][0]["defaults"] == dict.fromkeys(("smoke", "small", "gpu", "paper"), 1)
    assert page["claims"][0]["verdict"] is None
    assert page["untested"]["smoke"].keys() == {"C1"}
    assert page["untested"]["small"] == {}
    (latest,) = page["latest"]
    (claim,) = latest["claims"]
    assert claim["verdict"] == claim["cells"][0]["verdict"] == "trend holds"
    assert claim["cells"][0]["bar"]["low"] > 0
    assert latest["mlflow"] is None
    assert (house.root / latest["notebook"]).is_file()
    (figure,) = latest["figures"]
    picture = await call.raw(f"stemma/{figure['url']}")
    assert picture.code == 200
    assert picture.body.startswith(b"\x89PNG")
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    assert picture.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"


async def test_a_broken_paper_says_where(house: House, call) -> None:
    house.write_yaml("first", {"year": "long ago"})
    status, answer = await call("stemma/papers")
    assert status == 400
    assert "paper.yaml:" in answer["message"]
    assert "year" in answer["message"]


async def test_check_names_everything(house: House, call, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    house.paper("first", [])
    body = {"scale": "gpu", "parameters": {"x": -1, "y": 2}}
    status, answer = await call("stemma/papers/first/check", body)
    assert status == 200
    errors = answer["errors"]
    assert errors.keys() == {"x", "y", "scale"}
    assert errors["x"] == "must be at least 0, got -1"
    assert errors["y"] == "first has no parameter `y`"
    body = {"scale": "small", "parameters": {"x": 2}}
    assert await call("stemma/papers/first/check", body) == (200, {"errors": {}})


async def test_draft(house: House, call) -> None:
    house.paper("first", ["print(x)"])
    body = {"scale": "smoke", "parameters": {"x": 7}}
    status, answer = await call("stemma/papers/first/notebook", body)
    assert status == 200
    path = house.root / answer["path"]
    assert path.parent == house.runs / "drafts"
    cells = nbformat.read(path, as_version=4).cells
    injected = next(c for c in cells if "injected-parameters" in c.metadata.get("tags", []))
    assert 'scale = "smoke"' in injected.source
    assert "x = 7" in injected.source
    path.write_text("edited")
    assert (await call("stemma/papers/first/notebook", body))[1] == answer
    assert path.read_text() == "edited"
    refused = {"scale": "smoke", "parameters": {"x": -7}}
    status, answer = await call("stemma/papers/first/notebook", refused)
    assert status == 400
    assert "parameter `x` must be at least 0" in answer["message"]


async def test_a_draft_that_the_lab_cannot_open(house: House, call, monkeypatch, tmp_path) -> None:
    house.paper("first", [])
    monkeypatch.setenv("STEMMA_RUNS", str(tmp_path.parent / "elsewhere"))
    body = {"scale": "smoke", "parameters": {}}
    status, answer = await call("stemma/papers/first/notebook", body)
    assert status == 409
    assert "make lab" in answer["message"]
    assert not (tmp_path.parent / "elsewhere").exists()


async def test_bad_bodies(house: House, call) -> None:
    house.paper("first", [])
    for body, field in (
        ("{", "body"),
        ({"scale": "huge", "parameters": {}}, "scale"),
        ({"scale": "smoke", "parameters": {"x": None}}, "parameters.x"),
        ({"scale": "smoke", "parameters": {}, "more": 1}, "more"),
    ):
        for path in ("stemma/papers/first/check", "stemma/papers/first/notebook", "stemma/runs"):
            named = path == "stemma/runs" and isinstance(body, dict)
            sent = {"slug": "first", **body} if named else body
            status, answer = await call(path, sent)
            assert status == 400
            assert f"{field}: " in answer["message"]
