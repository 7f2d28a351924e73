"""What is tried again, and what never is; limits that are kept."""

import json

import pytest
from batching import NoScribe, execute, opened, planned
from house import House

from stemma.batch import batches
from stemma.batch.executors.local import LocalExecutor
from stemma.batch.records import Failure, State
from stemma.batch.runner import Runner
from stemma.batch.watch import Finished

GOOD = "run.measure('C1', ours=[2, 3, 4, 3, 2], baseline=[0, 1, 0, 1, 0])\nrun.verdicts()"
# What the first attempt does and later ones do not: they find the mark that it left.
FIRST = "from pathlib import Path\nmark = Path({mark!r})\nif not mark.exists():\n    mark.touch()\n"


def first(house: House, then: str) -> str:
    return FIRST.format(mark=str(house.root / "mark")) + f"    {then}"


def run(*slugs: str, retries: int = 2, **limits: object) -> Finished:
    (finished,) = execute(opened(slugs, retries=retries, **limits)).values()
    return finished


def test_a_dead_kernel_is_tried_again(house: House) -> None:
    house.paper("dies", [first(house, "import os; os.kill(os.getpid(), 9)"), GOOD])
    finished = run("dies")
    assert finished.state.state is State.SUCCEEDED
    assert finished.state.attempts == 2
    assert (house.out("dies") / "attempts" / "1" / "log.txt").is_file()
    result = json.loads((house.out("dies") / "attempts" / "1" / "result.json").read_text())
    assert result["failure"] == "dead kernel"


@pytest.mark.parametrize(
    ("cell", "failure"),
    [
        ("raise RuntimeError('wrong')", Failure.ERROR),
        ("run.check('sum', False, 'is 3')", Failure.CHECK),
        ("import sys; sys.exit(0)", Failure.EXITED),
    ],
)
def test_a_failing_notebook_is_never_tried_again(house: House, cell: str, failure: Failure) -> None:
    house.paper("wrong", [first(house, cell), GOOD])
    finished = run("wrong")
    assert (finished.state.state, finished.state.failure) == (State.FAILED, failure)
    assert finished.state.attempts == 1


def test_retries_come_to_an_end(house: House) -> None:
    house.paper("dies", ["import os; os.kill(os.getpid(), 9)"])
    finished = run("dies", retries=1)
    assert finished.state.failure is Failure.DEAD_KERNEL
    assert finished.state.attempts == 2


def test_out_of_memory_takes_the_smaller_profile_once(house: House) -> None:
    house.paper("big", ["if x > 0: raise MemoryError", GOOD], less_memory={"x": 0})
    finished = run("big")
    assert finished.state.state is State.SUCCEEDED
    assert finished.state.attempts == 2
    assert finished.result is not None
    assert finished.result.parameters == {"x": 0}
    assert planned(["big"])[0].hit is not None


@pytest.mark.parametrize("profile", [{}, {"x": 2}])
def test_out_of_memory_for_good(house: House, profile: dict[str, int]) -> None:
    house.paper("big", ["raise MemoryError"], less_memory=profile)
    finished = run("big")
    assert finished.state.failure is Failure.OUT_OF_MEMORY
    assert finished.state.attempts == 1 + len(profile)


def test_a_run_that_uses_too_much_memory_is_stopped(house: House) -> None:
    house.paper("big", ["import time\nheld = bytearray(900_000_000)\ntime.sleep(120)"])
    finished = run("big", memory_mb=700)
    assert finished.state.failure is Failure.OUT_OF_MEMORY
    assert "700 MiB are allowed" in finished.state.message


def test_a_time_out_is_tried_again_from_its_checkpoint(house: House) -> None:
    cell = """
import time
state = run.checkpoint() / "step.txt"
if not state.exists():
    state.write_text("half")
    time.sleep(300)
"""
    house.paper("slow", [cell, GOOD])
    finished = run("slow", timeout=8)
    assert finished.state.state is State.SUCCEEDED
    assert finished.state.attempts == 2
    assert not (house.out("slow") / "checkpoint").exists()


def test_a_time_out_without_a_checkpoint_is_final(house: House) -> None:
    house.paper("slow", ["run.checkpoint()\nimport time\ntime.sleep(300)"])
    finished = run("slow", timeout=5)
    assert (finished.state.state, finished.state.attempts) == (State.TIMED_OUT, 1)


def test_threads_are_divided(house: House) -> None:
    house.paper("threads", ["import os\nrun.log('threads', int(os.environ['OMP_NUM_THREADS']))"])
    run("threads", threads=3)
    events = (house.out("threads") / "events.jsonl").read_text().splitlines()
    assert [e["value"] for e in map(json.loads, events) if e["kind"] == "metric"] == [3.0]


def test_code_that_changed_since_it_was_planned_is_not_run(house: House) -> None:
    house.paper("good", [GOOD])
    batch = opened(["good"], retries=5)
    house.paper("good", [GOOD + "\nchanged = 1"])
    finished = execute(batch)["good"]
    assert finished.state.failure is Failure.CHANGED
    assert finished.state.attempts == 1
    assert "notebook changed since it was planned" in finished.state.message
    assert not (house.out("good") / "executed.ipynb").exists()


def test_code_that_changes_while_it_runs_gives_no_result(house: House) -> None:
    notebook = house.root / "notebooks" / "good.ipynb"
    edit = (
        f"p = {str(notebook)!r}\ns = open(p).read()\nopen(p, 'w').write(s.replace('2, 3', '3, 3'))"
    )
    house.paper("good", [GOOD, edit])
    finished = run("good")
    assert finished.state.failure is Failure.CHANGED
    assert finished.result is not None
    assert finished.result.claims == []


def test_a_later_batch_takes_over_what_has_no_runner(house: House) -> None:
    house.paper("good", [GOOD])
    abandoned = opened(["good"])
    later = opened(["good"])
    assert execute(later)["good"].state.state is State.SUCCEEDED
    Runner(abandoned, LocalExecutor(1), NoScribe()).run()
    (view,) = batches.view(abandoned)
    assert view.state.state is State.LOST
    assert f"batch {later.id} took it over" in view.state.message
    assert house.state("good")["state"] == "succeeded"
    assert execute(opened(["good"]))["good"].run.cached
