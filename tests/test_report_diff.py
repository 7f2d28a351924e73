"""`stemma diff`: what moved between two batches."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from house import House
from report_house import OURS, Finished, write_batch

from stemma import catalog
from stemma.batch import batches
from stemma.batch.records import Failure, State
from stemma.cli import main
from stemma.report import reference
from stemma.report.diff import compare, load

WORSE = [0.0, 0.1, 0.0, 0.1, 0.0]
NEAR = [2.0, 2.1, 2.3, 2.1, 2.0]


def diff(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["diff", *arguments])


@pytest.fixture
def two(house: House) -> House:
    house.paper("good", [])
    house.paper("other", [])
    return house


def test_a_batch_against_itself_moves_nothing(two: House) -> None:
    write_batch("a1", [Finished("good"), Finished("other")])
    found = compare(load("a1"), load("a1"))
    assert [run.label for run in found.runs] == ["good small", "other small"]
    assert all(not run.verdicts and not run.estimates and run.ratio == 1 for run in found.runs)
    assert [run.unmoved for run in found.runs] == [1, 1]
    done = diff("a1", "a1")
    assert done.exit_code == 0
    assert "verdicts moved: 0" in " ".join(done.stdout.split())


def test_a_moved_verdict_is_named_and_sets_the_exit_code(two: House) -> None:
    write_batch("a1", [Finished("good")])
    write_batch("b1", [Finished("good", ours=WORSE, seconds=90)])
    found = compare(load("a1"), load("b1"))
    (run,) = found.runs
    assert run.verdicts == [("C1", "trend holds", "contradicted")]
    (move,) = run.estimates
    assert move.apart
    assert move.old.estimate == pytest.approx(1.04)
    assert move.new.estimate == pytest.approx(-1.0)
    assert run.ratio == 1.5
    done = diff("a1", "b1")
    assert done.exit_code == 1
    assert "contradicted" in done.stdout


def test_an_estimate_that_moved_within_its_interval_is_not_apart(two: House) -> None:
    write_batch("a1", [Finished("good")])
    write_batch("b1", [Finished("good", ours=NEAR)])
    (run,) = compare(load("a1"), load("b1")).runs
    assert not run.verdicts
    assert [move.apart for move in run.estimates] == [False]
    assert diff("a1", "b1").exit_code == 0


def test_runs_are_matched_by_the_parameters_that_vary(two: House) -> None:
    write_batch("a1", [Finished("good", x=1), Finished("good", x=2, ours=WORSE)])
    write_batch("b1", [Finished("good", x=2, ours=WORSE), Finished("good", x=3)])
    found = compare(load("a1"), load("b1"))
    assert [run.label for run in found.runs] == ["good small x=2"]
    assert found.runs[0].unmoved == 1
    assert found.gone == ["good small x=1"]
    assert found.only_new == ["good small x=3"]
    assert diff("a1", "b1").exit_code == 0


def test_a_parameter_that_nothing_varies_is_a_difference_not_another_run(two: House) -> None:
    write_batch("a1", [Finished("good", x=1)])
    write_batch("b1", [Finished("good", x=2)])
    (run,) = compare(load("a1"), load("b1")).runs
    assert run.parameters == [("x", "1", "2")]
    assert "Parameters that differ" in diff("a1", "b1").stdout


@pytest.mark.parametrize("leaves_result", [True, False])
def test_a_failure_loses_its_verdicts(two: House, leaves_result: bool) -> None:
    write_batch("a1", [Finished("good")])
    failed = Finished(
        "good", state=State.FAILED, failure=Failure.OUT_OF_MEMORY, leaves_result=leaves_result
    )
    # A batch keeps its own results, whatever another makes of the same folder later.
    for path in batches.run_folder(batches.load("a1").runs[0]).glob("result.json"):
        path.unlink()
    write_batch("b1", [failed])
    (run,) = compare(load("a1"), load("b1")).runs
    assert run.states == ("succeeded", "failed (out of memory)")
    assert run.verdicts == [("C1", "trend holds", "none")]
    assert diff("a1", "b1").exit_code == 1
    assert diff("b1", "a1").exit_code == 1


def test_references_and_folders_can_be_compared(two: House, tmp_path: Path) -> None:
    batch = write_batch("a1", [Finished("good")])
    reference.promote("good", "small")
    folder = batches.folder(batch.id) / "results"
    assert diff("reference", str(folder)).exit_code == 0
    assert diff("a1", "reference").exit_code == 0
    changed = tmp_path / "changed"
    changed.mkdir()
    result = reference.references()[0]
    evidence = {"C1": {"": {"ours": NEAR, "baseline": OURS}}}
    claims = catalog.load("good").judge("small", evidence)
    result.model_copy(update={"claims": claims}).write(changed / "good.json")
    (run,) = compare(load("reference"), load(str(changed))).runs
    assert len(run.estimates) == 1


def test_both_sides_are_judged_by_the_present_rules(two: House) -> None:
    """A rule that changed between two batches is no difference of what was measured."""
    write_batch("a1", [Finished("good")])
    path = two.root / "papers" / "good" / "paper.yaml"
    path.write_text(path.read_text().replace("direction: greater", "direction: less"))
    catalog.clear_cache()
    write_batch("b1", [Finished("good")])
    (run,) = compare(load("a1"), load("b1")).runs
    assert not run.verdicts


def test_markdown_is_a_table_whatever_the_texts(two: House) -> None:
    write_batch("a|1", [Finished("good")])
    write_batch("b1", [Finished("other")])
    done = diff("a|1", "b1", "--markdown")
    assert done.exit_code == 0
    assert "## Only in b1\n\n| run |\n| --- |\n| other small |" in done.stdout


@pytest.mark.parametrize("name", ["none", "empty"])
def test_bad_input_is_one_line(
    two: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_batch("a1", [Finished("good")])
    done = diff("a1", name)
    assert done.exit_code == 2
    assert name in done.stderr
    assert done.stderr.count("\n") == 1
