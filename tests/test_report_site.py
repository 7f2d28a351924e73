"""The static site: what its pages hold; tests/test_report_browser.py opens them in a browser."""

import hashlib
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from click.testing import CliRunner, Result
from evidence_cases import query_case
from house import House
from report_house import Finished, write_batch, write_run

from provenance.evidence import SignedEvidence
from stemma import catalog, files
from stemma.batch.plan import out_folder
from stemma.batch.records import Failure, MlflowIds, State
from stemma.claims import CellResult, Outcome, Rule, Verdict, judge
from stemma.claims.rules import Bound, Correlation, Difference, Equivalence, Identity, Proportion
from stemma.cli import main
from stemma.report import reference
from stemma.report.site import bars, prose

HOSTILE = '<img src=x onerror="alert(1)"> & "quotes"'


def build(out: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["report", "--out", str(out), *options])


def page(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def words(soup: BeautifulSoup) -> str:
    return " ".join(soup.get_text(" ").split())


@pytest.fixture(scope="module")
def of_references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the committed references."""
    out = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEMMA_RUNS", str(tmp_path_factory.mktemp("runs")))
        done = build(out)
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def two(house: House) -> House:
    house.paper("good", [])
    house.paper("other", [])
    return house


def test_the_index_lists_every_paper_with_the_verdicts_of_its_reference(
    of_references: Path,
) -> None:
    rows = page(of_references / "index.html").select("#papers tbody tr")
    assert len(rows) == len(catalog.slugs())
    by_slug = {row.select_one("code").get_text(): row for row in rows}  # type: ignore[union-attr]
    for result in reference.references():
        row = by_slug[result.slug]
        cell = row.find_all("td")[3]  # number, year, tags, small
        counted = {
            match[2]: int(match[1])
            for badge in cell.select(".badge")
            if (match := re.fullmatch(r"(\d+) (.+)", badge.get_text()))
        }
        verdicts = [claim.verdict.value for claim in result.claims]
        assert counted == {v: verdicts.count(v) for v in verdicts}
        assert "committed reference" in cell.get_text()
        assert result.fingerprint["git_commit"][:7] in cell.get_text()


def test_a_papers_page_shows_every_claim_of_its_reference(of_references: Path) -> None:
    for result in reference.references():
        paper = catalog.load(result.slug)
        soup = page(of_references / "papers" / f"{result.slug}.html")
        rows = soup.select("table.claims tbody > tr")
        assert len(rows) == len(result.claims)
        for row, claim in zip(rows, result.claims, strict=True):
            shown = " ".join(row.get_text(" ").split())
            stated = paper.claim(claim.claim)
            for text in (claim.claim, stated.statement, stated.where, claim.verdict, claim.reason):
                assert " ".join(text.split()) in shown
            drawn = row.select("svg[role=img]")
            assert len(drawn) == sum(cell.estimate is not None for cell in claim.cells)
            assert all(svg["aria-label"] for svg in drawn)
        for note in [*paper.deviations, *paper.defects]:
            assert " ".join(note.text.split()) in words(soup)


def test_a_planned_paper_says_what_it_lacks(of_references: Path) -> None:
    planned = next(p for p in catalog.load_all() if p.status == "planned")
    shown = words(page(of_references / "papers" / f"{planned.slug}.html"))
    assert "No result yet" in shown
    assert "no notebook yet" in shown


def test_every_link_inside_the_site_leads_somewhere(of_references: Path) -> None:
    checked = 0
    for path in of_references.rglob("*.html"):
        soup = page(path)
        for tag, name in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
            for found in soup.select(f"{tag}[{name}]"):
                target = str(found[name])
                if target.startswith(("https:", "data:", "#", "http://127.0.0.1")):
                    continue
                assert (path.parent / target.partition("#")[0]).is_file(), (path, target)
                checked += 1
    assert checked > 100


def test_nothing_is_loaded_from_a_network(of_references: Path) -> None:
    for path in of_references.rglob("*.html"):
        soup = page(path)
        loaded = soup.select("script[src], link[href], img[src], iframe")
        assert loaded
        for found in loaded:
            assert "//" not in str(found.get("src") or found.get("href"))
        assert "default-src 'none'" in str(soup.select_one("meta[http-equiv]"))


def test_documents_are_rendered_and_linked_among_each_other(of_references: Path) -> None:
    soup = page(of_references / "docs" / "provenance.html")
    assert soup.select_one('a[href="provenance-power.html"]') is not None
    assert soup.select_one("table") is not None
    summary = words(page(of_references / "provenance.html"))
    assert "What a result means" in summary
    assert "None of the runs shown left an evidence file" in summary


def test_same_results_give_same_bytes(two: House, tmp_path: Path) -> None:
    write_batch("b1", [Finished("good"), Finished("good", x=2), Finished("other", scale="smoke")])
    digests = []
    for name in ("first", "second"):
        assert build(tmp_path / name, "--batch", "b1").exit_code == 0
        found = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        digests.append(
            [
                (str(p.relative_to(tmp_path / name)), hashlib.sha256(p.read_bytes()).hexdigest())
                for p in found
            ]
        )
    assert digests[0] == digests[1]
    assert len([name for name, _ in digests[0] if name.startswith("notebooks/")]) == 3


def test_hostile_text_is_only_text(two: House, tmp_path: Path) -> None:
    failed = Finished("other", state=State.FAILED, failure=Failure.ERROR, message=HOSTILE)
    write_batch("b1", [Finished("good", caption=HOSTILE), failed])
    assert build(tmp_path / "site", "--batch", "b1").exit_code == 0
    for name in ("index.html", "papers/good.html", "papers/other.html"):
        assert not page(tmp_path / "site" / name).select("[onerror]")
    assert HOSTILE in words(page(tmp_path / "site" / "index.html"))
    assert HOSTILE in words(page(tmp_path / "site" / "papers/other.html"))
    image = page(tmp_path / "site" / "papers/good.html").select_one("figure img")
    assert image is not None
    assert image["alt"] == HOSTILE


def test_a_batch_shows_its_failures_and_all_its_runs(two: House, tmp_path: Path) -> None:
    lost = Finished("other", state=State.LOST, message="the node is gone", leaves_result=False)
    write_batch("b1", [Finished("good"), Finished("good", x=2, ours=[0.0, 0.1, 0, 0.1, 0]), lost])
    assert build(tmp_path / "site", "--batch", "b1").exit_code == 0
    index = page(tmp_path / "site" / "index.html")
    assert "2 succeeded, 1 lost" in words(index)
    assert "the node is gone" in words(index)
    shown = words(page(tmp_path / "site" / "papers/good.html"))
    assert "Scale small x=1" in shown
    assert "Scale small x=2" in shown
    assert "stemma run good --scale small -p x=2" in shown
    cell = index.select("#papers tbody tr")[0].find_all("td")[3]
    assert Verdict.TREND_HOLDS in cell.get_text()
    assert Verdict.CONTRADICTED in cell.get_text()


def test_the_latest_local_result_comes_before_the_reference(two: House, tmp_path: Path) -> None:
    write_run(Finished("good"), started=1_600_000_000.0)
    reference.promote("good", "small")
    write_run(Finished("good", x=3), started=1_700_000_000.0)
    assert build(tmp_path / "site").exit_code == 0
    shown = words(page(tmp_path / "site" / "papers/good.html"))
    assert "Run here, 2023-11-14" in shown
    assert "committed reference" not in shown
    for path in out_folder("good", Finished("good", x=3).key).iterdir():
        path.unlink() if path.is_file() else None
    for path in out_folder("good", Finished("good").key).iterdir():
        path.unlink() if path.is_file() else None
    assert build(tmp_path / "site").exit_code == 0
    shown = words(page(tmp_path / "site" / "papers/good.html"))
    assert "Committed reference, 2020-09-13" in shown
    assert "keeps no figures" in shown


def test_a_result_whose_folder_was_taken_over_keeps_no_figures_of_another(
    two: House, tmp_path: Path
) -> None:
    write_batch("b1", [Finished("good")])
    write_run(Finished("good"), started=1_800_000_000.0)
    assert build(tmp_path / "site", "--batch", "b1").exit_code == 0
    assert not page(tmp_path / "site" / "papers/good.html").select("figure")


def test_a_figure_cannot_reach_out_of_its_folder(two: House, tmp_path: Path) -> None:
    folder = write_run(Finished("good"))
    (folder / "secret.png").write_bytes(b"secret")
    text = (folder / "result.json").read_text()
    (folder / "result.json").write_text(text.replace("figures/groups.png", "figures/../secret.png"))
    assert build(tmp_path / "site").exit_code == 0
    assert not list((tmp_path / "site").rglob("secret.png"))


def test_links_to_mlflow_go_to_the_server_that_has_the_run(two: House, tmp_path: Path) -> None:
    folder = write_run(Finished("good"))
    ids = {"experiment_id": "7", "run_id": "abc"}
    for uri, expected in (
        (
            "sqlite:///mlflow.db",
            "http://there:1/#/experiments/7/runs/abc?workflowType=machine_learning",
        ),
        ("http://server", "http://server/#/experiments/7/runs/abc?workflowType=machine_learning"),
    ):
        MlflowIds(tracking_uri=uri, **ids).write(folder / "mlflow.json")
        assert build(tmp_path / "site", "--mlflow", "http://there:1").exit_code == 0
        soup = page(tmp_path / "site" / "papers/good.html")
        assert soup.select(f'a[href="{expected}"]')


def test_evidence_among_the_artifacts_is_explained_and_kept(two: House, tmp_path: Path) -> None:
    folder = write_run(Finished("good"))
    (folder / "artifacts").mkdir()
    files.write_json(folder / "artifacts" / "transcripts.json", {"root": "ab"})
    signed = SignedEvidence.load(query_case(folder / "artifacts").path)
    assert build(tmp_path / "site").exit_code == 0
    soup = page(tmp_path / "site" / "provenance.html")
    assert "a query test" in words(soup)
    links = [str(a["href"]) for a in soup.select("main a[href^=files]")]
    assert len(links) == 1
    assert "bob: p =" in words(soup)
    copied = SignedEvidence.load(tmp_path / "site" / links[0])
    assert copied.envelope.payload == signed.envelope.payload


def test_pages_of_an_older_build_go_and_foreign_files_stay(two: House, tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_batch("b1", [Finished("good")])
    write_batch("b2", [Finished("good", x=2)])
    assert build(site, "--batch", "b1").exit_code == 0
    (site / "CNAME").write_text("mine")
    before = set(site.rglob("notebooks/*"))
    assert build(site, "--batch", "b2").exit_code == 0
    after = set(site.rglob("notebooks/*"))
    assert len(before) == len(after) == 1
    assert before != after
    assert (site / "CNAME").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "expected"),
    [(("--batch", "none"), "no batch `none`"), ((), "holds an index.html that no report wrote")],
)
def test_bad_input_is_one_line(
    two: House, tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    done = build(tmp_path / "site", *options)
    assert done.exit_code == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "site" / "index.html").read_text() == "mine"


def test_a_result_that_no_longer_fits_its_rule_is_left_out_and_named(
    two: House, tmp_path: Path
) -> None:
    write_run(Finished("good"))
    two.write_yaml(
        "good",
        {
            "claims": [
                {
                    "id": "C1",
                    "statement": "Now something else.",
                    "paper_value": "1",
                    "where": "nowhere",
                    "sure": "memory",
                    "statistic": "proportion",
                    "rule": {"kind": "proportion", "direction": "less", "threshold": 0.5},
                    "scales": {"small": "reduced", "gpu": "reduced", "paper": "full"},
                }
            ]
        },
    )
    catalog.clear_cache()
    done = build(tmp_path / "site")
    assert done.exit_code == 0
    assert "left out: good at small" in done.stderr
    assert "good at small" in words(page(tmp_path / "site" / "index.html"))


def test_a_notebook_page_runs_nothing_and_shows_formulas(two: House, tmp_path: Path) -> None:
    write_run(Finished("good"))
    assert build(tmp_path / "site").exit_code == 0
    soup = page(next((tmp_path / "site" / "notebooks").iterdir()))
    assert len(soup.select("math")) == 2
    assert soup.select("math[display=block]")
    assert "a script" in words(soup)
    # What an output brings as HTML stays, but the page's policy lets no inline script run.
    policy = str(soup.select_one("meta[http-equiv]"))
    assert "script-src 'self' file:;" in policy


def test_a_notebook_that_is_cut_short_has_no_page(two: House, tmp_path: Path) -> None:
    folder = write_run(Finished("good"))
    notebook = folder / "executed.ipynb"
    notebook.write_text(notebook.read_text()[:100])
    assert build(tmp_path / "site").exit_code == 0
    assert not list((tmp_path / "site").glob("notebooks/*"))
    assert "executed notebook" not in words(page(tmp_path / "site" / "papers/good.html"))


def test_an_unknown_formula_stays_readable() -> None:
    assert "<code>\\left(&lt;</code>" in prose.markdown("$\\left(<$")


def cell(
    estimate: float | None, low: float | None, high: float | None, name: str = ""
) -> CellResult:
    return CellResult(
        cell=name,
        outcome=Outcome.HOLDS,
        estimate=estimate,
        low=low,
        high=high,
        n=5,
        confidence=0.95,
        method="t",
    )


def test_a_bar_has_the_lengths_of_its_numbers() -> None:
    rule = Difference(kind="difference", direction="greater")
    first, second = bars.bars(
        rule,
        [cell(5.0, 4.0, 6.0, "a"), cell(9.0, 8.0, 10.0, "b")],
        {"a": {"ours": [1.0]}, "b": {"ours": [1.0]}},
    )
    assert first is not None
    assert second is not None
    assert first.low is not None
    assert first.high is not None
    # The axis runs from -0.5 to 10.5 over 224 units, after a margin of 8.
    unit = 224 / 11
    assert first.estimate == pytest.approx(8 + 5.5 * unit, abs=0.01)
    assert first.low == pytest.approx(8 + 4.5 * unit, abs=0.01)
    assert first.high - first.low == pytest.approx(2 * unit, abs=0.02)
    assert second.estimate - first.estimate == pytest.approx(4 * unit, abs=0.02)
    assert first.marks == second.marks == (pytest.approx(8 + 0.5 * unit, abs=0.01),)
    assert first.claimed == (first.marks[0], 232.0)
    assert first.text == "a: estimate 5, interval [4, 6]; claimed above 0"


def test_an_interval_without_an_end_is_drawn_to_the_edge() -> None:
    rule = Difference(kind="difference", direction="less")
    (bar,) = bars.bars(rule, [cell(-2.0, None, -1.0)], {"": {"ours": [1.0]}})
    assert bar is not None
    assert (bar.low, bar.open_low, bar.open_high) == (8.0, True, False)
    assert bar.claimed[0] == 8.0


def test_a_cell_without_an_interval_is_a_dot_and_one_without_an_estimate_nothing() -> None:
    rule = Identity(kind="identity", tolerance=1e-6)
    dot, nothing = bars.bars(
        rule,
        [cell(1e-9, None, None, "a"), cell(None, None, None, "b")],
        {"a": {"deviation": [1e-9]}, "b": {"deviation": [0.0]}},
    )
    assert nothing is None
    assert dot is not None
    assert dot.low is None
    assert len(dot.marks) == 1
    assert dot.estimate < dot.marks[0]


@pytest.mark.parametrize(
    ("rule", "samples", "marks", "text"),
    [
        (Equivalence(kind="equivalence", margin=0.5), {}, (-0.5, 0.5), "between -0.5 and 0.5"),
        (
            Proportion(kind="proportion", direction="less"),
            {"threshold": [0.2]},
            (0.2,),
            "below 0.2",
        ),
        (Bound(kind="bound", side="above"), {"bound": 3.0}, (3.0,), "above 3"),
        (Correlation(kind="correlation", direction="two-sided"), {}, (0.0,), "above 0"),
    ],
)
def test_every_kind_of_rule_has_its_threshold_drawn(
    rule: Rule, samples: dict[str, float], marks: tuple[float, ...], text: str
) -> None:
    shown = cell(0.1, 0.0, 0.3)
    (bar,) = bars.bars(rule, [shown], {"": samples})
    axis = bars.axis([shown], [bars.claimed_region(rule, shown, samples)])
    assert bar is not None
    assert axis is not None
    assert bar.marks == tuple(pytest.approx(axis.x(mark)) for mark in marks)
    assert bar.text.endswith(f"claimed {text}")


def test_equal_numbers_still_have_an_axis() -> None:
    rule = Difference(kind="difference", direction="greater")
    (bar,) = bars.bars(rule, [cell(0.0, 0.0, 0.0)], {"": {"ours": [1.0]}})
    assert bar is not None
    assert bar.estimate == bar.low == bar.marks[0] == 120.0


def test_the_drawing_agrees_with_the_verdict() -> None:
    """Where the engine says that a claim holds, the interval is drawn inside the tinted band."""
    rule = Difference(kind="difference", direction="greater")
    samples = {"ours": [2.0, 2.1, 2.2, 2.1, 2.0], "baseline": [1.0, 1.1, 1.0, 1.0, 1.1]}
    for direction, verdict in (("greater", Verdict.TREND_HOLDS), ("less", Verdict.CONTRADICTED)):
        rule = Difference(kind="difference", direction=direction)  # type: ignore[arg-type]
        judged = judge("C1", rule, {"": samples}, "reduced")
        (bar,) = bars.bars(rule, judged.cells, {"": samples})
        assert judged.verdict is verdict
        assert bar is not None
        assert bar.low is not None
        inside = bar.claimed[0] < bar.low < bar.claimed[1]
        assert inside is (verdict is Verdict.TREND_HOLDS)
