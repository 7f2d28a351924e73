"""Committed references: what is promoted, and what a reference and its repeats say together."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from house import House
from report_house import Finished, write_batch, write_run

from stemma import catalog
from stemma.claims import ClaimResult, Verdict
from stemma.claims.agreement import agree
from stemma.cli import main
from stemma.errors import RunError
from stemma.report import reference
from stemma.report.diff import compare, load

LEVEL = [0.0, 0.1, 0.0, 0.1, 0.0]  # the baseline of `report_house`: no verdict for either side


def claim(name: str, verdict: Verdict) -> ClaimResult:
    return ClaimResult(claim=name, verdict=verdict, reason="of one run")


@pytest.mark.parametrize("verdict", Verdict)
def test_runs_that_agree_keep_the_first_ones_claim(verdict: Verdict) -> None:
    first = claim("C1", verdict)
    again = first.model_copy(update={"reason": "of another run"})
    assert agree({"seed 1": [first], "seed 2": [again], "seed 3": [again]}) == [first]


def test_runs_that_disagree_make_a_claim_inconclusive_and_name_their_verdicts() -> None:
    runs = {
        "seed 1": [claim("C1", Verdict.TREND_HOLDS), claim("C2", Verdict.CONTRADICTED)],
        "seed 2": [claim("C2", Verdict.CONTRADICTED), claim("C1", Verdict.INCONCLUSIVE)],
    }
    torn, agreed = agree(runs)
    assert torn.verdict is Verdict.INCONCLUSIVE
    assert torn.reason == "the seeds disagree: seed 1: trend holds, seed 2: inconclusive"
    assert agreed == runs["seed 1"][1]


def test_a_claim_that_a_repeat_does_not_judge_is_inconclusive() -> None:
    (torn,) = agree({"seed 1": [claim("C1", Verdict.REPRODUCED)], "seed 2": []})
    assert torn.verdict is Verdict.INCONCLUSIVE
    assert "seed 2: no verdict" in torn.reason


@pytest.fixture
def good(house: House) -> House:
    house.paper("good", [])
    return house


def promote(*options: str) -> Result:
    return CliRunner().invoke(main, ["reference", "good", "--scale", "small", *options])


def verdicts() -> list[Verdict]:
    return [claim.verdict for result in reference.references() for claim in result.claims]


def row() -> list[str]:
    return [cell.strip() for cell in reference.results_markdown().splitlines()[-1].split("|")]


def test_a_repeat_that_disagrees_shows_everywhere_but_in_a_comparison(good: House) -> None:
    write_run(Finished("good", seed=1), started=1.0)
    assert promote().exit_code == 0
    assert verdicts() == [Verdict.TREND_HOLDS]
    assert row()[3] == "1"
    write_run(Finished("good", seed=2, ours=LEVEL), started=2.0)
    assert promote("--repeat").exit_code == 0
    assert verdicts() != [Verdict.TREND_HOLDS]
    assert verdicts() == [Verdict.INCONCLUSIVE]
    assert row()[3] == "1, 2"
    found = reference.find(catalog.load("good"), "small")
    assert found is not None
    assert "seed 1: trend holds" in found.claims[0].reason
    write_batch("b1", [Finished("good", seed=1)])
    (run,) = compare(load("reference"), load("b1")).runs
    assert run.verdicts == []


def test_repeats_are_judged_by_the_present_rules(good: House) -> None:
    for seed in (1, 2):
        write_run(Finished("good", seed=seed), started=float(seed))
        assert promote(*(["--repeat"] if seed > 1 else [])).exit_code == 0
    path = good.root / "papers" / "good" / "paper.yaml"
    path.write_text(path.read_text().replace("direction: greater", "direction: less"))
    catalog.clear_cache()
    assert verdicts() == [Verdict.CONTRADICTED]


def test_a_new_reference_drops_the_repeats_of_the_old(good: House) -> None:
    for seed in (1, 2):
        write_run(Finished("good", seed=seed), started=float(seed))
        reference.promote("good", "small") if seed == 1 else reference.promote_repeat(
            "good", "small"
        )
    assert row()[3] == "1, 2"
    write_run(Finished("good", x=5, seed=1), started=3.0)
    reference.promote("good", "small")
    assert row()[3] == "1"


@pytest.mark.parametrize(
    "run", [Finished("good", seed=1), Finished("good", x=2, seed=2)], ids=["same seed", "other x"]
)
def test_what_is_no_repeat_is_refused(good: House, run: Finished) -> None:
    write_run(Finished("good", seed=1), started=1.0)
    reference.promote("good", "small")
    write_run(run, started=2.0)
    with pytest.raises(RunError, match="no repeat of its reference"):
        reference.promote_repeat("good", "small")
    assert not list(reference.folder().rglob("*seed-*"))


def test_a_repeat_wants_a_reference_first(good: House, tmp_path: Path) -> None:
    write_run(Finished("good", seed=2))
    done = promote("--repeat")
    assert done.exit_code != 0
    assert "drop --repeat" in done.output
