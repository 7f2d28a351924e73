"""Wall time of a batch of trivial notebooks in two slots, against as many kernels started bare.

Bare: two processes, each of which starts a kernel, executes the notebook's code cells and shuts the
kernel down, again and again. Both sides pay for their own imports; the batch also for MLflow, whose
schema exists. The runner's resident memory is sampled meanwhile.

Run: .venv/bin/python benchmarks/run_overhead.py [notebooks] [repeats] [--batch-only]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from house import House

BARE = """
import json, sys
from jupyter_client.manager import start_new_kernel
for path in sys.argv[1:]:
    cells = json.load(open(path))["cells"]
    manager, client = start_new_kernel(kernel_name="python3")
    for cell in cells:
        if cell["cell_type"] == "code":
            client.execute_interactive(cell["source"], output_hook=lambda message: None)
    client.stop_channels()
    manager.shutdown_kernel()
"""


class Memory:
    """Samples the resident memory of the runners of a folder of runs, MiB."""

    def __init__(self, runs: Path) -> None:
        self.samples: list[float] = []
        self._runs = str(runs)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop)
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling."""
        self._over.set()
        self._thread.join()

    def _loop(self) -> None:
        runner: psutil.Process | None = None
        while not self._over.wait(1.0):
            try:
                runner = runner or self._find()
                if runner is not None:
                    self.samples.append(runner.memory_info().rss / 2**20)
            except psutil.Error:
                runner = None

    def _find(self) -> psutil.Process | None:
        for process in psutil.process_iter():
            try:
                own = process.environ().get("STEMMA_RUNS") == self._runs
                if own and any("stemma.batch.daemon" in word for word in process.cmdline()):
                    return process
            except psutil.Error:
                continue
        return None


def bare(notebooks: list[Path], environment: dict[str, str]) -> float:
    """Return the wall time of all notebooks in bare kernels, two at a time."""
    begun = time.perf_counter()
    slots = [
        subprocess.Popen(
            [sys.executable, "-c", BARE, *map(str, notebooks[slot::2])],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        for slot in range(2)
    ]
    for slot in slots:
        assert slot.wait() == 0
    return time.perf_counter() - begun


def batch(slugs: list[str], environment: dict[str, str], runs: Path) -> tuple[float, list[float]]:
    """Return the wall time of a batch of all notebooks, and the runner's memory, MiB."""
    memory = Memory(runs)
    begun = time.perf_counter()
    command = [sys.executable, "-m", "stemma.cli", "run", *slugs, "--jobs", "2", "--force"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    seconds = time.perf_counter() - begun
    memory.stop()
    return seconds, memory.samples


def main() -> None:
    """Time both ways, interleaved, and print each pair, the median ratio and the memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("notebooks", type=int, nargs="?", default=40)
    parser.add_argument("repeats", type=int, nargs="?", default=3)
    parser.add_argument("--batch-only", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        slugs = [f"trivial-{i}" for i in range(chosen.notebooks)]
        for slug in ["warm", *slugs]:
            house.paper(slug, ["y = x + 1"])
        environment = os.environ | {
            "STEMMA_HOME": folder,
            "STEMMA_PAPERS": str(house.root / "papers"),
            "STEMMA_RUNS": str(house.runs),
        }
        batch(["warm"], environment, house.runs)
        notebooks = [house.root / "notebooks" / f"{slug}.ipynb" for slug in slugs]
        ratios = []
        for _ in range(chosen.repeats):
            theirs = 0.0 if chosen.batch_only else bare(notebooks, environment)
            ours, memory = batch(slugs, environment, house.runs)
            print(f"{chosen.notebooks} notebooks: batch {ours:.1f} s, bare kernels {theirs:.1f} s")
            quarter = max(1, len(memory) // 4)
            print(
                f"runner: at most {max(memory):.0f} MiB; median of the first quarter"
                f" {statistics.median(memory[:quarter]):.1f}, of the last"
                f" {statistics.median(memory[-quarter:]):.1f} MiB",
                flush=True,
            )
            ratios.append(ours / theirs if theirs else 0.0)
        print(json.dumps({"ratios": [round(r, 2) for r in ratios]}))
        print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
