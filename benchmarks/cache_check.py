"""Time of planning 1,000 cached runs: a grid of 25 values over 40 papers, every one a hit.

Run: .venv/bin/python benchmarks/cache_check.py
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from house import House

PAPERS, VALUES = 40, 25
PLAN = """
import sys, time
begun = time.perf_counter()
from pathlib import Path
from stemma.batch.manifest import expand, read
from stemma.batch.plan import plan
planned = plan(expand(read(Path(sys.argv[1]))), batch="benchmark", jobs=2)
hits = sum(p.hit is not None for p in planned)
print(f"{len(planned)} runs planned, {hits} cached: {time.perf_counter() - begun:.2f} s")
"""
COMPLETE = """
from stemma.batch.records import Result, State
for one in planned:
    spec = one.spec
    one.folder.mkdir(parents=True)
    spec.write(one.folder / "spec.json")
    shared = spec.model_dump(include=set(Result.model_fields) & set(type(spec).model_fields))
    evidence = {"C1": {"": {"ours": [2, 3, 4, 3, 2], "baseline": [0, 1, 0, 1, 0]}}}
    Result(
        **shared, outcome=State.SUCCEEDED, evidence=evidence,
        rules=one.paper.rules_digest, claims=one.paper.judge(spec.scale, evidence), checks=[],
        figures=[], tables=[], models=[], started=time.time(), seconds=0.0, cells=[],
    ).write(one.folder / "result.json")
"""


def main() -> None:
    """Print the time to plan the runs, and that of the whole command that finds them all cached."""
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        for i in range(PAPERS):
            house.paper(f"paper-{i}", [f"# {i}\ny = x + 1"])
        manifest = house.root / "grid.yaml"
        manifest.write_text(f"runs: [{{grid: {{x: {list(range(VALUES))}}}}}]")
        environment = os.environ | {
            "STEMMA_HOME": folder,
            "STEMMA_PAPERS": str(house.root / "papers"),
            "STEMMA_RUNS": str(house.runs),
        }
        python = [sys.executable, "-c"]
        subprocess.run([*python, PLAN + COMPLETE, str(manifest)], env=environment, check=True)
        subprocess.run([*python, PLAN, str(manifest)], env=environment, check=True)
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "stemma.cli", "run", "-f", str(manifest)],
            env=environment,
            check=True,
            capture_output=True,
        )
        print(f"the whole command: {time.perf_counter() - begun:.2f} s")


if __name__ == "__main__":
    main()
