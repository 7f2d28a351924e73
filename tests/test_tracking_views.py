"""What MLflow shows when it is opened cold: common metrics, the claims' picture, saved views."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow_house import leave_results, make_folder, track
from reference_runs import BATCH, REFERENCES, write_references

from stemma import catalog, paths, tracking
from stemma.files import append_event
from stemma.tracking import content, experiments, figures, views

_DPP, _PALIMPSEST, _MULTIPLICITY = "dpp-least-squares", "palimpsest", "predictive-multiplicity"
_FOUND: dict[str, set[str]] = {
    'metrics."claims/contradicted" > 0': {_DPP},
    "tags.verdict.C1 = 'trend holds'": {_DPP, _PALIMPSEST},
    "tags.stemma.state != 'succeeded'": set(),
    "tags.stemma.failure = 'out of memory'": set(),
    "tags.stemma.batch = 'BATCH' and params.scale = 'small'": {_DPP, _PALIMPSEST, _MULTIPLICITY},
    'metrics."time/minutes" > 5': {_PALIMPSEST},
    'metrics."claims/C4a/estimate/legendre-5_ n _ 10" > 0': {_DPP},
    "dataset.name = 'nltk-brown'": {_PALIMPSEST},
    "tags.stemma.with.git_dirty = 'false'": {_DPP, _MULTIPLICITY},
}
"""The filters of docs/mlflow.md, and which references they find."""


def reference(slug: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((REFERENCES / f"{slug}.small.json").read_text())
    return result


def records(slug: str) -> content.Records:
    result = reference(slug)
    started = result["started"]
    state = {"state": "succeeded", "started": started, "ended": started + result["seconds"]}
    return content.Records({"slug": slug}, state, result)


@pytest.mark.parametrize("path", sorted(REFERENCES.glob("*.json")), ids=lambda p: p.stem)
def test_every_paper_has_the_same_common_metrics(path: Path) -> None:
    slug = path.name.split(".")[0]
    points = content.common_points(records(slug), {"system/memory_mb": 512.0})
    values = {point.name: point.value for point in points}
    assert list(values) == [
        *("claims/reproduced", "claims/trend holds", "claims/contradicted"),
        *("claims/inconclusive", "claims/not tested", "checks/passed", "checks/failed"),
        *("memory/peak_mb", "time/minutes"),
    ]
    result = reference(slug)
    assert sum(values[f"claims/{v}"] for v in content.VERDICTS) == len(result["claims"])
    assert values["checks/passed"] == sum(check["passed"] for check in result["checks"])
    assert values["time/minutes"] == pytest.approx(result["seconds"] / 60)
    assert values["memory/peak_mb"] == 512.0


def test_a_run_that_broke_has_no_verdicts_but_its_time() -> None:
    broken = content.Records({}, {"state": "failed", "started": 10.0, "ended": 70.0}, None)
    assert content.common_points(broken, {}) == [content.Point("time/minutes", 1.0, 70_000, 0)]


def test_metrics_of_claims_have_distinct_names() -> None:
    names = ["", "all", "a/b", "a_b", "a_b 2", "x" * 400]
    bounds = {"estimate": 1.0, "low": None, "high": 2.0}
    claim = {"claim": "C1", "verdict": "v", "cells": [{"cell": n, **bounds} for n in names]}
    points = content.claim_points(content.Records({}, {"ended": 1.0}, {"claims": [claim]}))
    found = [point.name for point in points if point.value == 1.0]
    assert found[:5] == [
        f"claims/C1/estimate/{name}" for name in ("all", "all 2", "a_b", "a_b 2", "a_b 2 2")
    ]
    assert len({point.name for point in points}) == 2 * len(names)
    assert max(len(point.name) for point in points) <= 250


def test_the_peak_of_memory_is_that_of_the_samples(tracker: tracking.Tracker, runs: Path) -> None:
    folder, spec = make_folder(runs)
    run_id = tracker.start(folder, spec)
    for value in (10.0, 30.0, 20.0):
        append_event(folder / "events.jsonl", "system", {"metrics": {"system/memory_mb": value}})
        tracker.poll(folder)
    leave_results(folder, spec)
    tracker.finish(folder)
    metrics = tracker.client.get_run(run_id).data.metrics
    assert metrics["memory/peak_mb"] == 30.0
    assert metrics["claims/trend holds"] == 2.0
    assert metrics["claims/contradicted"] == 0.0


def test_the_picture_shows_every_judged_claim() -> None:
    claims = reference("dpp-least-squares")["claims"]
    figure = figures.claims_figure(claims)
    assert figure is not None
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "C1: trend holds"
    assert "C4a: contradicted (20 of 30 cells shown)" in titles
    assert len(titles) == len(claims)
    first = figure.axes[0]
    cells = claims[0]["cells"]
    drawn = first.collections[0].get_segments()  # type: ignore[attr-defined]
    assert [(line[0][0], line[1][0]) for line in drawn] == [(c["low"], c["high"]) for c in cells]
    assert [text.get_text() for text in first.get_yticklabels()] == [c["cell"] for c in cells]


def test_no_picture_where_nothing_was_estimated() -> None:
    untested = {"claim": "C1", "verdict": "not tested", "cells": []}
    assert figures.claims_figure([untested]) is None
    assert figures.claims_figure([]) is None


def test_names_of_cells_are_no_formulas() -> None:
    cell = {"cell": "$\\frac$ 5 %", "outcome": "holds", "estimate": 1.0, "low": None, "high": 2.0}
    figure = figures.claims_figure([{"claim": "C1", "verdict": "trend holds", "cells": [cell]}])
    assert figure is not None
    figure.draw_without_rendering()  # a formula that is none would raise


def test_the_saved_view_has_a_section_a_claim_and_a_column_a_verdict(runs: Path) -> None:
    paper = catalog.load("toy-paper")
    (key, value), *more = views.view_tag(paper, 1_700_000_000_000).items()
    assert more == []
    assert key == "mlflow.sharedViewState.stemma"
    envelope = json.loads(value)
    assert (envelope["name"], envelope["createdAt"]) == ("Claims", 1_700_000_000_000)
    assert envelope["state"].startswith("deflate;")
    state = views.unpack(value)
    columns = state["selectedColumns"]
    assert columns[:3] == ["params.`scale`", "tags.`verdict.C1`", "tags.`verdict.C2`"]
    assert columns[-1] == "metrics.`time/minutes`"
    shown = [s["name"] for s in state["compareRunSections"] if s["display"]]
    assert shown == [
        *("claims", "claims/C1/estimate", "claims/C2/estimate"),
        *("checks", "time", "memory"),
    ]
    folded = [s["name"] for s in state["compareRunSections"] if not s["display"]]
    assert "claims/C2/high" in folded


def test_every_view_fits_into_a_tag() -> None:
    sizes = [len(value) for p in catalog.load_all() for value in views.view_tag(p, 0).values()]
    assert len(sizes) == 40
    assert max(sizes) <= 5000  # what older versions of MLflow allow


def test_an_experiment_says_what_it_is_and_links_to_its_view(
    tracker: tracking.Tracker, runs: Path
) -> None:
    paper = experiments.get_experiment(tracker.client, tracker.uri, "toy-paper")
    batches = experiments.get_experiment(tracker.client, tracker.uri, content.BATCHES)
    gone = experiments.get_experiment(tracker.client, tracker.uri, "left-the-catalog")
    tags = tracker.client.get_experiment(paper).tags
    assert tags["stemma.slug"] == "toy-paper"
    assert f"[Verdicts]({views.table_link(paper)})" in tags[content.NOTE]
    assert "Nothing but a toy." in tags[content.NOTE]
    assert views.unpack(tags[views.TAG])["selectedColumns"]
    columns = views.unpack(tracker.client.get_experiment(batches).tags[views.TAG])
    assert "metrics.`runs/succeeded`" in columns["selectedColumns"]
    tags = tracker.client.get_experiment(gone).tags
    assert views.TAG not in tags
    assert "not in the catalog" in tags[content.NOTE]
    assert experiments.get_experiment(tracker.client, tracker.uri, "toy-paper") == paper


def test_a_run_links_to_its_folder_and_to_its_page(
    tracker: tracking.Tracker, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run = track(tracker, runs, key="1" * 64)
    note = run.data.tags[content.NOTE]
    assert f"`{folder}`" in note
    assert f"`{paths.runs()}/report/papers/toy-paper.html`" in note
    monkeypatch.setenv("STEMMA_REPORT_URL", "https://lab.example/stemma/")
    _, run = track(tracker, runs, key="2" * 64)
    link = "[page of the paper](https://lab.example/stemma/papers/toy-paper.html)"
    assert link in run.data.tags[content.NOTE]


def test_the_documented_filters_find_what_they_say(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEMMA_RUNS", str(tmp_path))
    shutil.copy(template, tmp_path / "mlflow.db")
    write_references(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert tracking.sync(tmp_path, uri) == {"created": 3}
    page = (Path(__file__).resolve().parents[1] / "docs" / "mlflow.md").read_text()
    table = page.partition("| Filter |")[2].partition("\n\n")[0]
    documented = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert sorted(documented) == sorted(_FOUND)
    client = MlflowClient(uri)
    ids = [e.experiment_id for e in client.search_experiments()]
    for text, expected in _FOUND.items():
        runs = client.search_runs(ids, text.replace("BATCH", BATCH))
        found = {run.data.tags.get("stemma.slug", "batch") for run in runs}
        assert found == expected, text
