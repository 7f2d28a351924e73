"""Overhead of `stemma run` over a bare nbclient execution of the same trivial notebook.

Run: .venv/bin/python benchmarks/run_overhead.py [repeats]
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from house import House

BARE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, kernel_name="python3").execute()
"""


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return the wall time of a command."""
    begun = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - begun


def main(repeats: int) -> None:
    """Time both ways, interleaved, and print medians and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        house.paper("trivial", ["y = x + 1"])
        environment = os.environ | {
            "STEMMA_HOME": folder,
            "STEMMA_PAPERS": str(house.root / "papers"),
            "STEMMA_RUNS": str(house.runs),
        }
        notebook = str(house.root / "notebooks" / "trivial.ipynb")
        stemma = [sys.executable, "-m", "stemma.cli", "run", "trivial", "--force"]
        bare = [sys.executable, "-c", BARE, notebook]
        first = seconds(stemma, environment)
        times = [(seconds(stemma, environment), seconds(bare, environment)) for _ in range(repeats)]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"first run, which creates MLflow's store: {first:.1f} s")
    print(f"stemma run {ours:.2f} s, bare nbclient {theirs:.2f} s, {repeats} repeats")
    print(f"ratio {ours / theirs:.2f}, overhead {ours - theirs:.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
