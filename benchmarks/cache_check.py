"""Time of the cache check over 40 papers: plan 40 completed runs, execute none.

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

PAPERS = 40
COMPLETE = """
import sys, time
from stemma.batch.plan import plan
from stemma.batch.records import Result, State
for planned in plan(sys.argv[1:], "small", {}, batch="benchmark"):
    spec = planned.spec
    planned.folder.mkdir(parents=True)
    spec.write(planned.folder / "spec.json")
    shared = spec.model_dump(include=set(Result.model_fields) & set(type(spec).model_fields))
    Result(
        **shared, outcome=State.SUCCEEDED, evidence={},
        rules=planned.paper.rules_digest, claims=[], checks=[], figures=[],
        tables=[], models=[], started=time.time(), seconds=0.0, cells=[],
    ).write(planned.folder / "result.json")
"""


def main() -> None:
    """Print the wall time of a `stemma run` whose 40 papers are all cached."""
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        slugs = [f"paper-{i}" for i in range(PAPERS)]
        for slug in slugs:
            house.paper(slug, [f"# {slug}\ny = x + 1"])
        environment = os.environ | {
            "STEMMA_HOME": folder,
            "STEMMA_PAPERS": str(house.root / "papers"),
            "STEMMA_RUNS": str(house.runs),
        }
        subprocess.run([sys.executable, "-c", COMPLETE, *slugs], env=environment, check=True)
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "stemma.cli", "run", *slugs],
            env=environment,
            check=True,
            capture_output=True,
        )
        print(f"{PAPERS} cached papers checked and shown in {time.perf_counter() - begun:.2f} s")


if __name__ == "__main__":
    main()
