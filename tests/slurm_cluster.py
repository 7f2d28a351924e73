"""What a batch on a real Slurm cluster must stand: ``python tests/slurm_cluster.py``, as root.

Four notebooks are submitted by ``stemma run -f``. While all four run, the controller is killed and
started again, then the runner is killed and another one takes over; one run is cancelled, one hangs
past its limit. Each notebook writes a line when it begins and one when it is complete.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml
from house import House
from slurm_house import Cluster, wait_for, why_not

from stemma.batch import batches
from stemma.batch.records import State

SECONDS = 20
GOOD = "run.measure('C1', ours=[2, 3, 4, 3, 2], baseline=[0, 1, 0, 1, 0])\nrun.verdicts()"
BODIES = {
    "good-1": f"import time\ntime.sleep({SECONDS})",
    "good-2": f"import time\ntime.sleep({SECONDS})",
    "cancelled": "import time\ntime.sleep(600)",
    # It does not react when the worker interrupts it at its deadline, so that Slurm must end it.
    "overdue": "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(600)",
}
EXPECTED = {
    "good-1": State.SUCCEEDED,
    "good-2": State.SUCCEEDED,
    "cancelled": State.CANCELLED,
    "overdue": State.TIMED_OUT,
}


class Ending(NamedTuple):
    """What became of a run, and how often its notebook was begun and brought to its end."""

    state: State
    message: str
    attempts: int
    begun: int
    complete: int


def run_all(root: Path) -> dict[str, Ending]:
    """Run the four notebooks on a cluster in ``root``, with all that befalls them."""
    _house(root)
    with Cluster(root / "cluster") as cluster:
        _stemma("run", "-f", str(_manifest(root)), "--detach")
        wait_for(lambda: cluster.running() == len(BODIES), 120)
        # So early, the controller has not saved yet that it started them.
        cluster.kill_controller()
        _say("four jobs run; the controller was killed")
        wait_for(lambda: all(_count(root, slug, "begun") for slug in BODIES), 120)
        cluster.start_controller()
        _say("the controller is back; the runner is killed")
        _kill_runner()
        watcher = subprocess.Popen(_command("attach"), stdout=subprocess.DEVNULL)
        wait_for(lambda: batches.is_alive(batches.load().id), 60)
        _say("another runner took over; one run is cancelled")
        _stemma("cancel", "--run", "cancelled")
        watcher.wait(300)
        _say("the batch is over")
    return {
        view.run.slug: Ending(
            view.state.state,
            view.state.message,
            view.state.attempts,
            _count(root, view.run.slug, "begun"),
            _count(root, view.run.slug, "complete"),
        )
        for view in batches.view(batches.load())
    }


def check(endings: dict[str, Ending]) -> None:
    """Fail unless every run ended as it should and none was brought to its end twice."""
    assert {slug: ending.state for slug, ending in endings.items()} == EXPECTED
    for slug, ending in endings.items():
        assert ending.complete == (ending.state is State.SUCCEEDED), (slug, ending)


def _house(root: Path) -> None:
    for name in ("cluster", "counts"):
        (root / name).mkdir()
    house = House(root)
    for slug, body in BODIES.items():
        begun, complete = (_note(root, slug, word) for word in ("begun", "complete"))
        house.paper(slug, [begun, body, f"{GOOD}\n{complete}"])
    os.environ |= {
        "STEMMA_HOME": str(root),
        "STEMMA_PAPERS": str(root / "papers"),
        "STEMMA_RUNS": str(house.runs),
    }


def _manifest(root: Path) -> Path:
    path = root / "four.yaml"
    hurried, others = {"timeout": 20, "threads": 1}, {"threads": 1}
    manifest = {
        "jobs": len(BODIES),
        "executor": {"kind": "slurm", "time_slack": 30, "poll_seconds": 1},
        "runs": [
            {"papers": ["overdue"], "limits": hurried},
            {"papers": [slug for slug in BODIES if slug != "overdue"], "limits": others},
        ],
    }
    path.write_text(yaml.safe_dump(manifest, sort_keys=False))
    return path


def _note(root: Path, slug: str, word: str) -> str:
    return f"with open({str(root / 'counts' / slug)!r}, 'a') as file: file.write('{word}\\n')"


def _count(root: Path, slug: str, word: str) -> int:
    path = root / "counts" / slug
    return path.read_text().split().count(word) if path.exists() else 0


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "stemma.cli", *words]


def _stemma(*words: str) -> None:
    subprocess.run(_command(*words), check=True)


def _kill_runner() -> None:
    batch = batches.load()
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if batch.id in command and any("stemma.batch.daemon" in word for word in command):
            process.kill()
    wait_for(lambda: not batches.is_alive(batch.id), 20)


def _say(words: str) -> None:
    print(f"{time.monotonic() - _BEGUN:5.0f} s  {words}", flush=True)


_BEGUN = time.monotonic()


def main() -> None:
    """Run the four, print what became of them and check it."""
    reason = why_not()
    if reason is not None:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder:
        endings = run_all(Path(folder))
    print(f"\n{'run':10} {'state':10} {'attempts':>8} {'begun':>6} {'complete':>9}  message")
    for slug, ending in endings.items():
        numbers = f"{ending.attempts:8} {ending.begun:6} {ending.complete:9}"
        print(f"{slug:10} {ending.state.value:10} {numbers}  {ending.message}")
    check(endings)


if __name__ == "__main__":
    main()
