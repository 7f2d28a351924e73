"""The command line: bad input is one line, exit code 2, and nothing is written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from house import House

from stemma import catalog
from stemma.cli import main

GOOD = "run.measure('C1', ours=[2, 3, 4, 3, 2], baseline=[0, 1, 0, 1, 0])"


def stemma(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def assert_refused(result: Result, house: House, *words: str) -> None:
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr
    assert not house.runs.exists()


@pytest.fixture
def good(house: House) -> House:
    house.paper("good", [GOOD])
    return house


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["god"], ["no paper `god`", "did you mean `good`?"]),
        (["good", "-p", "y=1"], ["no parameter `y`", "stemma show good"]),
        (["good", "-p", "x=one"], ["`x` must be int", "'one'"]),
        (["good", "-p", "x=-1"], ["`x` must be at least 0"]),
        (["good", "-p", "x"], ["-p name=value"]),
        (["good", "--scale", "gpu"], ["needs a CUDA device"]),
    ],
)
def test_bad_arguments(
    good: House, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert_refused(stemma("run", *arguments), good, *words)


def test_a_planned_paper_is_refused(house: House) -> None:
    house.write_yaml("later", {"status": "planned"})
    assert_refused(stemma("run", "later"), house, "later is planned")


def test_missing_data(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMMA_DATA_MIRROR", str(house.root / "empty"))
    monkeypatch.setenv("STEMMA_CACHE", str(house.root / "cache"))
    # A proxy that refuses every connection: no network, whatever the machine has.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    house.paper("good", [GOOD], data=[{"role": "table", "any_of": ["risk-slim-mammo"]}])
    assert_refused(stemma("run", "good"), house, "risk-slim-mammo", "STEMMA_DATA_MIRROR")


def test_corrupt_mirror_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from stemma import data

    source = data.sources()["risk-slim-mammo"]
    mirror = house.root / "mirror"
    path = mirror / source.path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * source.bytes)
    monkeypatch.setenv("STEMMA_DATA_MIRROR", str(mirror))
    house.paper("good", [GOOD], data=[{"role": "table", "any_of": ["risk-slim-mammo"]}])
    assert_refused(stemma("run", "good"), house, "sha256", "mammo")


def test_unreachable_mlflow_server(good: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert_refused(stemma("run", "good"), good, "http://127.0.0.1:9", "stemma ui")


def test_read_only_runs_folder(good: House, monkeypatch: pytest.MonkeyPatch) -> None:
    # /proc refuses new files to everyone, root included.
    monkeypatch.setenv("STEMMA_RUNS", "/proc/self/runs")
    assert_refused(stemma("run", "good"), good, "cannot write", "STEMMA_RUNS")


def test_a_typo_in_paper_yaml_points_at_its_line(house: House) -> None:
    path = house.write_yaml("good", {})
    text = path.read_text().replace("statement:", "wording:")
    path.write_text(text)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "wording" in row)
    assert_refused(stemma("run", "good"), house, f"{path}:{line}:", "wording")


def test_why_follows_a_run(house: House) -> None:
    house.paper("good", [GOOD])
    assert "no completed run" in stemma("why", "good").stdout
    done = subprocess.run(
        [sys.executable, "-m", "stemma.cli", "run", "good"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "trend holds" in done.stdout
    assert stemma("why", "good").stdout.startswith("hit:")
    assert stemma("why", "good", "-p", "x=2").stdout == ("miss: parameter x changed from 1 to 2\n")
    notebook = house.root / "notebooks" / "good.ipynb"
    content = json.loads(notebook.read_text())
    content["cells"][-1]["source"] += "\nprint('more')"
    notebook.write_text(json.dumps(content))
    assert stemma("why", "good").stdout == "miss: notebook changed\n"


def test_a_second_run_executes_nothing(house: House) -> None:
    house.paper("good", [GOOD])
    command = [sys.executable, "-m", "stemma.cli", "run", "good"]
    subprocess.run(command, capture_output=True, check=True)
    before = sorted(p.stat().st_mtime_ns for p in house.out("good").rglob("*"))
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "(cached)" in again.stdout
    assert sorted(p.stat().st_mtime_ns for p in house.out("good").rglob("*")) == before


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "stemma.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for heavy in ("numpy", "pydantic", "mlflow", "torch", "rich", "scipy", "jinja2", "nbconvert"):
        assert f" {heavy}\n" not in done.stderr


def test_list_shows_forty_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = stemma("list").stdout
    ready = sum(paper.status == "ready" for paper in catalog.load_all())
    assert f"40 papers, {ready} ready" in shown


def test_show_prints_claims_and_parameters(good: House) -> None:
    shown = stemma("show", "good").stdout
    assert "Ours exceeds the baseline." in " ".join(shown.split())
    assert "C1" in shown


def test_report_writes_between_the_markers(tmp_path: Path) -> None:
    from stemma.report.reference import END, START

    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{START}\nstale table\n{END}\nafter\n")
    assert stemma("report", "--write", str(readme)).exit_code == 0
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale table" not in text
    assert "| paper | scale |" in text


def test_the_readme_table_is_the_references_table() -> None:
    from stemma import paths
    from stemma.report.reference import END, START, results_markdown

    readme = (paths.home() / "README.md").read_text()
    assert readme.partition(START)[2].partition(END)[0].strip() == results_markdown()
